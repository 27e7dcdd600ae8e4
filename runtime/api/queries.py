"""RunQueries: the verbs that read: one instance, its mailbox, and lists of them.

A query of an instance that is not in memory is a read-only fold: it dispatches nothing.
"""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from actors.core.slices import WIDE, in_slices
from actors.kernel.blocked import Blocked
from actors.kernel.instance import Instance
from actors.owning.inbound import parse
from actors.owning.workflow import WorkflowActor
from actors.routing.parking import Ticket
from actors.store.direct_reader import DirectReader
from actors.views.lateness import usual, why_late
from actors.views.run_index import Row, began
from protocols import codec, subjects
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.blobs import BLOB, INLINE_BYTES_MAX, Blob, blob_of
from protocols.effects import FINAL, Status
from protocols.errors import (
    BadValueError,
    MovantError,
    NoRespondersError,
    NotFoundError,
    UnavailableError,
    UnknownOutcomeError,
)
from runtime.api.ending import outcome_of
from runtime.api.peers import Peers, Standing, StandingOf
from runtime.history import entry
from runtime.progress import Paces
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from runtime.daemon import Daemon

CURSOR_CHARS_MAX: Final = 12
_TIME_CHARS_MAX: Final = 20
WORDS: Final = 10
"""So many looks is it worth to say why a run is late."""
LATEST_MAX: Final = 20_000
"""Of the latest runs, among which those are looked for that tell how long a run takes."""


class RunQueries:
    """Reads instances."""

    def __init__(
        self,
        daemon: Daemon,
        mail: DirectReader,
        peers: Peers,
    ) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._mail = mail
        self.runs = StoredRuns(daemon, mail)
        self._peers = peers
        self.index = daemon.parts.index
        self._paces = Paces(daemon, mail, self.index)

    async def show(self, request: api.RunShow) -> api.Message:
        """Show all that is known about one instance."""
        view = await self.view(request.id)
        return msgspec.structs.replace(view, progress=await self._paces.of(view))

    async def own(self, request: api.RunShow) -> api.Message:
        """Show an instance as this daemon sees it: another one asks."""
        return await self._view(request.id)

    async def standing(self, request: StandingOf) -> msgspec.Struct:
        """Tell another daemon what the streams do not tell about instances that live here."""
        owner = self._parts.owner
        statuses = {
            id_: "blocked" if blocked else "" for id_, (_, blocked) in owner.blocked.items()
        }
        waiting = {}
        for actor in owner.live.values():
            if actor.instance.status != "running" and not actor.activating:
                statuses[actor.id] = actor.instance.status
        statuses |= dict.fromkeys(owner.crashes, "blocked")
        finished = {}
        for instance in request.ids:
            if first := self._first_waiting(instance):
                waiting[instance] = first
            if at := self._finished_at(instance):
                finished[instance] = at
        return Standing(statuses, waiting, finished)

    def _finished_at(self, instance: str) -> int:
        """Return when an instance ended whose record is still under way; 0: not here."""
        actor = self._parts.owner.live.get(instance)
        return actor.instance.finished_at if actor is not None else 0

    def _first_waiting(self, instance: str) -> str:
        actor = self._parts.owner.live.get(instance)
        waiting = actor.instance.waiting() if actor is not None else []
        return f"{waiting[0].kind} {waiting[0].path}" if waiting else ""

    async def list(self, request: api.RunList) -> api.Message:
        """List instances, the newest first."""
        last = place_of(request.after)
        await self.index.refresh()
        told: dict[str, str] = {}
        for each in (await self._peers.ask_all("run.standing", StandingOf(), Standing)).values():
            told |= each.statuses
        rows = self.index.newest()
        if msgspec.structs.replace(request, late=False, limit=1, after="") != api.RunList(limit=1):
            found = list[Row]()

            def look(row: Row) -> None:
                if request.names(row) and request.stands(
                    row.definition, self._status_of(row, told)
                ):
                    found.append(row)

            await in_slices(rows, look, looks=WIDE)
            rows = found
        late = await self._late(rows) if request.late else {}
        if request.late:
            rows = [row for row in rows if row.id in late]
        # Behind a row, not at a number: rows before it come and go between two pages.
        left = len(rows) if last is None else bisect_left(rows[::-1], last, key=began)
        first = len(rows) - left
        page = [
            (row, request.status or self._status_of(row, told))
            for row in rows[first : first + request.limit]
        ]
        late = late or await self._late([row for row, _ in page])
        asked = StandingOf([row.id for row, _ in page])
        waiting: dict[str, str] = {}
        finished: dict[str, int] = {}
        for each in (await self._peers.ask_all("run.standing", asked, Standing)).values():
            waiting |= each.waiting
            finished |= each.finished
        shown = []
        for row, status in page:
            shown.append(
                api.RunRow(
                    id=row.id,
                    workflow=row.workflow,
                    status=status,
                    definition=row.definition,
                    started_at=row.started_at,
                    finished_at=row.finished_at
                    or self._finished_at(row.id)
                    or finished.get(row.id, 0),
                    waiting=self._turn(row.id)
                    or self._first_waiting(row.id)
                    or waiting.get(row.id, ""),
                    late=late.get(row.id, ""),
                )
            )
        return api.RunPage(
            runs=shown,
            total=len(rows),
            next=f"{page[-1][0].started_at}.{page[-1][0].id}" if left > request.limit else "",
        )

    def _turn(self, run: str) -> str:
        standing = self.index.queues.standing(run)
        return f"turn {standing.number} of {standing.waiting}" if standing is not None else ""

    async def _late(self, rows: Iterable[Row]) -> dict[str, str]:
        """Return why those of some runs that have not ended take too long, by their ids."""
        active = [row for row in rows if not row.status]
        if not active:
            return {}
        latest = islice(reversed(self.index.rows.values()), LATEST_MAX)
        like = usual(latest, {row.workflow for row in active})
        now = self._daemon.clock.now_ns()
        found: dict[str, str] = {}

        def look(row: Row) -> bool:
            if why := why_late(row, now, like):
                found[row.id] = why
            return bool(why)

        await in_slices(active, look, looks=WIDE, act=WORDS)
        return found

    def _status_of(self, row: Row, told: dict[str, str]) -> Any:
        if row.status:
            return row.status
        if row.id in self._parts.owner.crashes:
            return "blocked"
        if row.id in told:
            return told[row.id] or "running"
        actor = self._parts.owner.live.get(row.id)
        if actor is None or actor.activating:
            blocked = self._parts.owner.blocked.get(row.id, (0, row.blocked))[1]
            queued = row.id in self.index.queues.waiting
            return "blocked" if blocked else "queued" if queued else "running"
        return actor.instance.status

    async def history(self, request: api.RunHistory) -> api.Message:
        """Read a page of a mailbox; what was packed or archived stands where it was."""
        subjects.check_id(request.id)
        partition = self.runs.partition_of(request.id)
        stored = []
        stand = await self.runs.stand(partition)
        if stand.mark:
            whole = await self.runs.messages(request.id, stand)
            stored = [each for each in whole if each.seq > request.after]
        else:  # nothing of it was ever purged: a page needs no more than a page
            async for batch in self._mail.follow(
                subjects.mailbox(request.id, partition), request.after
            ):
                stored += batch
                if len(stored) > request.limit:
                    break
        if not stored and not request.after:
            raise NotFoundError(f"no instance {request.id!r}", hint="movant run ls")
        page = stored[: request.limit]
        entries = [entry(each, parse(each, self._parts.keys)) for each in page]
        return api.HistoryPage(
            entries=entries, next=page[-1].seq if len(stored) > request.limit else 0
        )

    async def resolve(self, request: api.RunResolve) -> api.Message:
        """Find the one id that begins with a prefix."""
        await self.index.refresh()
        return api.RunResolved(id=await self.index.resolve(request.prefix))

    async def view(self, instance_id: str) -> api.RunView:
        """Return all about one instance: from its owner, or by a fold that dispatches nothing."""
        subjects.check_id(instance_id)
        partition = subjects.partition_of(instance_id, self._daemon.config.partitions)
        if member := self._peers.owner_of(partition):
            request = api.RunShow(id=instance_id)
            try:
                return await self._peers.ask(member, "run.show", request, api.RunView)
            except (UnavailableError, UnknownOutcomeError, NoRespondersError):
                pass  # it is about to end, or too busy: the streams tell nearly as much
        return await self._view(instance_id)

    async def outcome(self, instance_id: str) -> api.RunOutcome:
        """Return how one instance stands, or has ended; all else costs much, and is left out."""
        actor = self._parts.owner.live.get(instance_id)
        if actor is not None and not (actor.activating or actor.behind):
            status = actor.instance.status
            if status in {"pending", "running"} and instance_id not in self._parts.owner.crashes:
                return api.RunOutcome(id=instance_id, status=status)
        return outcome_of(await self.view(instance_id))

    async def _view(self, instance_id: str) -> api.RunView:
        actor = self._parts.owner.live.get(instance_id)
        if actor is not None and not actor.activating and not actor.behind:
            instance = actor.instance
            parked = self._parked(actor)
        else:
            found = await self.runs.folded(instance_id)
            if isinstance(found, ArchiveRecord):
                return _of_record(found)
            instance, parked = found, self._parked_away(found)
        if instance.status == "queued":
            await self.index.refresh(blocked=False)
            standing = self.index.queues.standing(instance_id)
            parked["/"] = "" if standing is None else standing.text()
        start = instance.start
        counters = instance.counters
        beats = {} if actor is None else self._beats(actor)
        waiting = [
            msgspec.structs.replace(
                each, detail=": ".join(filter(None, (each.detail, parked[each.path])))
            )
            if parked.get(each.path)
            else msgspec.structs.replace(each, **beats.get(each.path, {}))
            for each in instance.waiting()
        ]
        blocked = instance.blocked
        hold = self._parts.holds.holds.on(instance_id, instance.workflow)
        crash = self._parts.owner.crashes.get(instance_id)
        return api.RunView(
            id=instance_id,
            workflow=instance.workflow,
            definition=instance.definition,
            status=instance.status if crash is None else "blocked",
            started_at=instance.started_at,
            finished_at=instance.finished_at,
            profile=start.profile if start else "",
            by=start.by if start else None,
            generation=instance.generation,
            forked_from=instance.origin,
            late=instance.late,
            input=_value(instance.input, start.content_type if start else ""),
            input_blob=_large(instance.input),
            result=_value(instance.result or b"", ""),
            result_blob=_large(instance.result or b""),
            failure=instance.failure,
            state=instance.state,
            waiting=waiting,
            steps=instance.steps,
            blocked=_why(blocked) if blocked else (f"daemon: {crash[2]}" if crash else ""),
            blocked_at=blocked.seq if blocked else 0,
            paused=hold.text() if hold is not None and instance.status not in FINAL else "",
            counters={
                "messages": instance.messages,
                "late": counters.late,
                "duplicates": counters.duplicates,
                "early": counters.early,
                "stray": counters.stray,
            },
            state_hash=instance.state_hash(),
        )

    def _parked(self, actor: WorkflowActor) -> dict[str, str]:
        """Return why each parked step of an instance in memory waits, by its path."""
        full = self._parts.values.blobs.full
        found = {each.ask.path: full for each in actor.asks.values() if each.storing and full}
        return found | {
            each.ask.path: self._why_parked(each.ticket)
            for each in actor.asks.values()
            if each.ticket is not None
        }

    def _beats(self, actor: WorkflowActor) -> dict[str, dict[str, Any]]:
        """Return when services have beaten last for steps of an instance, and what they said."""
        clock = self._daemon.clock
        now, now_ns = clock.monotonic(), clock.now_ns()
        return {
            each.ask.path: {"beat_at": now_ns - int((now - each.beat_at) * 1e9), "beat": each.said}
            for each in actor.asks.values()
            if each.beat_at
        }

    def _parked_away(self, instance: Instance) -> dict[str, str]:
        """Return the same for an instance that is out of memory, as far as it is known."""
        parking = self._parts.requests.parking
        found = {}
        for each in instance.waiting():
            ticket = parking.waiting(instance.id, subjects.step_token(each.path))
            if ticket is not None:
                found[each.path] = self._why_parked(ticket)
        return found

    def _why_parked(self, ticket: Ticket) -> str:
        now = self._daemon.clock.monotonic()
        return self._parts.requests.parking.why(ticket, now)


def _of_record(record: ArchiveRecord) -> api.RunView:
    """Return what a record alone says about an instance: its history has expired."""
    return api.RunView(
        id=record.id,
        workflow=record.workflow,
        definition=record.definition,
        status=cast("Status", record.status),
        started_at=record.started_at,
        finished_at=record.finished_at,
        result=_value(bytes(record.result), ""),
        result_blob=record.blob,
        failure=record.failure,
        steps=record.steps,
    )


def _why(blocked: Blocked) -> str:
    """Return why an instance is blocked, and where in the workflow's code."""
    place = f" ({blocked.place})" if blocked.place else ""
    return f"{blocked.reason}: {blocked.message}{place}"


def offset(cursor: str) -> int:
    """Return where a page begins. Raises BadValueError for a cursor that is none of ours."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= CURSOR_CHARS_MAX):
        raise BadValueError(
            f"after {cursor[:40]!r} is no cursor", hint="pass `next` of the page before"
        )
    return int(cursor)


def place_of(cursor: str) -> tuple[int, str] | None:
    """Return the place of the last run of the page before. Raises BadValueError, as ``offset``."""
    if not cursor:
        return None
    started, _, run = cursor.partition(".")
    if not (started.isdecimal() and started.isascii() and len(started) <= _TIME_CHARS_MAX and run):
        raise BadValueError(
            f"after {cursor[:40]!r} is no cursor", hint="pass `next` of the page before"
        )
    return int(started), run


def _large(body: bytes) -> Blob | None:
    return blob_of(body) if len(body) > INLINE_BYTES_MAX else None


def _value(body: bytes, content_type: str) -> Any:
    if len(body) > INLINE_BYTES_MAX:
        return None  # its blob is told instead
    if content_type == BLOB:  # of a start whose blob is missing
        return msgspec.json.decode(body)
    try:
        return codec.decode(body, content_type)
    except MovantError:
        return {"base64": base64.b64encode(body).decode()}
