"""Start, pin, signals, cancel, the end, and what keeps a mailbox from being folded."""

from __future__ import annotations

import asyncio  # noqa: TID251 - what workflow code must not use
import gc
from typing import Any

import msgspec
import pytest
import trio

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.definition import Workflow
from protocols.effects import Emit, Pin, Send, Spawn
from protocols.errors import (
    CancelledError,
    FailError,
    InternalError,
    NotDurableError,
    NotFoundError,
    ResultTypeError,
)
from protocols.mail import Parent
from tests.kernel.mailbox import BEGIN, Mailbox, asks, events, finish, paths


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """An input with two fields."""

    sku: str
    count: int


async def one_step(ctx: Context, value: Any) -> Any:
    """Call once."""
    return await ctx.call("a", "b", value)


async def listen(ctx: Context) -> list[Any]:
    """Take two signals."""
    return [await ctx.signal("go"), await ctx.signal("go")]


async def typed(_ctx: Context, order: Order) -> int:
    """Take a Struct."""
    return order.count


def test_a_start_with_a_definition_runs_at_once() -> None:
    """The event comes first, then what the code asks for."""
    box = Mailbox(one_step)

    box.start(1)

    assert events(box.effects) == ["started"]
    assert paths(box.effects) == ["/a.b"]
    assert (box.instance.status, box.instance.started_at) == ("running", BEGIN)


def test_a_raw_start_waits_for_its_pin() -> None:
    """Nothing is folded into workflow code before the definition is pinned."""
    box = Mailbox(one_step)

    (pin,) = box.start(1, definition="")
    before = (box.instance.status, box.instance.is_open(pin), len(box.instance.waiting()))
    box.pin("h1")
    box.pin("h2")

    assert isinstance(pin, Pin)
    assert before == ("pending", True, 1)
    assert (box.instance.definition, box.instance.is_open(pin)) == ("h1", False)
    assert paths(box.effects) == ["/a.b"]
    assert box.instance.counters.stray == 1
    box.refold()


def test_a_pin_before_the_start_is_nobodys() -> None:
    """It was not asked for."""
    box = Mailbox(one_step)

    box.pin("h1")
    box.start(1, definition="")

    assert box.instance.status == "pending"


def test_signals_before_the_start_are_kept_in_order() -> None:
    """They are there when the code asks."""
    box = Mailbox(listen)
    box.signal("go", 1)
    box.signal("go", 2)

    box.start()

    assert box.result == [1, 2]
    box.refold()


def test_a_second_start_is_dropped() -> None:
    """The first one counts."""
    box = Mailbox(one_step)
    box.start(1)

    effects = box.start(2)

    assert effects == []
    assert box.instance.input == b"1"
    assert box.instance.counters.duplicates == 1


def test_a_signal_with_an_id_counts_once_and_without_an_id_each_time() -> None:
    """A raw publish is always a new message; ours carry an id."""
    box = Mailbox(listen)
    box.start()
    box.signal("go", 1, message_id="m1")
    box.signal("go", 1, message_id="m1")
    waiting = box.instance.status
    box.signal("go", 1)

    assert waiting == "running"
    assert box.result == [1, 1]
    assert box.instance.counters.duplicates == 1


def test_signals_and_waiters_meet_in_order() -> None:
    """The first waiter gets the first signal."""

    async def both(ctx: Context) -> Any:
        return await ctx.gather(ctx.signal("go"), ctx.signal("go"))

    box = Mailbox(both)
    box.start()

    box.signal("go", "one")
    box.signal("go", "two")

    assert box.result == ["one", "two"]


def test_a_signal_that_is_no_value_is_an_error_at_its_waiter() -> None:
    """A stranger's bytes do not block an instance whose author expects them."""

    async def careful(ctx: Context) -> str:
        try:
            await ctx.signal("go")
        except ResultTypeError as error:
            return error.kind
        return "no error"

    box = Mailbox(careful)
    box.start()

    box.signal("go", body=b"\xff")

    assert box.result == "protocol"


def test_the_time_is_the_highest_timestamp_folded() -> None:
    """A mail with an older timestamp does not turn the time back; a wake moves it."""
    box = Mailbox(listen)
    box.start()
    before = box.instance.state_hash()
    box.pass_time(5)
    box.wake()
    after = box.instance.state_hash()
    box.at -= 3
    box.signal("go")

    assert before != after
    assert box.instance.now == BEGIN + 5_000_000_000


def test_a_mail_that_was_folded_is_not_folded_again() -> None:
    """A mail at or below the position has no effect."""
    box = Mailbox(listen)
    box.start()
    box.signal("go", 1)

    effects = box.instance.fold(box.mails[-1])

    assert effects == []
    assert box.instance.status == "running"


def test_the_end_tells_event_and_parent() -> None:
    """Finish carries status, result and who waits for it."""
    parent = Parent(instance="p-1", path="/child")
    box = Mailbox(one_step)
    box.start(1, parent=parent)
    box.pass_time(1)

    effects = box.reply("/a.b", {"x": 1})

    done = finish(effects)
    assert (done.status, done.body, done.failure, done.parent) == (
        "completed",
        b'{"x":1}',
        None,
        parent,
    )
    assert events(effects) == ["completed"]
    assert [effect.id for effect in box.effects if isinstance(effect, Emit)] == [
        "i-1/1/started",
        "i-1/1/completed",
    ]
    assert box.instance.finished_at == box.at
    box.refold()


def test_after_the_end_everything_is_late() -> None:
    """Counted, without effect; another attempt's success is remembered."""
    box = Mailbox(one_step)
    box.start(1)
    box.reply("/a.b")

    effects = [
        *box.reply("/a.b", attempt=2),
        *box.signal("go"),
        *box.cancel(),
        *box.reply("/never"),
        *box.fire("/never"),
    ]

    assert effects == []
    assert box.instance.status == "completed"
    assert box.instance.late_successes == [("a%2Eb", 2)]
    assert (box.instance.counters.late, box.instance.counters.stray) == (3, 1)
    box.refold()


def test_an_author_ends_a_workflow_as_failed() -> None:
    """FailError gives kind, message and details."""

    async def fail(_ctx: Context) -> None:
        raise FailError("unfit", "too small", {"cm": 3})

    box = Mailbox(fail)

    done = finish(box.start())

    assert done.status == "failed"
    assert done.failure is not None
    assert (done.failure.kind, done.failure.details) == ("unfit", {"cm": 3})
    assert events(box.effects) == ["started", "failed"]
    box.refold()


def test_an_input_that_does_not_fit_fails_the_instance_with_all_its_fields() -> None:
    """The input never gets right: failed, not blocked."""
    box = Mailbox(typed)

    done = finish(box.start({"count": "x", "size": 1}))

    assert done.failure is not None
    assert done.failure.kind == "validation"
    assert set(done.failure.details) == {"sku", "count", "size"}


def test_cancel_runs_finally_and_ends_as_cancelled() -> None:
    """CancelledError is thrown into the code where it waits."""

    async def tidy(ctx: Context) -> None:
        try:
            await ctx.call("a", "b")
        finally:
            ctx.emit("tidied")
            with ctx.shield():
                await ctx.call("a", "undo")

    box = Mailbox(tidy)
    box.start()

    first = box.cancel("stop it")
    again = box.cancel("stop it")
    effects = box.reply("/a.undo")

    assert events(first) == ["tidied"]
    assert paths(first) == ["/a.undo"]
    assert again == []
    assert finish(effects).status == "cancelled"
    assert box.instance.failure is not None
    assert box.instance.failure.message == "stop it"
    box.refold()


def test_code_that_goes_on_after_a_cancel_completes() -> None:
    """Swallowing the cancellation is allowed; the status tells how it ended."""

    async def stubborn(ctx: Context) -> str:
        try:
            await ctx.call("a", "b")
        except CancelledError:
            return "still here"
        return "not cancelled"

    box = Mailbox(stubborn)
    box.start()

    box.cancel()

    assert box.result == "still here"


@pytest.mark.parametrize("definition", ["d", ""])
def test_a_cancel_before_the_code_runs_ends_it_unrun(definition: str) -> None:
    """Cancelled before the start: the code never runs."""
    box = Mailbox(one_step)
    box.cancel()

    effects = box.start(1, definition=definition)

    assert finish(effects).status == "cancelled"
    assert asks(box.effects) == []


def test_a_cancel_while_the_pin_is_awaited_ends_it() -> None:
    """Nobody needs the pin any more."""
    box = Mailbox(one_step)
    (pin,) = box.start(1, definition="")

    effects = box.cancel()
    box.pin()

    assert finish(effects).status == "cancelled"
    assert not box.instance.is_open(pin)
    assert box.instance.status == "cancelled"


def test_an_exception_in_the_code_blocks_and_drops_what_it_asked_for() -> None:
    """Only the event comes out: repaired code asks again."""

    async def broken(ctx: Context) -> None:
        await ctx.signal("go")
        ctx.send("other", "hello")
        raise KeyError("secret")

    box = Mailbox(broken)
    box.start()

    effects = box.signal("go")
    later = box.signal("go")

    blocked = box.instance.blocked
    assert blocked is not None
    assert (blocked.reason, blocked.error) == ("exception", "KeyError")
    assert blocked.place.startswith("test_mailbox_rules.py:")
    assert blocked.place.endswith(" in broken")
    assert events(effects) == ["blocked"]
    assert len(effects) == 1
    assert later == []
    assert box.instance.folded == 3
    box.refold()


def test_repaired_code_folds_the_same_mailbox_and_goes_on() -> None:
    """Blocked is a property of mailbox and code."""

    async def broken(ctx: Context) -> Any:
        return 1 // 0 + await ctx.signal("go")

    async def repaired(ctx: Context) -> Any:
        return await ctx.signal("go")

    box = Mailbox(broken)
    box.start()
    box.signal("go", 5)
    box.code = Workflow("broken", repaired)

    again = Instance("i-1", box.load)
    for mail in box.mails:
        again.fold(mail)

    assert box.instance.status == "blocked"
    assert (again.status, again.result) == ("completed", b"5")


def test_the_text_of_an_exception_is_no_state() -> None:
    """Two texts, one hash."""
    hashes = []
    for text in ("one", "two"):

        async def broken(_ctx: Context, text: str = text) -> None:
            raise ValueError(text)

        box = Mailbox(broken)
        box.start(text)
        hashes.append(box.instance.state_hash())

    assert hashes[0] == hashes[1]


def test_an_unknown_definition_blocks() -> None:
    """The loader says that it has no such code."""

    def load(_name: str, definition: str) -> Workflow[Any]:
        raise NotFoundError(f"no definition {definition}")

    box = Mailbox(one_step)
    box.load = load  # type: ignore[method-assign]  # the loader is what is tested
    box.instance = Instance("i-1", load)

    box.start(1)

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "definition"


@pytest.mark.parametrize("failure", [MemoryError, RecursionError, ImportError])
def test_a_failure_of_the_daemon_leaves_the_fold(failure: type[Exception]) -> None:
    """It is never the workflow's; the instance cannot be used any more."""

    async def unlucky(_ctx: Context) -> None:
        raise failure

    box = Mailbox(unlucky)

    with pytest.raises(failure):
        box.start()

    with pytest.raises(InternalError):
        box.signal("go")


def test_a_result_outside_of_the_value_domain_blocks() -> None:
    """Nothing that JSON cannot carry gets out."""

    async def strange(_ctx: Context) -> Any:
        return float("nan")

    box = Mailbox(strange)

    box.start()

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "result"


class Foreign:
    """Yields something to its driver that is not ours, as a future does."""

    def __await__(self) -> Any:
        yield self


async def awaits_foreign(_ctx: Context) -> None:
    """Await a future of somebody else."""
    await Foreign()


async def awaits_asyncio(_ctx: Context) -> None:
    """Use asyncio."""
    await asyncio.sleep(1)


async def awaits_asyncio_yield(_ctx: Context) -> None:
    """Use asyncio in the way that yields nothing."""
    await asyncio.sleep(0)


async def awaits_trio(_ctx: Context) -> None:
    """Use trio."""
    await trio.sleep(1)


async def forgets(ctx: Context) -> None:
    """Forget an await."""
    ctx.call("a", "b")


async def twice(ctx: Context) -> None:
    """Await one operation twice."""
    operation = ctx.call("a", "b")
    await ctx.race(operation, ctx.sleep(0))
    await operation


async def swallows(_ctx: Context) -> None:
    """Swallow what says that this cannot be."""
    try:  # noqa: SIM105 - the bad habit under test
        await Foreign()
    except BaseException:  # noqa: BLE001, S110 - the bad habit under test
        pass


@pytest.mark.parametrize(
    "code",
    [awaits_foreign, awaits_asyncio, awaits_asyncio_yield, awaits_trio, forgets, swallows],
)
def test_awaiting_what_is_not_durable_blocks_and_says_what_to_do(code: Any) -> None:
    """Whatever the code does with the error, the instance is blocked."""
    box = Mailbox(code)

    box.start()

    assert box.instance.blocked is not None
    assert box.instance.blocked.reason == "not_durable"
    assert "await ctx" in box.instance.blocked.message
    box.refold()


def test_an_operation_is_awaited_once() -> None:
    """The second await would need a second path."""
    box = Mailbox(twice)
    box.start()

    box.reply("/race/0/a.b")

    assert box.instance.blocked is not None
    assert "awaited twice" in box.instance.blocked.message


def test_the_context_of_another_instance_cannot_be_used() -> None:
    """Operations belong to the fold that made them."""
    leaked: list[Context] = []

    async def leak(ctx: Context) -> None:
        leaked.append(ctx)
        await ctx.signal("never")

    async def thief(_ctx: Context) -> None:
        await leaked[0].sleep(1)

    owner, other = Mailbox(leak), Mailbox(thief)
    owner.start()

    other.start()

    assert other.instance.blocked is not None
    assert other.instance.blocked.reason == "not_durable"
    assert owner.instance.status == "running"
    with pytest.raises(NotDurableError):
        leaked[0].random()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_swallows_cancellation_blocks_instead_of_hanging() -> None:
    """The daemon survives a bare except in an endless loop; Python warns when it is dropped."""

    async def bare(ctx: Context) -> None:
        while True:
            try:  # noqa: SIM105 - the bad habit under test
                await ctx.signal("go")
            except BaseException:  # noqa: BLE001, S110 - the bad habit under test
                pass

    box = Mailbox(bare)
    box.start()

    box.cancel()

    assert box.instance.blocked is not None
    assert "loop" in box.instance.blocked.message
    del box
    gc.collect()


def test_dropping_an_instance_runs_finally_without_effect() -> None:
    """Passivation is silent: no effect, no log line, no warning."""
    unwound = []

    async def tidy(ctx: Context) -> None:
        try:
            async with ctx.scope() as scope:
                scope.start(ctx.gather(ctx.signal("a"), ctx.sleep(5)))
                with ctx.timeout(5):
                    await ctx.signal("b")
        finally:
            unwound.append("finally")
            await ctx.call("a", "undo")
            unwound.append("undone")

    closed, collected = Mailbox(tidy), Mailbox(tidy)
    closed.start()
    collected.start()
    before = len(closed.effects)

    closed.instance.close()
    del collected
    gc.collect()

    assert unwound == ["finally", "finally"]
    assert len(closed.effects) == before


def test_events_signals_and_state_have_identities_from_the_path() -> None:
    """They are the same at every fold, and different for each use."""

    async def busy(ctx: Context) -> None:
        ctx.emit("seen", {"n": 1})
        ctx.emit("seen", {"n": 2})
        ctx.send("other", "hello", [1])
        ctx.set_state(stage="one", count=1)
        ctx.set_state(count=2)
        ctx.log.info("busy", n=1)
        await ctx.signal("never")

    box = Mailbox(busy)

    effects = box.start()

    assert [effect.id for effect in effects if isinstance(effect, Emit)] == [
        "i-1/1/emit.seen",
        "i-1/1/emit.seen#2",
    ]
    (sent,) = [effect for effect in effects if isinstance(effect, Send)]
    assert (sent.to, sent.name, sent.body) == ("other", "hello", b"[1]")
    assert box.instance.state == {"stage": "one", "count": 2}
    assert [line.event for line in box.instance.drain_logs()] == ["busy"]
    assert box.refold().drain_logs() == []


def test_a_child_is_spawned_and_its_result_awaited() -> None:
    """The child's id is the same at every fold."""

    async def parent(ctx: Context) -> Any:
        return await ctx.child("family.child", {"a": 1})

    box = Mailbox(parent)

    (spawn,) = box.start()
    box.end_child("/family.child", 42)

    assert isinstance(spawn, Spawn)
    assert spawn.child.startswith("i-1-")
    assert (spawn.workflow, spawn.body) == ("family.child", b'{"a":1}')
    assert spawn.parent == Parent(instance="i-1", path="/family.child")
    assert box.result == 42
    box.refold()


@pytest.mark.parametrize(("on_cancel", "told"), [("cancel", 1), ("abandon", 0)])
def test_a_cancel_reaches_the_child_unless_it_is_abandoned(on_cancel: Any, told: int) -> None:
    """Its end is late then."""

    async def parent(ctx: Context) -> Any:
        return await ctx.child("child", id="c-7", on_cancel=on_cancel)

    box = Mailbox(parent)
    box.start()

    effects = box.cancel()
    box.end_child("/child")

    assert [type(effect).__name__ for effect in effects].count("CancelChild") == told
    assert box.instance.counters.late == 1


def test_a_childs_failure_is_an_error_in_the_code() -> None:
    """ChildFailedError ends the parent as failed when nobody catches it."""

    async def parent(ctx: Context) -> Any:
        return await ctx.child("child", id="c-7")

    box = Mailbox(parent)
    box.start()

    effects = box.end_child("/child", status="cancelled")

    assert finish(effects).failure is not None
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "cancelled"
