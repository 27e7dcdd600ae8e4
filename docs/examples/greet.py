"""A first workflow, and the service that it asks."""

import msgspec

import movant


class Guest(msgspec.Struct):
    """Whom to greet."""

    name: str
    wait_s: float = 5.0


hall = movant.Service("hall")


@hall.operation()
def announce(guest: Guest, call: movant.Call) -> str:
    """Do something in the world. A request may come twice: its key is the same both times."""
    print(f"announcing {guest.name}, key {call.key}", flush=True)
    return f"{guest.name} has arrived"


@movant.workflow
async def greet(ctx: movant.Context, guest: Guest) -> list[str]:
    """Announce a guest, wait, announce again."""
    first = await ctx.call("hall", "announce", guest, returns=str)
    await ctx.sleep(guest.wait_s)
    second = await ctx.call("hall", "announce", guest, returns=str)
    return [first, second]
