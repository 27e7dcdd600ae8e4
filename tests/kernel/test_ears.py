"""Signals of any name, waits that only a cancel ends, late answers told, work asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from actors.kernel.context import Context
from protocols.effects import Emit
from protocols.errors import StepFailedError, WorkflowError
from protocols.policy import NO_RETRY
from tests.kernel.mailbox import Mailbox, asks


async def hear(ctx: Context, count: int) -> list[Any]:
    """Take so many signals of any name."""
    return [await ctx.any_signal() for _ in range(count)]


def test_a_listener_for_any_signal_takes_them_in_order() -> None:
    """Those from before the start too, whatever they are called."""
    box = Mailbox(hear)
    box.signal("b", 1)
    box.signal("a", 2)
    box.signal("b", 3)

    box.start(4)
    box.signal("c", 4)

    assert box.result == [["b", 1], ["a", 2], ["b", 3], ["c", 4]]
    box.refold()


async def both(ctx: Context) -> Any:
    """Wait for one name and for any."""
    async with ctx.scope() as scope:
        named = scope.start(wait_for(ctx, "mine"))
        other = scope.start(hear(ctx, 1))
    return [named.result(), other.result()]


async def wait_for(ctx: Context, name: str) -> Any:
    """Wait for one signal."""
    return await ctx.signal(name)


def test_who_waits_for_a_name_goes_before_who_waits_for_any() -> None:
    """The second signal of that name is for anybody."""
    box = Mailbox(both)
    box.start()

    box.signal("mine", 1)
    box.signal("mine", 2)

    assert box.result == [1, [["mine", 2]]]
    box.refold()


def test_a_listener_for_any_signal_is_no_wait_that_is_shown() -> None:
    """It says nothing about what the run waits for."""
    box = Mailbox(both)

    box.start()

    assert [each.detail for each in box.instance.waiting()] == ["mine"]


async def unreadable(ctx: Context) -> Any:
    """Take a signal that cannot be read, and the next one."""
    try:
        await ctx.any_signal()
    except WorkflowError as error:
        return [type(error).__name__, await ctx.any_signal()]
    return None


def test_a_signal_that_cannot_be_read_is_an_error_of_the_wait() -> None:
    """The code goes on with the next one."""
    box = Mailbox(unreadable)
    box.start()

    box.signal("a", body=b"{")
    box.signal("b", 2)

    assert box.result == ["ResultTypeError", ["b", 2]]


async def idle(ctx: Context) -> str:
    """Wait for nothing, for a minute."""
    with ctx.move_on_after(60, name="minute"):
        await ctx.idle("a word")
    return "done"


def test_an_idle_wait_ends_only_by_a_cancel() -> None:
    """No signal reaches it; people see what it is for."""
    box = Mailbox(idle)
    box.start()

    box.signal("idle", 1)
    shown = [(each.kind, each.detail) for each in box.instance.waiting() if each.kind == "signal"]
    box.pass_time(60)
    box.fire("/minute")

    assert shown == [("signal", "a word")]
    assert box.result == "done"


async def twice(ctx: Context) -> Any:
    """Ask, and ask for the same work again when it has failed."""
    step = ctx.call("payments", "charge", 7, retry=NO_RETRY)
    try:
        return await step
    except StepFailedError:
        return await ctx.again(step.path, "payments", "charge", 7)


@pytest.mark.parametrize("attempt", [1, 2])
def test_work_that_is_asked_for_again_has_the_key_of_the_first_step(attempt: int) -> None:
    """All attempts of it: a path of its own, so that replies find it, and the same key."""
    box = Mailbox(twice)
    (first,) = asks(box.start())
    again = asks(box.fail("/payments.charge"))
    if attempt == 2:
        again = asks(box.fail("/payments.charge#2"))

    (ask,) = again
    box.reply("/payments.charge#2", "paid", attempt=attempt)

    assert (ask.path, ask.attempt, ask.key) == ("/payments.charge#2", attempt, first.key)
    assert box.result == "paid"
    box.refold()


async def telling(ctx: Context) -> Any:
    """Tell of late answers."""
    ctx.tell_late("stale")
    await ctx.call("payments", "charge", 7)
    await ctx.signal("on")


async def counting(ctx: Context) -> Any:
    """Do the same without a word."""
    await ctx.call("payments", "charge", 7)
    await ctx.signal("on")


def test_an_answer_to_a_decided_step_can_be_an_event() -> None:
    """One per message, with an id of its own; a run that does not ask for it counts only."""
    box, plain = Mailbox(telling), Mailbox(counting)
    for each in (box, plain):
        each.start()
        each.reply("/payments.charge", 1)

    told = [*box.reply("/payments.charge", 2), *box.fail("/payments.charge", attempt=1)]
    untold = plain.reply("/payments.charge", 2)

    assert [(each.event, each.data["success"]) for each in told if isinstance(each, Emit)] == [
        ("stale", True),
        ("stale", False),
    ]
    assert len({each.id for each in told if isinstance(each, Emit)}) == 2
    assert untold == []
    box.refold()
