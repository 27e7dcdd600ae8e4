"""Hosting: the triggers of a daemon as one child of its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from actors.store import streams
from actors.store.direct_reader import DirectReader
from protocols.triggers import Armed
from runtime.api.peers import Peers
from runtime.api.queries import RunQueries
from runtime.api.runs import RunCommands
from runtime.triggers.book import TriggerBook
from runtime.triggers.firing import Firing
from runtime.triggers.messages import Messages
from runtime.triggers.schedules import Schedules
from runtime.triggers.sweeping import Sweeping
from runtime.triggers.webhooks import Webhooks

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus


class Triggers:
    """What the API and the HTTP edge need of the triggers."""

    def __init__(
        self,
        book: TriggerBook,
        firing: Firing,
        *,
        schedules: Schedules,
        messages: Messages,
        webhooks: Webhooks,
    ) -> None:
        self.book = book
        self.firing = firing
        self.schedules = schedules
        self.messages = messages
        self.webhooks = webhooks

    def problem(self, armed: Armed) -> str:
        """Return why a trigger does nothing here; empty: it does."""
        waits = self.messages.problems.get(armed.key) or self.schedules.problems.get(armed.key)
        return armed.problem or waits or ""

    def problems(self) -> list[str]:
        """Return what a person should look at."""
        return [
            f"trigger {each.key}: {self.problem(each)}"
            for each in self.book.armed.values()
            if self.problem(each)
        ]


async def host_triggers(daemon: Daemon, *, task_status: ChildStatus) -> None:
    """Fire the triggers of all workflows until cancelled."""
    transport, replicas = daemon.parts.transport, daemon.config.replicas
    async with (
        DirectReader(transport, "MAIL", replicas=replicas) as mail,
        trio.open_nursery() as nursery,
    ):
        queries = RunQueries(daemon, mail, Peers(daemon))
        commands = RunCommands(daemon, mail, queries)
        book = TriggerBook(daemon.parts)
        firing = Firing(daemon, commands)
        schedules = Schedules(daemon, book, firing, commands=commands, queries=queries)
        messages = Messages(daemon, book, firing)
        webhooks = Webhooks(daemon, book, firing)
        await streams.patiently(book.load)
        daemon.parts.triggers = Triggers(
            book, firing, schedules=schedules, messages=messages, webhooks=webhooks
        )
        nursery.start_soon(book.run)
        nursery.start_soon(schedules.run)
        nursery.start_soon(messages.run)
        nursery.start_soon(Sweeping(daemon, book).run)
        task_status.started()
