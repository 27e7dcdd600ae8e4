"""Children that do what a test tells them, and a supervisor running beside the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from supervisors.child import ChildStatus
from supervisors.report import Report
from supervisors.supervisor import Supervisor


class Boom(Exception):
    """What a child dies of."""


class Stage:
    """Scripted children and a record of what they did, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reports: list[Report] = []
        self._orders: dict[str, trio.MemorySendChannel[str]] = {}
        self.failing_starts: dict[str, int] = {}
        self.clean_up_s: dict[str, float] = {}
        self.start_s: dict[str, float] = {}

    def child(self, name: str, *, stoppable: bool = False, deaf: bool = False) -> Any:
        """Return a start function. ``deaf`` takes the request to stop and ignores it."""

        async def start(*, task_status: ChildStatus) -> None:
            self.log.append(f"start {name}")
            if self.failing_starts.get(name, 0) > 0:
                self.failing_starts[name] -= 1
                raise Boom(f"{name} cannot start")
            await trio.sleep(self.start_s.get(name, 0))
            send, receive = trio.open_memory_channel[str](10)
            self._orders[name] = send
            ask: Callable[[], Any] | None = None
            if stoppable or deaf:
                ask = lambda: send.send_nowait("stop")  # noqa: E731  # bound in this scope
            self.log.append(f"up {name}")
            task_status.started(name, stop=ask)
            try:
                async for order in receive:
                    if order == "boom":
                        raise Boom(name)
                    if order == "return" or (order == "stop" and not deaf):
                        await trio.sleep(self.clean_up_s.get(name, 0))
                        return
            finally:
                self.log.append(f"end {name}")

        return start

    async def order(self, name: str, what: str) -> None:
        """Let a child die or return, and wait until that has had its consequences."""
        self._orders[name].send_nowait(what)
        await trio.testing.wait_all_tasks_blocked()

    def take(self) -> list[str]:
        """Return and forget what happened so far."""
        log, self.log = self.log, []
        return log

    def events(self, child: str = "") -> list[str]:
        """Return the names of the reports, of one child or all."""
        return [each.event for each in self.reports if child in {"", each.child}]


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    """Run a supervisor beside the body, from its children's start to its orderly stop."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_run, supervisor)
        yield supervisor
        supervisor.request_stop()


async def _run(
    supervisor: Supervisor, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    class Both:
        def started(self, value: Any = None, *, stop: Any = None) -> None:
            del stop
            task_status.started(value)

    await supervisor.run(task_status=Both())
