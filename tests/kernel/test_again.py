"""Work that is asked for again: one key, one effect, one undo; and never under a spent key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from actors.kernel.context import Context
from protocols.compensation import NEVER_SEEN, Undo
from protocols.errors import FailError, StepFailedError, TimedOutError
from protocols.policy import NO_RETRY
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths
from tests.kernel.test_compensation import fates

UNDO = Undo("undo", retry=NO_RETRY)


async def persistent(ctx: Context, end: str = "fail") -> str:
    """Book, be told no, ask somebody, book again with the same key, and then fail or not."""
    step = ctx.call("a", "book", 1, name="a", undo=UNDO, retry=NO_RETRY, timeout_s=10)
    try:
        await step
    except StepFailedError:
        await ctx.call("b", "ask", name="b", undo=UNDO, retry=NO_RETRY)
        try:
            await ctx.again(step.path, "a", "book", 2, name="a")
        except StepFailedError:
            await ctx.signal("go")
    if end == "fail":
        raise FailError("broken", "on purpose")
    return "done"


def refused(end: str = "fail") -> Mailbox:
    """Return an instance that was told no and asks again."""
    box = Mailbox(persistent)
    box.start(end)
    box.fail("/a", "refused")
    box.reply("/b")
    return box


def unknown(end: str = "fail") -> Mailbox:
    """Return an instance that does not know about the first attempt and asks again."""
    box = Mailbox(persistent)
    box.start(end)
    box.pass_time(10)
    box.time_out("/a")
    box.reply("/b")
    return box


def undone_in_order(box: Mailbox) -> list[str]:
    """Answer each undo that is asked for, and return them in order."""
    asked = []
    while box.instance.status == "running":
        (path,) = [each.path for each in box.instance.waiting()]
        asked.append(path)
        box.reply(path)
    return asked


@pytest.mark.parametrize("begun", [refused, unknown])
def test_what_was_done_when_asked_again_is_undone_once(begun: Any) -> None:
    """Under the key of the first step, as the newest step, whatever became of the first one."""
    box = begun()
    first, _, again = asks(box.effects)

    ended = box.reply("/a#2", "room 7")
    (undo,) = asks(ended)

    assert (first.key, again.key) == ("i-1/1/a", "i-1/1/a")
    assert (undo.path, undo.undoes) == ("/a/undo", "i-1/1/a")
    assert undo.body == b'{"input":2,"key":"i-1/1/a","result":"room 7"}'
    assert undone_in_order(box) == ["/a/undo", "/b/undo"]
    assert fates(box) == {"/b": "undone", "/a": "undone"}
    box.refold()


def test_what_was_asked_for_again_and_refused_is_not_undone() -> None:
    """Two times no is no."""
    box = refused()
    box.fail("/a#2", "refused", retryable=False)

    box.signal("go")

    assert undone_in_order(box) == ["/b/undo"]
    assert fates(box) == {"/b": "undone"}
    box.refold()


def test_no_does_not_tell_what_an_attempt_before_has_done() -> None:
    """The first attempt may have done it all the same: it is undone."""
    box = unknown()
    box.fail("/a#2", "refused", retryable=False)

    box.signal("go")

    assert undone_in_order(box) == ["/a/undo", "/b/undo"]
    box.refold()


def test_a_completed_instance_lists_it_once() -> None:
    """One effect in the world, one line."""
    box = unknown("complete")

    box.reply("/a#2", "room 7")

    assert box.result == "done"
    assert fates(box) == {"/b": "done", "/a": "done"}


def test_a_late_success_of_the_first_one_is_not_undone_while_it_is_wanted_again() -> None:
    """The service answers the same to the request that came again."""
    box = unknown("complete")

    late = box.reply("/a", "room 7")
    ended = box.reply("/a#2", "room 7")

    assert paths(late) == []
    assert finish(ended).status == "completed"
    assert fates(box) == {"/b": "done", "/a": "done"}
    box.refold()


def test_a_late_success_is_undone_when_asking_again_came_to_nothing() -> None:
    """Nobody has its value: it is undone as soon as the second try has failed."""
    box = unknown("complete")
    box.reply("/a", "room 7")

    failed = box.fail("/a#2", "refused", retryable=False)
    box.reply("/a/undo")
    box.signal("go")

    assert paths(failed) == ["/a/undo"]
    assert box.result == "done"
    assert fates(box) == {"/b": "done", "/a": "undone"}
    box.refold()


@pytest.mark.parametrize("says", ["nothing", "undone", "stuck"])
def test_a_key_whose_undo_was_asked_for_is_not_asked_for_again(says: str) -> None:
    """Its service refuses it from then on: the work gets a key and an undo of its own."""
    box = Mailbox(persistent)
    box.start("fail")
    box.pass_time(10)
    box.time_out("/a")
    assert paths(box.reply("/a", "late")) == ["/a/undo"]
    if says == "undone":
        box.reply("/a/undo")
    elif says == "stuck":
        box.fail("/a/undo", "stuck")

    (again,) = asks(box.reply("/b"))
    ended = box.reply("/a#2", "room 8")

    assert again.key == "i-1/1/a#2"
    if says == "nothing":
        assert paths(ended) == ["/a#2/undo"]
        box.reply("/a/undo")
    assert undone_in_order(box) == ["/a#2/undo", "/b/undo"]
    assert fates(box)["/a#2"] == "undone"
    assert fates(box)["/a"] == ("could_not" if says == "stuck" else "undone")
    box.refold()


async def bounded(ctx: Context, then: str) -> str:
    """Give a step up after a while, and want it again."""
    step = ctx.call("a", "book", name="a", undo=UNDO, timeout_s=60)
    with ctx.move_on_after(10):
        await step
    await ctx.signal("go")
    if then == "cut":
        with ctx.move_on_after(10):
            await ctx.again(step.path, "a", "book", name="a")
    else:
        try:
            await ctx.again(step.path, "a", "book", name="a")
        except StepFailedError:
            return "without"
    return "done"


def test_what_was_cancelled_in_flight_is_wanted_again() -> None:
    """It is the value: nobody undoes it at the end."""
    box = Mailbox(bounded)
    box.start("")
    box.pass_time(10)
    box.fire("/timeout")
    box.signal("go")

    box.reply("/a#2", 7)

    assert box.result == "done"
    assert fates(box) == {"/a": "done"}
    box.refold()


def test_what_was_cancelled_in_flight_is_not_wanted_when_asking_again_fails() -> None:
    """It may have happened at the first time, and nobody has its value."""
    box = Mailbox(bounded)
    box.start("")
    box.pass_time(10)
    box.fire("/timeout")
    box.signal("go")
    box.fail("/a#2", "refused", retryable=False)
    box.pass_time(60)

    asked = box.fire("/a/_until")
    box.reply("/a/undo")

    assert paths(asked) == ["/a/undo"]
    assert box.result == "without"
    assert fates(box) == {"/a": "undone"}
    box.refold()


def test_what_is_cancelled_in_flight_twice_is_undone_once() -> None:
    """After the deadlines of both."""
    box = Mailbox(bounded)
    box.start("cut")
    box.pass_time(10)
    box.fire("/timeout")
    box.pass_time(5)
    box.signal("go")
    box.pass_time(10)
    box.fire("/timeout#2")
    early = box.reply("/a", 7)
    box.pass_time(60)

    asked = box.fire("/a/_until#2")
    box.reply("/a/undo")

    assert paths(early) == []
    assert paths(asked) == ["/a/undo"]
    assert fates(box) == {"/a": "undone"}
    box.refold()


async def twice(ctx: Context, _: Any = None) -> str:
    """Ask again for what has a value, and give that up."""
    step = ctx.call("a", "book", name="a", undo=UNDO)
    await step
    with ctx.move_on_after(10):
        await ctx.again(step.path, "a", "book", name="a")
    return "done"


def test_a_value_stays_one_when_the_same_work_is_given_up_later() -> None:
    """The key has one effect, and somebody has its value."""
    box = Mailbox(twice)
    box.start()
    box.reply("/a", 7)
    box.pass_time(10)

    box.fire("/timeout")

    assert box.result == "done"
    assert fates(box) == {"/a": "done"}
    box.refold()


def test_never_seen_and_done_when_asked_again_is_done() -> None:
    """The undo of a service that cannot refuse later was too early; what it does then counts."""

    async def code(ctx: Context, _: Any = None) -> str:
        step = ctx.call("a", "book", name="a", undo=Undo("undo", retry=NO_RETRY, settle_s=5))
        try:
            async with ctx.saga():
                with ctx.timeout(10):
                    await step
        except TimedOutError:
            await ctx.again(step.path, "a", "book", name="a")
        return "done"

    box = Mailbox(code)
    box.start()
    box.pass_time(10)
    box.fire("/saga/timeout")
    box.pass_time(65)
    box.fire("/saga/a/_until")

    (again,) = asks(box.fail("/saga/a/undo", NEVER_SEEN, retryable=False))
    box.reply("/a", 7)

    assert again.key == "i-1/1/a"
    assert box.result == "done"
    assert fates(box) == {"/saga/a": "unknown", "/a": "done"}
    box.refold()


def test_a_saga_undoes_what_was_asked_for_again_in_it() -> None:
    """Wherever the first step stood."""

    async def code(ctx: Context, _: Any = None) -> str:
        step = ctx.call("a", "book", name="a", undo=UNDO, retry=NO_RETRY)
        with suppress(StepFailedError):
            await step
        try:
            async with ctx.saga():
                await ctx.again(step.path, "a", "book", name="a")
                raise FailError("broken", "on purpose")
        except FailError:
            pass
        return "without"

    box = Mailbox(code)
    box.start()
    box.fail("/a", "refused")

    asked = box.reply("/saga/a")
    box.reply("/a/undo")

    assert paths(asked) == ["/a/undo"]
    assert box.result == "without"
    box.refold()


def test_what_is_under_way_cannot_be_asked_for_again() -> None:
    """Two open requests with one undo: nobody could say what became of it."""

    async def code(ctx: Context, _: Any = None) -> None:
        step = ctx.call("a", "book", name="a", undo=UNDO)
        await ctx.gather(step, later(ctx))

    async def later(ctx: Context) -> None:
        await ctx.again("/gather/0/a", "a", "book", name="a")

    box = Mailbox(code)

    effects = box.start()

    assert events(effects) == ["blocked"]
    assert box.instance.blocked is not None
    assert "still under way" in box.instance.blocked.message
