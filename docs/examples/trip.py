"""A trip: two bookings that are undone when the third one fails; and their service."""

import movant

desk = movant.Service("desk")

BOOKED: dict[str, str] = {}
REFUSED: set[str] = set()
"""Keys that were undone, also of bookings that never came: they must not be done any more."""


@desk.operation()
def book(what: str, call: movant.Call) -> str:
    """Book something, once per key."""
    if call.key in REFUSED:
        raise movant.Refused("undone", f"{what} was cancelled before it came")
    if what == "balloon":
        raise movant.Refused("too_windy", "no balloon today")
    BOOKED[call.key] = what
    return f"{what} booked"


@desk.operation("cancel-booking")
def cancel_booking(undo: movant.UndoRequest) -> None:
    """Undo by key, whether the booking is there or not."""
    REFUSED.add(undo.key)
    BOOKED.pop(undo.key, None)


@movant.workflow("trip")
async def trip(ctx: movant.Context, last: str = "train") -> list[str]:
    """Book all, or nothing."""
    hotel = await ctx.call("desk", "book", "hotel", undo="cancel-booking")
    flight = await ctx.call("desk", "book", "flight", undo="cancel-booking")
    return [hotel, flight, await ctx.call("desk", "book", last, undo="cancel-booking")]


@movant.workflow("excursion")
async def excursion(ctx: movant.Context) -> list[str]:
    """Take the bus, and the boat and the balloon or none of the two."""
    slow = movant.Undo("cancel-booking", settle_s=30)
    bus = await ctx.call("desk", "book", "bus", undo=slow)
    try:
        async with ctx.saga():
            boat = await ctx.call("desk", "book", "boat", undo="cancel-booking")
            return [bus, boat, await ctx.call("desk", "book", "balloon")]
    except movant.StepFailedError:
        return [bus]  # the boat is not booked any more


@movant.workflow("holiday")
async def holiday(ctx: movant.Context, last: str = "train") -> list[str]:
    """Let another workflow book the way there, and give that back when the way home fails."""
    there = await ctx.child("trip", returns=list[str], undo=True)
    return [*there, await ctx.call("desk", "book", last)]


@movant.workflow("transfer")
async def transfer(ctx: movant.Context, order: str) -> str:
    """Let a person say whether it was paid, when the bank does not answer."""
    options = movant.StepOptions(unknown="review", timeout_s=3600)
    return await ctx.call("bank", "wire", order, returns=str, options=options)
