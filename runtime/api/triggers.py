"""TriggerCommands: the verbs about triggers, and whether somebody may start a run by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio
from cronsim import CronSim

from actors import schedule
from actors.files.trigger_check import check_file
from actors.graphs.interpreter import GraphWorkflow
from protocols.api import runs as api
from protocols.api import triggers as said
from protocols.errors import BadValueError, NotFoundError, RefusedError, UnavailableError
from protocols.subjects import is_name
from protocols.triggers import (
    Armed,
    Last,
    Paused,
    Schedule,
    TriggerFile,
    TriggerState,
    digest,
    named,
)
from protocols.witness import Operator
from runtime.triggers.book import Stored
from runtime.triggers.hosting import Triggers
from runtime.triggers.schedules import run_of

if TYPE_CHECKING:
    from datetime import datetime

    from runtime.api.queries import RunQueries
    from runtime.daemon import Daemon

TOGETHER: Final = 16
"""Runs of a backfill that are started at the same time."""

Handler = Callable[[Any], Awaitable[msgspec.Struct]]
ByHand = api.RunStart | api.RunStartMany


class TriggerCommands:
    """Answers about triggers."""

    def __init__(self, daemon: Daemon, queries: RunQueries) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._queries = queries

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handler of each verb."""
        return {
            "trigger.ls": self.rows,
            "trigger.show": self.show,
            "trigger.add": self.add,
            "trigger.rm": self.remove,
            "trigger.pause": self.pause,
            "trigger.resume": self.resume,
            "trigger.fire": self.fire,
            "trigger.next": self.next,
            "trigger.backfill": self.backfill,
        }

    @property
    def _triggers(self) -> Triggers:
        """The triggers, made by the child before the API. Raises UnavailableError."""
        found = getattr(self._parts, "triggers", None)
        if found is None:
            raise UnavailableError("triggers are not read yet", hint="try again soon")
        assert isinstance(found, Triggers)
        return found

    async def rows(self, request: said.TriggerList) -> api.Message:
        """List triggers."""
        await self._queries.index.refresh(blocked=False)
        rows = [
            self._row(each)
            for _, each in sorted(self._triggers.book.armed.items())
            if request.workflow in {None, each.workflow}
            and request.kind in {"", each.trigger.kind}
        ]
        return said.TriggerPage(triggers=rows, server_time=self._daemon.clock.now_ns())

    async def show(self, request: said.TriggerShow) -> api.Message:
        """Show a trigger."""
        found = self._triggers.book.find(request.name)
        await self._queries.index.refresh(blocked=False)
        return said.TriggerView(row=self._row(found), trigger=found.trigger, hash=found.hash)

    async def add(self, request: said.TriggerAdd) -> api.Message:
        """Store triggers of a workflow that is registered."""
        file = TriggerFile(workflow=request.workflow, triggers=request.triggers)
        wrong = [each for each in check_file(file) if each.severity == "error"]
        if wrong:
            raise BadValueError(
                "; ".join(f"{each.where}: {each.message}" for each in wrong[:5]),
                hint=wrong[0].hint or "movant trigger validate FILE",
            )
        await self._parts.definitions.latest(request.workflow)
        graph = await self._graph_triggers(request.workflow)
        ours = {each.key for each in named(request.workflow, request.triggers)}
        taken = sorted(ours & {each.key for each in graph})
        if taken:
            raise RefusedError(
                f"{', '.join(taken)}: the definition of {request.workflow} has it already",
                hint="choose another name",
            )
        added = await self._triggers.book.add(file)
        return said.TriggerAdded(names=[each.key for each in added])

    async def remove(self, request: said.TriggerRemove) -> api.Message:
        """Remove a stored trigger."""
        await self._triggers.book.remove(request.name)
        return api.Empty()

    async def pause(self, request: said.TriggerPause) -> api.Message:
        """Pause a trigger."""
        found = self._triggers.book.find(request.name)
        now = self._daemon.clock.now_ns()
        paused = Paused(at=now, by=request.by or Operator())
        await self._change(found, lambda state: msgspec.structs.replace(state, paused=paused))
        return self._row(found)

    async def resume(self, request: said.TriggerResume) -> api.Message:
        """Resume a trigger; its schedule goes on from now."""
        found = self._triggers.book.find(request.name)

        def resumed(state: TriggerState) -> TriggerState:
            if state.paused is None:
                return state
            return msgspec.structs.replace(state, paused=None, position=0)

        await self._change(found, resumed)
        return self._row(found)

    async def _change(self, armed: Armed, to: Callable[[TriggerState], TriggerState]) -> None:
        def change(known: Stored) -> TriggerState:
            return msgspec.structs.replace(to(known.state), hash=known.state.hash or armed.hash)

        await self._triggers.book.change(armed.key, change)
        await self._triggers.book.load()

    async def fire(self, request: said.TriggerFire) -> api.Message:
        """Start the run of a schedule now, whatever runs already."""
        found, _ = self._schedule(request.name)
        identity = request.message_id or self._daemon.new_id()
        run = f"{found.key}-now-{digest(found.key, identity)[:12]}"
        at = self._daemon.clock.now_ns()
        schedules = self._triggers.schedules
        last = await schedules.start(found, run, at, due=at, how=_how("now", request.by))
        self._triggers.book.note(found.key, last)
        if not last.run:
            raise RefusedError(f"{found.key}: {last.reason}", hint="movant trigger show")
        return said.TriggerFired(run=last.run)

    async def next(self, request: said.TriggerNext) -> api.Message:
        """Tell when a schedule is due."""
        found, times = self._schedule(request.name)
        after = request.after or self._daemon.clock.now_ns()
        due = [*islice(schedule.dues(times, after), request.count)]
        return said.TriggerTimes(
            name=found.key,
            zone=times.zone,
            text=_explained(times),
            times=[
                said.TriggerTime(
                    due=each,
                    fires=schedule.fires(times, found.key, each),
                    run=run_of(found.key, each),
                )
                for each in due
            ],
        )

    async def backfill(self, request: said.TriggerBackfill) -> api.Message:
        """Start the runs of past times; a time that was dealt with has its run already."""
        found, times = self._schedule(request.name)
        end = min(request.end, self._daemon.clock.now_ns())
        due = [*islice(schedule.between(times, request.begin, end), said.BACKFILL_MAX + 1)]
        if len(due) > said.BACKFILL_MAX:
            raise RefusedError(
                f"more than {said.BACKFILL_MAX} times", hint="take a shorter time, several times"
            )
        done: dict[int, Last] = {}
        limit = trio.CapacityLimiter(TOGETHER)

        async def one(each: int) -> None:
            async with limit:
                done[each] = await self._triggers.schedules.start(
                    found,
                    run_of(found.key, each),
                    self._daemon.clock.now_ns(),
                    due=each,
                    how=_how("backfill", request.by),
                )

        async with trio.open_nursery() as nursery:
            for each in due:
                nursery.start_soon(one, each)
        return said.TriggerBackfilled(
            runs=[
                said.BackfilledRun(
                    due=each,
                    run=run_of(found.key, each),
                    outcome=done[each].outcome,
                    reason=done[each].reason,
                )
                for each in due
            ]
        )

    def _schedule(self, name: str) -> tuple[Armed, Schedule]:
        found = self._triggers.book.find(name)
        if found.trigger.times is None or found.problem:
            raise RefusedError(
                f"{name}: {found.problem or f'a {found.trigger.kind} has no times'}",
                hint="movant schedule ls",
            )
        return found, found.trigger.times

    def _row(self, armed: Armed) -> said.TriggerRow:
        stored = self._triggers.book.states.get(armed.key, Stored())
        state = stored.state
        due = None
        if armed.trigger.times is not None and not armed.problem and state.paused is None:
            position = state.position or stored.at or self._daemon.clock.now_ns()
            due = schedule.next_due(armed.trigger.times, position)
        run = self._queries.index.rows.get("" if state.last is None else state.last.run)
        return said.TriggerRow(
            name=armed.key,
            workflow=armed.workflow,
            kind=armed.trigger.kind,
            text=armed.trigger.text,
            stored=armed.stored,
            problem=self._triggers.problem(armed) or self._unheard(armed),
            paused=state.paused.text if state.paused is not None else "",
            next=due or 0,
            last=state.last,
            result="" if run is None else run.status or "running",
            queued=state.queued,
            fired=state.fired,
            skipped=state.skipped,
        )

    def _unheard(self, armed: Armed) -> str:
        """Return that nobody can post here; another daemon may listen, so nothing is degraded."""
        if armed.trigger.hook is None or self._daemon.config.http.address:
            return ""
        return "this daemon serves no HTTP: http.address"

    # By hand

    def guarded(self, start: Handler) -> Handler:
        """Let only those start runs by hand who claim the permission that it needs."""
        return partial(self._guarded, start)

    async def _guarded(self, start: Handler, request: ByHand) -> msgspec.Struct:
        by_hand = [
            each
            for each in await self._of(request.workflow)
            if each.trigger.by_hand is not None and not each.problem
        ]
        if by_hand:
            self._permit(by_hand, request.permissions, request.by)
        return await start(request)

    async def _of(self, workflow: str) -> list[Armed]:
        if not is_name(workflow):
            return []
        stored = [
            each for each in self._triggers.book.by_workflow.get(workflow, ()) if each.stored
        ]
        return [*await self._graph_triggers(workflow), *stored]

    async def _graph_triggers(self, workflow: str) -> list[Armed]:
        """Return the triggers in the definition that a start would use."""
        try:
            _, found = await self._parts.definitions.latest(workflow)
        except NotFoundError:
            return []
        if not isinstance(found, GraphWorkflow):
            return []
        return named(workflow, found.graph.triggers)

    def _permit(
        self, by_hand: Collection[Armed], claimed: Collection[str], by: Operator | None
    ) -> None:
        """Raise RefusedError, and tell of it, when nobody's permission is claimed."""
        book = self._triggers.book
        refusals = []
        for each in by_hand:
            needed = each.trigger.by_hand.permission if each.trigger.by_hand else ""
            paused = book.state(each.key).paused
            if paused is None and (not needed or needed in claimed):
                return
            refusals.append((each, f"paused {paused.text}" if paused else f"needs {needed}"))
        who = by.who if by is not None and by.who else "somebody"
        at = self._daemon.clock.now_ns()
        for armed, reason in refusals:
            last = Last(at=at, outcome="refused", reason=f"{who}: {reason}")
            book.note(armed.key, last)
            self._triggers.firing.tell(
                armed,
                last,
                self._daemon.new_id(),
                every=True,
                by=msgspec.to_builtins(by or Operator()),
                claimed=sorted(claimed)[:20],
            )
        raise RefusedError(
            f"{armed.workflow} is not started by {who}: {'; '.join(each for _, each in refusals)}",
            hint="movant run start --permission NAME claims a permission",
        )


def _how(word: str, by: Operator | None) -> str:
    return f"{word} by {by.who}" if by is not None and by.who else word


def _explained(times: Schedule) -> str:
    """Return a schedule in words."""
    if not times.cron:
        return f"every {float(times.every or 0):g} s"
    begin: datetime = schedule.WALL
    return CronSim(schedule.crontab(times.cron), begin).explain()
