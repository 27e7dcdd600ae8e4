"""Actors as children of a supervisor."""
# ruff: noqa: ARG001  # pytest-trio finds the clock among the arguments of a test

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actors.core.base import DrivenActor, TrioActor
from actors.core.ref import Terminated, ask
from actors.core.system import ActorSystem, open_system
from supervisors.actor import actor_child
from supervisors.backoff import NO_BACKOFF
from supervisors.child import ChildSpec, StartFailedError
from supervisors.report import Report
from supervisors.supervisor import Supervisor
from tests.supervisors.stage import running


class Counter(TrioActor):
    """Counts what it is told; dies of ``boom``."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> int:
        """Count."""
        if message == "boom":
            raise ValueError(message)
        self.count += 1
        return self.count


class DrivenCounter(Counter, DrivenActor):
    """The same without a task."""


class Hanging(TrioActor):
    """Never comes back from a message, nor from a stop behind it."""

    async def on_receive(self, message: Any) -> None:
        """Hang."""
        del message
        await trio.sleep_forever()


@pytest.mark.parametrize("kind", [Counter, DrivenCounter])
async def test_a_crashed_actor_comes_back_under_its_name(
    kind: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """A new incarnation with fresh state bears the stable name; the watcher's report has why."""
    reports: list[Report] = []
    async with open_system() as system:
        spec = ChildSpec(id="counter", start=actor_child(system, kind, name="counter"))
        supervisor = Supervisor("s", [spec], backoff=NO_BACKOFF, report=reports.append)
        async with running(supervisor):
            first = system.registry.lookup("counter")
            await ask(first, 1, timeout_s=1)
            first.tell("boom")
            await trio.testing.wait_all_tasks_blocked()
            second = system.registry.lookup("counter")

            assert second is not first
            assert supervisor.value_of("counter") is second
            assert await ask(second, 1, timeout_s=1) == 1
        assert second.terminated is not None
        assert second.terminated.reason == "shutdown"
    failed = next(each for each in reports if each.event == "child.failed")
    assert isinstance(failed.error, ValueError)


async def test_an_actor_that_ends_normally_is_a_normal_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A transient actor that was stopped by somebody else is not restarted; a killed one is."""
    async with open_system() as system:
        specs = [
            ChildSpec(id=name, start=actor_child(system, Counter, name=name), restart="transient")
            for name in ("stopped", "killed")
        ]
        supervisor = Supervisor("s", specs, backoff=NO_BACKOFF)
        async with running(supervisor):
            await system.stop(system.registry.lookup("stopped"))
            system.kill(system.registry.lookup("killed"))
            await trio.testing.wait_all_tasks_blocked()

            views = {child.id: child for child in supervisor.view().children}
            assert (views["stopped"].status, views["stopped"].restarts) == ("finished", 0)
            assert (views["killed"].status, views["killed"].restarts) == ("running", 1)


async def test_a_hanging_actor_is_killed_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Shutdown first asks, then kills; afterwards the actor is gone."""
    async with open_system() as system:
        spec = ChildSpec(id="h", start=actor_child(system, Hanging, name="h"), shutdown=2)
        async with running(Supervisor("s", [spec])):
            system.registry.lookup("h").tell("hang")

        assert trio.current_time() == pytest.approx(2, abs=0.01)
        assert len(system.registry) == 0


@pytest.mark.parametrize("kind", [Counter, DrivenCounter, Hanging])
async def test_cancelling_everything_at_once_leaves_no_actor_behind(
    kind: Any, autojump_clock: trio.testing.MockClock
) -> None:
    """When supervisor, actors and dispatcher are cancelled together, all end and are told of."""
    told: list[Terminated] = []
    async with trio.open_nursery() as nursery:
        system = ActorSystem(nursery)
        spec = ChildSpec(id="c", start=actor_child(system, kind, name="c"))
        nursery.start_soon(Supervisor("s", [spec]).run)
        await trio.testing.wait_all_tasks_blocked()
        for ref in (system.registry.lookup("c"), system.start(kind)):
            system.registry.watch(ref, told.append)
            ref.tell(1)

        nursery.cancel_scope.cancel()

    assert [each.exit for each in told] == ["killed", "killed"]
    assert len(system.registry) == 0


async def test_a_name_that_is_taken_is_a_failed_start() -> None:
    """Two bearers of one name are a mistake in the tree; the supervisor does not come up."""
    async with open_system() as system:
        system.start(Counter, name="counter")
        spec = ChildSpec(id="c", start=actor_child(system, Counter, name="counter"))

        with pytest.raises(StartFailedError, match="lives already"):
            await Supervisor("s", [spec]).run()
