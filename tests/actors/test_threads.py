"""Where threads meet trio. Real threads, hence real time and short waits."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from actors.core import threads
from actors.core.base import TrioActor
from actors.core.inbox import DeadActorError, DiedHandlingError, MailboxFullError
from actors.core.ref import ask
from actors.core.system import ActorSystem, open_system
from actors.core.threads import BlockingActor
from protocols.errors import OverloadedError


class Collector(TrioActor):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.enough = trio.Event()

    def on_receive(self, message: Any) -> None:
        """Keep; ``end`` is the last one."""
        if message == "end":
            self.enough.set()
        else:
            self.seen.append(message)


class Database(BlockingActor):
    """A blocking client: waits for the event that it is told."""

    mailbox_messages_max = 3

    def __init__(self, log: list[str] | None = None, error: Exception | None = None) -> None:
        super().__init__()
        self.log = log if log is not None else []
        self.error = error

    def on_start(self) -> None:
        """Connect."""
        if self.error is not None:
            raise self.error
        self.log.append(f"start {threading.current_thread() is threading.main_thread()}")

    def on_stop(self) -> None:
        """Disconnect."""
        self.log.append("stop")

    def on_receive(self, message: Any) -> Any:
        """Block, fail or answer."""
        if isinstance(message, threading.Event):
            message.wait(5)
        if isinstance(message, Exception):
            raise message
        return threading.get_ident()


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """Return a system whose actors are stopped at the end of the test."""
    async with open_system() as opened:
        yield opened


async def test_threads_tell_an_actor_without_loss_and_in_order(system: ActorSystem) -> None:
    """What each of four threads has told arrives complete and in that thread's order."""
    ref = system.start(Collector)
    actor = system.registry.actor_of(ref)
    assert isinstance(actor, Collector)

    def tell(thread: int) -> None:
        for number in range(500):
            system.tell_from_thread(ref, (thread, number))

    workers = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        await trio.to_thread.run_sync(worker.join)
    system.tell_from_thread(ref, "end")
    await actor.enough.wait()

    for thread in range(4):
        assert [n for t, n in actor.seen if t == thread] == list(range(500))


async def test_a_thread_hears_of_a_full_or_dead_mailbox_itself(system: ActorSystem) -> None:
    """The refusal is raised in the thread that told, where somebody can act on it."""

    class Small(Collector):
        mailbox_messages_max = 2

    ref = system.start(Small)
    ref.tell(1)
    ref.tell(2)

    with pytest.raises(MailboxFullError):
        system.tell_from_thread(ref, 3)
    await system.stop(ref)
    with pytest.raises(DeadActorError):
        system.tell_from_thread(ref, 4)


async def test_what_was_on_its_way_to_an_actor_that_ended_is_counted(system: ActorSystem) -> None:
    """A message that was taken and could not be delivered shows up in the statistics."""
    ref = system.start(Collector)
    ref.request_stop()
    system.tell_from_thread(ref, 1)

    await system.wait_ended(ref)
    await trio.testing.wait_all_tasks_blocked()

    assert system.statistics().undelivered == 1


async def test_a_blocking_actor_answers_from_one_thread_of_its_own(system: ActorSystem) -> None:
    """One thread owns the connection, from on_start to on_stop, and it is not trio's."""
    log: list[str] = []
    ref = system.start_blocking(Database, log, name="database")

    answers = {await ask(ref, number, timeout_s=2) for number in range(3)}
    await system.stop(ref)

    assert len(answers) == 1
    assert answers != {threading.get_ident()}
    assert log == ["start False", "stop"]
    assert system.gate.threads == 0


async def test_a_blocked_actor_delays_no_other(system: ActorSystem) -> None:
    """While one thread is stuck, another blocking actor and a trio actor answer within 50 ms."""
    stuck, other = system.start_blocking(Database), system.start_blocking(Database)
    await system.wait_ready(other)
    await system.wait_ready(stuck)
    release = threading.Event()
    late = stuck.ask(release)
    await trio.testing.wait_all_tasks_blocked()

    with trio.fail_after(0.05):
        await other.ask(1)

    assert not late.done
    release.set()
    await late


async def test_a_blocking_actor_has_a_bounded_mailbox(system: ActorSystem) -> None:
    """What waits behind a blocked call is limited by the class of the blocking actor."""
    ref = system.start_blocking(Database)
    await system.wait_ready(ref)
    release = threading.Event()
    ref.tell(release)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(3):
        ref.tell(number)

    with pytest.raises(MailboxFullError):
        ref.tell(4)
    release.set()
    with trio.fail_after(2):
        await system.stop(ref)


async def test_a_kill_does_not_wait_for_a_blocked_thread(system: ActorSystem) -> None:
    """The asker hears at once; the thread is counted until its call returns."""
    ref = system.start_blocking(Database, name="database")
    await system.wait_ready(ref)
    release = threading.Event()
    answer = ref.ask(release)
    await trio.testing.wait_all_tasks_blocked()

    system.kill(ref)
    with trio.fail_after(0.5), pytest.raises(DiedHandlingError):
        await answer
    again = system.start_blocking(Database, name="database")
    await system.wait_ready(again)
    threads_while_stuck = system.gate.threads
    release.set()
    with trio.fail_after(2):
        while system.gate.threads == threads_while_stuck:
            await trio.sleep(0.001)

    assert threads_while_stuck == 2
    assert system.gate.threads == 1


async def test_errors_of_a_blocking_actor_are_those_of_every_actor(system: ActorSystem) -> None:
    """Asked: the answer. Told: the end. In on_start: the start has failed."""
    ref = system.start_blocking(Database)
    with pytest.raises(ValueError, match="asked"):
        await ref.ask(ValueError("asked"))
    boom = ValueError("told")
    ref.tell(boom)
    terminated = await system.wait_ended(ref)
    refused = system.start_blocking(Database, error=ConnectionError("no database"))

    assert terminated.error is boom
    with pytest.raises(ConnectionError):
        await system.wait_ready(refused)


async def test_the_number_of_threads_is_bounded(
    system: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarting an actor whose thread never comes back cannot use up the machine."""
    monkeypatch.setattr(threads, "THREADS_MAX", 1)
    first = system.start_blocking(Database)
    await system.wait_ready(first)

    second = system.start_blocking(Database)

    with pytest.raises(OverloadedError):
        await system.wait_ready(second)
