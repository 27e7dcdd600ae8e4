"""ctx.continue_as: what a generation takes along, what it leaves, and how it begins."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from actors.kernel import generation
from actors.kernel.clock import moment
from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.definition import Workflow
from protocols.effects import Arm, Ask, CancelChild, Continue, Emit, Send, Spawn
from protocols.errors import FailError, InternalError, InvalidIdError
from protocols.mail import Parent
from protocols.subjects import step_token
from tests.kernel.mailbox import BEGIN, Mailbox, asks, events, finish, paths


class Count(msgspec.Struct):
    """An input."""

    number: int


async def rounds(ctx: Context, value: int) -> int:
    """Do one of everything, then go on with the next number."""
    ctx.send("other", "hello", value)
    ctx.emit("round", value)
    await ctx.gather(ctx.call("a", "b"), ctx.sleep(5), ctx.child("w"))
    ctx.continue_as(value + 1)


async def collect(ctx: Context, value: list[Any]) -> list[Any]:
    """Take two signals per generation, six in all."""
    two = [await ctx.signal("go"), await ctx.signal("go")]
    if len(value) < 4:
        ctx.continue_as([*value, *two])
    return [*value, *two]


async def once(ctx: Context, value: int) -> str:
    """Continue at a signal, once."""
    await ctx.call("a", "b")
    if not value:
        await ctx.signal("go")
        ctx.continue_as(1)
    return "done"


def _continued(box: Mailbox) -> list[Continue]:
    return [each for each in box.effects if isinstance(each, Continue)]


def _round(box: Mailbox, root: str) -> None:
    box.reply(f"{root}/gather/0/a.b")
    box.pass_time(5)
    box.fire(f"{root}/gather/1/sleep")
    box.end_child(f"{root}/gather/2/w")


def test_a_generation_differs_in_all_its_identities() -> None:
    """Keys, tokens, timers, children, events and signals never meet those of another one."""
    box = Mailbox(rounds)
    box.start(1)
    _round(box, "")
    _round(box, "/@2")

    found = [each for each in box.effects if isinstance(each, Ask | Arm | Emit | Send | Spawn)]
    names = [each.identity for each in found]
    assert paths(box.effects) == ["/gather/0/a.b", "/@2/gather/0/a.b", "/@3/gather/0/a.b"]
    assert asks(box.effects)[1].key == "i-1/2/@2/gather/0/a.b"
    assert len(set(names)) == len(names) == 18
    assert (box.instance.id, box.instance.definition) == ("i-1", box.refold().definition)
    assert box.instance.generation == 3
    assert box.instance.input == b"3"


def test_the_record_stands_between_the_generations() -> None:
    """First what the former generation asked for, then the record, then the next one."""

    async def code(ctx: Context, value: int) -> None:
        ctx.emit("begin", value)
        await ctx.signal("go")
        ctx.emit("end", value)
        ctx.continue_as(value + 1)

    box = Mailbox(code)
    box.start(1)

    effects = box.signal("go")

    kinds = [each.event if isinstance(each, Emit) else type(each) for each in effects]
    assert kinds == ["end", Continue, "continued", "begin"]
    assert isinstance(effects[2], Emit)
    assert (effects[2].id, effects[2].data) == ("i-1/2/continued", {"generation": 2})
    assert box.instance.is_open(effects[1])
    box.refold()


def test_signals_that_nobody_has_taken_stay_in_order() -> None:
    """Also those from before the start; several generations may begin in one fold."""
    box = Mailbox(collect)
    for number in range(5):
        box.signal("go", number)
    box.start([])

    assert box.instance.generation == 3
    assert [each.snapshot.generation for each in _continued(box)] == [3]
    assert events(box.effects) == ["started", "continued", "continued"]

    box.signal("go", 5)

    assert box.result == [0, 1, 2, 3, 4, 5]
    box.refold()


def test_what_people_see_of_the_run_goes_on() -> None:
    """State, time, begin, parent and trace context are those of the run, not of a generation."""
    seen: list[Any] = []

    async def code(ctx: Context, value: int) -> None:
        seen.append((ctx.now(), ctx.traceparent, ctx.generation, value))
        if value == 0:
            ctx.set_state(round=value, first=True)
            await ctx.sleep(60)
            ctx.continue_as(1)
        ctx.set_state(round=value)

    box = Mailbox(code)
    parent = Parent(instance="p", path="/x")
    box.start(0, parent=parent)
    box.pass_time(60)
    box.fire("/sleep")

    assert seen == [(moment(BEGIN), "", 1, 0), (moment(BEGIN) + timedelta(seconds=60), "", 2, 1)]
    assert box.instance.state == {"round": 1, "first": True}
    assert box.instance.started_at == BEGIN
    assert finish(box.effects).parent == parent


def test_the_code_is_left_as_by_an_error() -> None:
    """What runs beside is cancelled, cleanup awaits, and only then the next one begins."""
    log: list[str] = []

    async def beside(ctx: Context) -> None:
        try:
            await ctx.child("w")
        finally:
            log.append("beside")

    async def code(ctx: Context, value: int) -> None:
        log.append(f"generation {value}")
        try:
            async with ctx.scope() as scope:
                scope.start(beside(ctx))
                await ctx.signal("go")
                try:
                    ctx.continue_as(value + 1)
                except Exception:
                    log.append("swallowed")
                    raise
        finally:
            await ctx.call("a", "undo")
            log.append("undone")

    box = Mailbox(code)
    box.start(1)
    effects = box.signal("go")

    assert [type(each) for each in effects] == [CancelChild, Ask]
    assert box.instance.generation == 1

    box.reply("/a.undo")

    assert log == ["generation 1", "beside", "undone", "generation 2"]
    assert box.instance.generation == 2


@pytest.mark.parametrize("collect_all", [True, False])
def test_a_branch_continues_for_all(collect_all: bool) -> None:  # noqa: FBT001
    """Wherever it is called, the whole workflow continues."""

    async def branch(ctx: Context) -> None:
        await ctx.signal("go")
        ctx.continue_as(1)

    async def code(ctx: Context, _: int) -> None:
        await ctx.gather(branch(ctx), ctx.call("a", "b"), collect=collect_all)

    box = Mailbox(code)
    box.start(0)
    box.signal("go")
    if collect_all:  # its branches always go to their end
        box.reply("/gather/1/a.b")

    assert box.instance.generation == 2
    assert box.instance.input == b"1"


def test_what_comes_late_for_a_former_generation_is_counted() -> None:
    """A repeat, a late success, a failure, a timeout, a child: none is a mismatch."""
    box = Mailbox(once)
    box.start(0)
    box.fail("/a.b")
    box.reply("/a.b", attempt=2)
    box.signal("go")
    assert box.instance.generation == 2

    box.reply("/a.b", attempt=2)
    box.reply("/a.b", attempt=1)
    box.time_out("/a.b", attempt=1)
    box.refuse("/a.b", "refused", attempt=1)
    box.fire("/sleep")
    box.end_child("/a.b")
    box.reply("/never-asked", attempt=1)
    box.reply("/" + "x" * 70)

    assert box.instance.status == "running"
    assert box.instance.counters.duplicates == 1
    assert box.instance.counters.late == 6
    assert box.instance.late_successes == [(step_token("/a.b"), 1)]
    box.refold()


def test_what_no_generation_asked_for_is_a_mismatch() -> None:
    """An answer to the current generation that this code never asked for blocks as ever."""
    box = Mailbox(once)
    box.start(0)
    box.reply("/a.b")
    box.signal("go")

    box.reply("/@2/other")

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "mismatch"


def test_an_input_that_does_not_fit_fails_the_run() -> None:
    """As that of a start: it never will."""

    async def code(ctx: Context, value: Count) -> None:
        await ctx.signal("go")
        ctx.continue_as({"number": str(value.number)})

    box = Mailbox(code)
    box.start({"number": 1})
    box.signal("go")

    assert box.instance.status == "failed"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "validation"
    assert box.instance.failure.details == {"number": "Expected `int`, got `str`"}
    assert _continued(box) == []


def test_a_cancelled_run_ends_instead() -> None:
    """Cleanup cannot escape the cancellation by going on."""

    async def code(ctx: Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            with ctx.shield():
                await ctx.call("a", "undo")
                ctx.continue_as()

    box = Mailbox(code)
    box.start()
    box.cancel("enough")
    box.reply("/a.undo")

    assert box.instance.status == "cancelled"
    assert box.instance.generation == 1


def test_in_a_cancelled_block_it_is_a_wait_like_others() -> None:
    """The loser of a race does not decide for the whole workflow."""

    async def loser(ctx: Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            ctx.continue_as(1)

    async def code(ctx: Context, _: int) -> str:
        return (await ctx.race(ctx.call("a", "b"), loser(ctx))).key

    box = Mailbox(code)
    box.start(0)
    box.reply("/race/0/a.b")

    assert box.result == "0"


def test_code_that_swallows_it_blocks() -> None:
    """It would end, or go on, where its author meant it to continue."""

    async def code(ctx: Context) -> None:
        with suppress(BaseException):
            ctx.continue_as()

    box = Mailbox(code)
    box.start()

    assert box.instance.blocked is not None
    assert "after ctx.continue_as" in box.instance.blocked.message


def test_a_cleanup_that_fails_fails_the_run() -> None:
    """As with any error, the later one leaves the function."""

    async def code(ctx: Context) -> None:
        try:
            ctx.continue_as()
        finally:
            raise FailError("stuck", "cannot clean up")

    box = Mailbox(code)
    box.start()

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "stuck"


def test_a_defect_goes_before_a_generation() -> None:
    """A branch whose cleanup is broken is no reason to go on as if nothing were."""

    async def broken(ctx: Context) -> None:
        try:
            await ctx.signal("never")
        finally:
            raise ZeroDivisionError

    async def goes(ctx: Context) -> None:
        await ctx.signal("go")
        ctx.continue_as()

    async def code(ctx: Context) -> None:
        await ctx.gather(goes(ctx), broken(ctx))

    box = Mailbox(code)
    box.start()
    box.signal("go")

    assert box.instance.blocked is not None
    assert box.instance.blocked.error == "ZeroDivisionError"


def test_an_operation_that_was_never_awaited_blocks() -> None:
    """As at an end."""

    async def code(ctx: Context) -> None:
        ctx.call("a", "b")
        ctx.continue_as()

    box = Mailbox(code)
    box.start()

    assert box.instance.blocked is not None
    assert "never awaited: Step" in box.instance.blocked.message


def test_a_generation_that_blocks_at_once_is_begun() -> None:
    """What the former one asked for stays, and repaired code folds from the new one."""

    async def code(ctx: Context, value: int) -> None:
        ctx.emit("begun", value)
        if value:
            raise ZeroDivisionError
        await ctx.signal("go")
        ctx.emit("ending")
        ctx.continue_as(1)

    async def repaired(ctx: Context, value: int) -> int:
        return value + await ctx.signal("never", returns=int)

    box = Mailbox(code)
    box.start(0)
    box.signal("go")

    assert box.instance.status == "blocked"
    assert events(box.effects) == ["started", "begun", "ending", "continued", "blocked"]
    (record,) = _continued(box)
    assert box.instance.is_open(record)
    again = Instance.from_snapshot("i-1", record.snapshot, box.load)
    assert events(again.begin()) == ["continued", "blocked"]
    assert again.state_hash() == box.instance.state_hash()

    fixed = Workflow("code", repaired)
    other = Instance.from_snapshot(
        "i-1", record.snapshot, lambda *_: fixed, replaced={0: "e" * 16}
    )
    other.begin()

    assert (other.status, other.definition) == ("running", "e" * 16)
    assert [each.path for each in other.waiting()] == ["/@2/signal.never"]


def test_continuing_for_ever_without_a_wait_blocks() -> None:
    """A loop that never ends must not freeze the daemon."""

    async def code(ctx: Context, value: int) -> None:
        ctx.continue_as(value + 1)

    box = Mailbox(code)
    box.start(0)

    assert box.instance.blocked is not None
    assert "operations without waiting" in box.instance.blocked.message
    assert 1_000 < box.instance.generation < 20_000


def test_too_much_to_take_along_blocks_and_says_what_to_do() -> None:
    """A record has to fit a message; nothing of the fold that came to it is done."""

    async def code(ctx: Context) -> None:
        await ctx.signal("go")
        ctx.emit("ending")
        ctx.continue_as()

    box = Mailbox(code)
    box.start()
    for _ in range(3):
        box.signal("other", "x" * 200_000)

    effects = box.signal("go")

    assert events(effects) == ["blocked"]
    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "snapshot_too_large"
    assert "3 signals that nobody has taken (600006 bytes)" in box.instance.blocked.message
    box.refold()

    box.cancel()

    assert box.instance.status == "cancelled"


def test_message_ids_are_remembered_across_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest ones; a repeat of an older one counts again."""
    monkeypatch.setattr(generation, "SEEN_MAX", 3)

    async def code(ctx: Context, value: list[Any]) -> None:
        got = [await ctx.signal("go") for _ in range(4)]
        ctx.continue_as([*value, *got])

    box = Mailbox(code)
    box.start([], message_id="s")
    for name in ("a", "b", "a", "c", "d"):
        box.signal("go", name, message_id=name)
    assert box.instance.generation == 2

    for name in ("d", "c", "b", "a"):
        box.signal("go", name, message_id=name)
    box.signal("go", "e", message_id="e")

    (kept,) = [each.snapshot.seen for each in _continued(box)]
    assert len(kept) == 3 * generation.SEEN_BYTES
    assert [each.path for each in box.instance.waiting()] == ["/@2/signal.go#3"]
    assert box.instance.counters.duplicates == 4
    box.refold()


def test_an_instance_from_a_snapshot_has_to_be_begun() -> None:
    """Messages would otherwise be folded into nothing."""
    box = Mailbox(once)
    box.start(0)
    box.reply("/a.b")
    box.signal("go")
    (record,) = _continued(box)
    instance = Instance.from_snapshot("i-1", record.snapshot, box.load)

    with pytest.raises(InternalError, match="before its generation began"):
        instance.fold(msgspec.structs.replace(box.mails[0], seq=9))


def test_events_of_generations_are_movants_own() -> None:
    """No workflow can publish them itself."""

    async def code(ctx: Context, value: str) -> None:
        with pytest.raises(InvalidIdError):
            ctx.emit(value)

    for kind in ("continued", "mailbox_large"):
        box = Mailbox(code)
        box.start(kind)
        assert box.instance.status == "completed"
