"""RunQueries: the verbs that read: one instance, its mailbox, and lists of them.

A query of an instance that is not in memory is a read-only fold: it dispatches nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import trio

from actors import packs
from actors.activation import definition_of
from actors.direct_reader import DirectReader
from actors.inbound import Delivery, Letter, parse
from actors.kernel.blocked import Blocked
from actors.kernel.instance import Instance
from actors.router import Presence
from actors.run_index import Row, RunIndex
from protocols import api, codec, subjects
from protocols.archive import ArchiveRecord
from protocols.effects import Status
from protocols.errors import BadValueError, MovantError, NotFoundError
from protocols.mail import AnyMail, Start
from runtime.history import entry

if TYPE_CHECKING:
    from runtime.daemon import Daemon

CURSOR_CHARS_MAX: Final = 12


class RunQueries:
    """Reads instances."""

    def __init__(
        self, daemon: Daemon, mail: DirectReader, archive: DirectReader, events: DirectReader
    ) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._mail = mail
        self._index = RunIndex(mail, archive, events, daemon.parts.keys)

    async def show(self, request: api.RunShow) -> api.Message:
        """Show all that is known about one instance."""
        return await self.view(request.id)

    async def list(self, request: api.RunList) -> api.Message:
        """List instances, the newest first."""
        await self._index.refresh()
        live = self._parts.owner.live
        rows = [
            (row, self._status_of(row))
            for row in self._index.newest()
            if request.workflow in {None, row.workflow}
        ]
        if request.status is not None:
            rows = [each for each in rows if each[1] == request.status]
        first = _offset(request.after)
        page = rows[first : first + request.limit]
        shown = []
        for row, status in page:
            actor = live.get(row.id)
            waiting = actor.instance.waiting() if actor is not None else []
            shown.append(
                api.RunRow(
                    id=row.id,
                    workflow=row.workflow,
                    status=status,
                    definition=row.definition,
                    started_at=row.started_at,
                    finished_at=row.finished_at,
                    waiting=f"{waiting[0].kind} {waiting[0].path}" if waiting else "",
                )
            )
        following = first + request.limit
        return api.RunPage(
            runs=shown,
            total=len(rows),
            next=str(following) if following < len(rows) else "",
        )

    def _status_of(self, row: Row) -> Any:
        if row.status:
            return row.status
        actor = self._parts.owner.live.get(row.id)
        if actor is None or actor.activating:
            blocked = self._parts.owner.blocked.get(row.id, row.blocked)
            return "blocked" if blocked else "running"
        return actor.instance.status

    async def history(self, request: api.RunHistory) -> api.Message:
        """Read a page of a mailbox; what was packed or archived stands where it was."""
        subjects.check_id(request.id)
        partition = subjects.partition_of(request.id, self._daemon.config.partitions)
        stored = []
        if self._parts.owner.partitions.marks[partition]:
            whole, _ = await self._whole(request.id)
            stored = [each for each in whole if each.seq > request.after]
        else:  # nothing was ever purged: a page needs no more than a page
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
        await self._index.refresh()
        return api.RunResolved(id=self._index.resolve(request.prefix))

    async def view(self, instance_id: str) -> api.RunView:
        """Return all about one instance: from memory, or by a fold that dispatches nothing."""
        subjects.check_id(instance_id)
        actor = self._parts.owner.live.get(instance_id)
        if actor is not None and not actor.activating and not actor.behind:
            instance = actor.instance
            parked = [
                each.ask.path
                for each in actor.asks.values()
                if each.parked and each.route and each.route.presence is Presence.ABSENT
            ]
        else:
            found = await self._folded(instance_id)
            if isinstance(found, ArchiveRecord):
                return _of_record(found)
            instance, parked = found, []
        start = instance.start
        counters = instance.counters
        waiting = [
            msgspec.structs.replace(each, detail=f"{each.detail}: nobody serves it")
            if each.path in parked
            else each
            for each in instance.waiting()
        ]
        blocked = instance.blocked
        crash = self._parts.owner.crashes.get(instance_id)
        return api.RunView(
            id=instance_id,
            workflow=instance.workflow,
            definition=instance.definition,
            status=instance.status,
            started_at=instance.started_at,
            finished_at=instance.finished_at,
            input=_value(instance.input, start.content_type if start else ""),
            result=_value(instance.result or b"", ""),
            failure=instance.failure,
            state=instance.state,
            waiting=waiting,
            blocked=_why(blocked) if blocked else (f"daemon: {crash[2]}" if crash else ""),
            counters={
                "late": counters.late,
                "duplicates": counters.duplicates,
                "early": counters.early,
                "stray": counters.stray,
            },
        )

    async def fold(self, instance_id: str, definition: str = "") -> Instance:
        """Fold an instance for reading only; with ``definition`` as a migration to it would."""
        found = await self._folded(instance_id, definition)
        if isinstance(found, ArchiveRecord):
            raise NotFoundError(f"the history of {instance_id!r} is kept no longer")
        return found

    async def _folded(self, instance_id: str, definition: str = "") -> Instance | ArchiveRecord:
        """Return the fold of an instance, or its record when nothing else is left."""
        owner = self._parts.owner
        partition = subjects.partition_of(instance_id, self._daemon.config.partitions)
        stored, record = await self._whole(instance_id)
        mails: list[AnyMail] = []
        for each in stored:
            parsed = parse(each, self._parts.keys)
            if type(parsed) is Letter and not owner.is_void(partition, parsed.mail):
                mails.append(parsed.mail)
        if record is not None and all(type(each) is not Start for each in mails):
            return record
        if not mails:
            raise NotFoundError(f"no instance {instance_id!r}", hint="movant run ls")
        await owner.activation.load(mails)
        instance = Instance(
            instance_id,
            self._parts.definitions.workflow,
            definition=definition or definition_of(mails),
        )
        instance.refolding = True
        for number, mail in enumerate(mails, 1):
            owner.guard.fold(instance, mail)
            if number % 200 == 0:
                await trio.lowlevel.checkpoint()
        return instance

    async def _whole(self, instance_id: str) -> tuple[Sequence[Delivery], ArchiveRecord | None]:
        """Return all messages of an instance, and its record when it ended long ago."""
        partition = subjects.partition_of(instance_id, self._daemon.config.partitions)
        stored = await self._mail.mailbox(subjects.mailbox(instance_id, partition))
        box = packs.expand(stored)
        partitions = self._parts.owner.partitions
        mark = max(partitions.marks[partition], self._mail.floor)
        if mark <= box.through + 1:
            return box.messages, None
        archive = self._parts.archive
        era = (partitions.era, self._mail.floor)
        record = await archive.record(partition, instance_id, era)
        if record is None or record.at >= mark:
            return box.messages, None
        history = await archive.history(partition, instance_id, record.at)
        return packs.union(history, box.messages), record

    async def ended(self, instance_id: str) -> bool:
        """Tell whether an id is that of an instance that ended so long ago that MAIL forgot."""
        owner = self._parts.owner
        partition = subjects.partition_of(instance_id, self._daemon.config.partitions)
        if owner.partitions.is_new(partition, instance_id, self._daemon.clock.now_ns()):
            return False
        return (
            await self._parts.archive.record(partition, instance_id, owner.partitions.era)
            is not None
        )


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
        failure=record.failure,
    )


def _why(blocked: Blocked) -> str:
    """Return why an instance is blocked, and where in the workflow's code."""
    place = f" ({blocked.place})" if blocked.place else ""
    return f"{blocked.reason}: {blocked.message}{place}"


def _offset(cursor: str) -> int:
    """Return where a page begins. Raises BadValueError for a cursor that is none of ours."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= CURSOR_CHARS_MAX):
        raise BadValueError(
            f"after {cursor[:40]!r} is no cursor", hint="pass `next` of the page before"
        )
    return int(cursor)


def _value(body: bytes, content_type: str) -> Any:
    try:
        return codec.decode(body, content_type)
    except MovantError:
        return {"base64": base64.b64encode(body).decode()}
