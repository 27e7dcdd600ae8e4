"""Paces: how far runs are; of graphs, by what former runs of the same workflow took.

Read from the mailboxes of a few that have completed lately, and known for a while: a person who
looks at a run again and again reads them once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import trio

from actors.graphs.interpreter import GraphWorkflow
from actors.graphs.progress import Pace, durations, pace_of, progress
from actors.motions.interpreter import MotionWorkflow
from actors.motions.progress import motion_progress
from actors.owning.inbound import parse
from actors.owning.letters import Letter
from actors.store.direct_reader import DirectReader
from actors.views.run_index import Row, RunIndex
from protocols import subjects
from protocols.api import runs as api
from protocols.effects import FINAL
from protocols.errors import MovantError
from protocols.mail import AnyMail, Start

if TYPE_CHECKING:
    from runtime.daemon import Daemon

RUNS_MAX: Final = 3
"""Former runs that are looked at."""
ROWS_MAX: Final = 10_000
"""Of the latest runs, among which these are looked for."""
MESSAGES_MAX: Final = 1_000
"""Longer mailboxes are passed over: an estimate is not worth reading them."""
KNOWN_S: Final = 30.0
READ_S: Final = 0.5
"""How long who asks about a run waits for what former ones tell."""
WORKFLOWS_MAX: Final = 1_000


class Paces:
    """Tells the progress of runs."""

    def __init__(self, daemon: Daemon, mail: DirectReader, index: RunIndex) -> None:
        self._daemon = daemon
        self._mail = mail
        self._index = index
        self._known: dict[str, tuple[float, Pace]] = {}

    async def of(self, view: api.RunView) -> api.Progress | None:
        """Return how far a run is; None when it is no graph, or nothing is known of it."""
        if view.blocked or view.state is None:
            return None
        try:
            workflow = await self._daemon.parts.definitions.find(view.workflow, view.definition)
            final = view.status if view.status in FINAL else ""
            if isinstance(workflow, MotionWorkflow):
                state = view.state.get("state", "")
                return motion_progress(workflow.machine, state, ended=final)
            if not isinstance(workflow, GraphWorkflow):
                return None
            pace = await self._pace(workflow)
        except MovantError:
            return None  # its definition, or a stream, cannot be read: the view says enough
        return progress(
            workflow.order,
            view.state,
            view.waiting,
            pace,
            self._daemon.clock.now_ns(),
            ended=final,
        )

    async def _pace(self, workflow: GraphWorkflow) -> Pace:
        """Return how long the steps of a workflow take, as far as that is read soon enough."""
        now = self._daemon.clock.monotonic()
        at, pace = self._known.pop(workflow.name, (float("-inf"), Pace()))
        fresh = now - at < KNOWN_S
        # At once: who asks beside it does not read the same.
        self._known[workflow.name] = (at if fresh else now, pace)
        if len(self._known) > WORKFLOWS_MAX:
            del self._known[next(iter(self._known))]
        if fresh:
            return pace
        runs = []
        with trio.move_on_after(READ_S):  # the index of very many runs is built bit by bit
            await self._index.refresh(blocked=False)
            for row in islice(self._completed(workflow.name), RUNS_MAX):
                mails = await self._mails(row.id)
                if mails and type(mails[0]) is Start:  # else its beginning was packed away
                    runs.append(durations(workflow.graph, workflow.order, mails))
        if runs:
            pace = pace_of(runs)
            self._known[workflow.name] = (now, pace)
        return pace

    def _completed(self, workflow: str) -> Iterator[Row]:
        """Yield the completed runs of a workflow, the latest first."""
        latest = islice(reversed(self._index.rows.values()), ROWS_MAX)
        return (row for row in latest if row.workflow == workflow and row.status == "completed")

    async def _mails(self, run: str) -> list[AnyMail]:
        """Return the messages of a run; none when they are too many."""
        partition = subjects.partition_of(run, self._daemon.config.partitions)
        found: list[Any] = []
        async for batch in self._mail.follow(subjects.mailbox(run, partition), 0):
            parsed = (parse(each, self._daemon.parts.keys) for each in batch)
            found += [each.mail for each in parsed if type(each) is Letter]
            if len(found) > MESSAGES_MAX:
                return []
        return found
