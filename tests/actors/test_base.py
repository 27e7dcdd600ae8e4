"""Actors on trio: mailboxes, asks, ends, names, death watch, turns."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pykka
import pytest
import trio
import trio.testing

from actors.core.base import DrivenActor, TrioActor
from actors.core.dispatcher import Dispatcher
from actors.core.future import TrioFuture
from actors.core.inbox import DeadActorError, DiedHandlingError, MailboxFullError
from actors.core.ref import AskTimeoutError, Terminated, TrioRef, ask
from actors.core.system import ActorSystem, open_system
from protocols.errors import (
    AlreadyExistsError,
    InternalError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnknownOutcomeError,
)


class _Script:
    """The behaviour that all kinds of actor under test share."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def handle(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        self.seen.append(message)
        return ("seen", message)


class Plain(_Script, TrioActor):
    """A task, a plain handler."""

    mailbox_messages_max = 5

    def on_receive(self, message: Any) -> Any:
        """Handle."""
        return self.handle(message)


class Waiting(_Script, TrioActor):
    """A task, an async handler."""

    mailbox_messages_max = 5

    async def on_receive(self, message: Any) -> Any:
        """Handle; an Event is waited for."""
        if isinstance(message, trio.Event):
            await message.wait()
        return self.handle(message)


class Driven(_Script, DrivenActor):
    """No task."""

    mailbox_messages_max = 5

    def on_receive(self, message: Any) -> Any:
        """Handle."""
        return self.handle(message)


KINDS = [Plain, Waiting, Driven]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """Return a system whose actors are stopped at the end of the test."""
    async with open_system() as opened:
        yield opened


def _seen(system: ActorSystem, ref: TrioRef[Any]) -> list[Any]:
    actor = system.registry.actor_of(ref)
    assert isinstance(actor, _Script)
    return actor.seen


@every_kind
async def test_messages_are_handled_in_the_order_told(system: ActorSystem, kind: Any) -> None:
    """A mailbox is first in, first out, and an ask stands in the same line."""
    ref = system.start(kind)

    for number in range(4):
        ref.tell(number)
    answer = await ask(ref, 4, timeout_s=1)

    assert answer == ("seen", 4)
    assert _seen(system, ref) == [0, 1, 2, 3, 4]


@every_kind
async def test_a_full_mailbox_refuses_and_drops_nothing(system: ActorSystem, kind: Any) -> None:
    """Tell raises, ask answers with the refusal, and what was taken is handled."""
    ref = system.start(kind)
    for number in range(5):
        ref.tell(number)

    with pytest.raises(MailboxFullError, match="5 messages"):
        ref.tell(5)
    with pytest.raises(OverloadedError):
        await ref.ask(6)
    await trio.testing.wait_all_tasks_blocked()
    ref.tell(7)
    await trio.testing.wait_all_tasks_blocked()

    assert _seen(system, ref) == [0, 1, 2, 3, 4, 7]


@every_kind
async def test_a_stop_lets_the_waiting_messages_be_handled_first(
    system: ActorSystem, kind: Any
) -> None:
    """Stop stands in line, even in a full mailbox; what comes after it is refused."""
    ref = system.start(kind)
    actor = system.registry.actor_of(ref)
    for number in range(5):
        ref.tell(number)

    terminated = await system.stop(ref, reason="drained")

    assert isinstance(actor, _Script)
    assert actor.seen == [0, 1, 2, 3, 4]
    assert (terminated.reason, terminated.exit, terminated.undelivered) == ("drained", "normal", 0)
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.tell(5)
    with pytest.raises(UnavailableError):
        await ref.ask(6)


@every_kind
async def test_a_crash_ends_one_actor_only_and_is_told_with_its_error(
    system: ActorSystem, kind: Any
) -> None:
    """The watcher gets the exception itself; other actors do not notice."""
    ref, other = system.start(kind, name="one"), system.start(kind)
    told: list[Terminated] = []
    system.registry.watch(ref, told.append)
    boom = ValueError("boom")

    ref.tell(boom)
    ref.tell("left over")
    await trio.testing.wait_all_tasks_blocked()

    assert told == [Terminated("one", ref.actor_urn, "error", boom, undelivered=1)]
    assert await other.ask(1) == ("seen", 1)


@every_kind
async def test_an_error_of_an_asked_message_is_the_answer(system: ActorSystem, kind: Any) -> None:
    """Pykka's rule: the asker gets the exception and the actor lives on."""
    ref = system.start(kind)

    with pytest.raises(ValueError, match="boom"):
        await ask(ref, ValueError("boom"), timeout_s=1)

    assert await ask(ref, 1, timeout_s=1) == ("seen", 1)


@every_kind
async def test_who_asks_a_dying_actor_is_told_at_once(
    system: ActorSystem, kind: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """Not the timeout but the death is the answer, with what the actor died of as cause."""
    ref = system.start(kind)
    boom = ValueError("boom")
    system.registry.watch(ref, lambda _: None)
    ref.tell(boom)

    with pytest.raises(DeadActorError) as caught:
        await ask(ref, 1, timeout_s=100)

    assert caught.value.__cause__ is boom
    assert autojump_clock.current_time() == 0


async def test_who_asks_an_actor_that_is_killed_while_it_handles_hears_of_it(
    system: ActorSystem, autojump_clock: trio.testing.MockClock
) -> None:
    """Half of it may have happened: that is an unknown outcome, at once."""
    ref = system.start(Waiting)
    answer = ref.ask(trio.Event())
    await trio.testing.wait_all_tasks_blocked()

    system.kill(ref)

    with pytest.raises(DiedHandlingError) as caught:
        await answer
    assert isinstance(caught.value, UnknownOutcomeError)
    assert autojump_clock.current_time() == 0


async def test_an_ask_times_out_when_a_living_actor_does_not_answer(
    system: ActorSystem, autojump_clock: trio.testing.MockClock
) -> None:
    """Every wait has a bound; the late answer disturbs nobody."""
    ref, event = system.start(Waiting), trio.Event()

    with pytest.raises(AskTimeoutError, match="within 3 s"):
        await ask(ref, event, timeout_s=3)
    event.set()

    assert autojump_clock.current_time() == pytest.approx(3)
    assert await ask(ref, 1, timeout_s=1) == ("seen", 1)


@every_kind
async def test_a_kill_overtakes_what_waits(system: ActorSystem, kind: Any) -> None:
    """A killed actor handles nothing more, and says how many messages that were."""
    ref = system.start(kind)
    await system.wait_ready(ref)
    for number in range(3):
        ref.tell(number)

    system.kill(ref)
    terminated = await system.wait_ended(ref)

    assert (terminated.exit, terminated.undelivered) == ("killed", 3)
    assert system.statistics().undelivered == 3


async def test_a_driven_actor_can_be_killed_by_its_own_handler(system: ActorSystem) -> None:
    """The message in hand is finished, the rest is not."""

    class Suicidal(DrivenActor):
        def on_receive(self, message: int) -> int:
            self.system.kill(self.actor_ref)
            return message

    ref = system.start(Suicidal)
    answer = ref.ask(1)
    ref.tell(2)
    terminated = await system.wait_ended(ref)

    assert await answer == 1
    assert (terminated.exit, terminated.undelivered) == ("killed", 1)


@every_kind
async def test_the_end_is_told_exactly_once_also_to_late_watchers(
    system: ActorSystem, kind: Any
) -> None:
    """Watching twice is watching once; who watches a dead actor is told at once."""
    ref = system.start(kind)
    early: list[Terminated] = []
    late: list[Terminated] = []
    taken_back: list[Terminated] = []
    system.registry.watch(ref, early.append)
    system.registry.watch(ref, early.append)
    system.registry.watch(ref, taken_back.append)
    system.registry.unwatch(ref, taken_back.append)

    await system.stop(ref)
    system.registry.watch(ref, late.append)

    assert len(early) == len(late) == 1
    assert early == late
    assert taken_back == []


async def test_a_watching_actor_gets_the_end_as_a_message_even_when_its_mailbox_is_full(
    system: ActorSystem,
) -> None:
    """The end of another actor is never lost for want of room."""
    watcher, watched = system.start(Waiting), system.start(Plain, name="watched")
    block = trio.Event()
    watcher.tell(block)
    await trio.testing.wait_all_tasks_blocked()
    system.registry.watch(watched, watcher)
    for number in range(5):
        watcher.tell(number)

    await system.stop(watched)
    block.set()
    await trio.testing.wait_all_tasks_blocked()

    last = _seen(system, watcher)[-1]
    assert isinstance(last, Terminated)
    assert last.name == "watched"


async def test_a_watcher_that_ended_leaves_nothing_behind(system: ActorSystem) -> None:
    """Many short-lived watchers of a long-lived actor do not pile up in the registry."""
    watched = system.start(Plain)
    for _ in range(3):
        watcher = system.start(Plain)
        system.registry.watch(watched, watcher)
        await system.stop(watcher)

    assert system.registry._watchers == {}
    assert system.registry._watched_by == {}


async def test_a_watcher_that_raises_does_not_keep_it_from_the_others(system: ActorSystem) -> None:
    """One bad callback is logged, the rest are told."""
    ref = system.start(Plain)
    told: list[Terminated] = []

    def bad(_: Terminated) -> None:
        raise ValueError("watcher")

    system.registry.watch(ref, bad)
    system.registry.watch(ref, told.append)
    await system.stop(ref)

    assert len(told) == 1


async def test_a_name_belongs_to_the_living_incarnation(system: ActorSystem) -> None:
    """A name is taken while its bearer lives, and free for the next one afterwards."""
    first = system.start(Plain, name="bridge")
    with pytest.raises(AlreadyExistsError):
        system.start(Plain, name="bridge")

    await system.stop(first)
    assert system.registry.find("bridge") is None
    with pytest.raises(NotFoundError):
        system.registry.lookup("bridge")
    second = system.start(Plain, name="bridge")

    assert system.registry.lookup("bridge") is second
    assert first.actor_urn != second.actor_urn


async def test_the_error_of_on_start_reaches_whoever_waits_for_the_start(
    system: ActorSystem,
) -> None:
    """start_ready returns when on_start is done, or raises what it raised."""

    class Bad(TrioActor):
        async def on_start(self) -> None:  # type: ignore[override]  # async is allowed here
            await trio.lowlevel.checkpoint()
            raise ConnectionError("no database")

    class BadDriven(DrivenActor):
        def on_start(self) -> None:
            raise ConnectionError("no database")

    for bad in (Bad, BadDriven):
        with pytest.raises(ConnectionError):
            await system.start_ready(bad, name="bad")
        assert system.registry.find("bad") is None


async def test_hooks_run_at_their_time(system: ActorSystem) -> None:
    """on_start before the first message, on_stop after the last, on_failure after a crash."""
    log: list[str] = []

    class Hooked(TrioActor):
        async def on_start(self) -> None:  # type: ignore[override]  # async is allowed here
            log.append("start")

        async def on_stop(self) -> None:  # type: ignore[override]  # async is allowed here
            log.append("stop")

        def on_failure(self, *exc_info: object) -> None:
            log.append(f"failure {exc_info[1]}")

        def on_receive(self, message: str) -> None:
            if message == "boom":
                raise ValueError(message)
            log.append(message)

    stopped = system.start(Hooked)
    stopped.tell("m")
    await system.stop(stopped)
    crashed = system.start(Hooked)
    crashed.tell("boom")
    await system.wait_ended(crashed)

    assert log == ["start", "m", "stop", "start", "failure boom"]


async def test_a_failing_on_stop_is_the_reason_of_the_end(system: ActorSystem) -> None:
    """A clean-up that failed is not reported as a normal end."""

    class Bad(DrivenActor):
        def on_stop(self) -> None:
            raise ValueError("clean-up")

    terminated = await system.stop(system.start(Bad))

    assert terminated.exit == "error"


async def test_ready_actors_take_turns() -> None:
    """A flooded actor delays another one by one turn, not by its whole mailbox."""
    order: list[str] = []

    class Noisy(DrivenActor):
        def __init__(self, label: str) -> None:
            super().__init__()
            self.mark = label

        def on_receive(self, message: int) -> None:
            del message
            order.append(self.mark)

    async with trio.open_nursery() as nursery:
        dispatcher = Dispatcher(turn_messages_max=4)
        nursery.start_soon(dispatcher.run)
        system = ActorSystem(nursery, dispatcher=dispatcher)
        flooded, quiet = system.start(Noisy, "flooded"), system.start(Noisy, "quiet")
        for number in range(100):
            flooded.tell(number)
        quiet.tell(0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert order.index("quiet") == 4
    assert len(order) == 101


async def test_a_busy_task_actor_lets_others_run(system: ActorSystem) -> None:
    """An actor that tells itself for ever gives up the loop after each turn."""

    class Endless(TrioActor):
        def on_receive(self, message: int) -> None:
            self.actor_ref.tell(message + 1)

    class EndlessAsync(TrioActor):
        async def on_receive(self, message: int) -> None:
            self.actor_ref.tell(message + 1)

    for kind in (Endless, EndlessAsync):
        endless, other = system.start(kind), system.start(Plain)
        endless.tell(0)

        with trio.fail_after(1):
            assert await other.ask(1) == ("seen", 1)
            await system.stop(endless)


async def test_driven_actors_need_no_task(system: ActorSystem) -> None:
    """A thousand of them are one task, the dispatcher's."""
    system.start(Driven)
    await trio.testing.wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living

    refs = [system.start(Driven) for _ in range(1_000)]
    for ref in refs:
        ref.tell(1)
    await trio.testing.wait_all_tasks_blocked()

    assert trio.lowlevel.current_statistics().tasks_living == before
    assert all(_seen(system, ref) == [1] for ref in refs)


async def test_all_actors_can_be_stopped_at_once() -> None:
    """stop_all waits until the last one has ended, and the nursery can close."""
    async with trio.open_nursery() as nursery:
        system = ActorSystem(nursery)
        for kind in KINDS * 10:
            system.start(kind)

        await system.stop_all()

        statistics = system.statistics()
        assert (statistics.live, statistics.started, statistics.ended) == (0, 30, 30)


async def test_statistics_tell_depth_and_work(system: ActorSystem) -> None:
    """A snapshot is frozen and shows what waits and what was done."""
    ref = system.start(Plain, name="p")
    await ref.ask(1)
    ref.tell(2)
    actor = system.registry.actor_of(ref)
    assert actor is not None

    statistics = actor.statistics()

    assert (statistics.name, statistics.mailbox_depth, statistics.handled) == ("p", 1, 1)
    with pytest.raises(AttributeError):
        statistics.handled = 7  # type: ignore[misc]  # that it cannot be set is the claim


async def test_what_would_block_is_refused(system: ActorSystem) -> None:
    """Pykka's blocking calls would stop the trio loop; they say what to do instead."""
    ref = system.start(Plain)

    with pytest.raises(TypeError, match="await"):
        ref.ask(1, block=True)
    with pytest.raises(TypeError, match="await"):
        ref.stop(block=True)
    with pytest.raises(TypeError, match="proxy"):
        ref.proxy()
    with pytest.raises(TypeError, match="ActorSystem"):
        Plain.start()
    with pytest.raises(TypeError, match="must not be async"):
        type("Bad", (DrivenActor,), {"on_receive": Waiting.on_receive})
    with pytest.raises(TypeError):
        pickle.dumps(ref)


async def test_pykkas_own_reference_reaches_the_mailbox(system: ActorSystem) -> None:
    """The inbox is pykka's hook: a plain ActorRef tells and asks through it."""
    ref = system.start(Plain)
    actor = system.registry.actor_of(ref)
    assert actor is not None
    foreign: pykka.ActorRef[Any] = pykka.ActorRef(actor)

    foreign.tell(1)
    answer = await foreign.ask(2, block=False)

    assert answer == ("seen", 2)
    assert pykka.ActorRegistry.get_all() == []


async def test_a_future_wakes_all_its_waiters_and_survives_a_cancelled_one() -> None:
    """Each waiter gets the value; a second value is a defect."""
    future: TrioFuture[int] = TrioFuture()
    got: list[int] = []

    async def wait() -> None:
        got.append(await future)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        with trio.move_on_after(0):
            await future
        with pytest.raises(trio.WouldBlock):
            future.get()
        future.set(7)

    assert got == [7, 7]
    assert await future == 7
    with pytest.raises(InternalError):
        future.set(8)


async def test_derived_futures_can_be_awaited() -> None:
    """map, filter, join and reduce work as in pykka, and wait as trio does."""
    numbers: TrioFuture[Iterable[int]] = TrioFuture()
    doubled: TrioFuture[Iterable[int]] = numbers.map(lambda values: [2 * each for each in values])
    big = doubled.filter(lambda value: value > 2)
    total = big.reduce(lambda left, right: left + right, 0)
    both = doubled.join(total)

    async with trio.open_nursery() as nursery:

        async def set_later() -> None:
            await trio.testing.wait_all_tasks_blocked()
            numbers.set([1, 2, 3])

        nursery.start_soon(set_later)
        joined = await both

    assert joined == [[2, 4, 6], 10]
    assert await total == 10
