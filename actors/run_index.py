"""RunIndex: which instances there are, kept up to date by reading what is new.

It holds one small row per instance, made from starts in MAIL, records in ARCHIVE and the
``blocked`` events; where starts were purged unseen, from the headers of packs. It can be
dropped at any time: it is a projection, and the next listing reads again what is missing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

import msgspec
import structlog
import trio

from actors.direct_reader import DirectReader
from actors.inbound import parse
from actors.letters import Delivery, Letter
from protocols import headers as h
from protocols.archive import ArchiveRecord
from protocols.errors import NotFoundError, RefusedError
from protocols.mail import Start
from protocols.tokens import KeyRing

log = structlog.get_logger()

ROWS_MAX: Final = 500_000
"""About 250 B each; above it the oldest are forgotten, and a listing says so."""
_record_decoder: Final = msgspec.json.Decoder(ArchiveRecord)


class Row(msgspec.Struct, gc=False):
    """What is known of an instance without folding it. Times in nanoseconds since 1970."""

    id: str
    workflow: str
    definition: str
    started_at: int
    finished_at: int = 0
    status: str = ""
    """Empty while it has not ended."""
    blocked: bool = False
    """Whether it was blocked once; repaired code may have let it go on."""


class RunIndex:
    """Rows by id. ``refresh`` before reading."""

    def __init__(
        self, mail: DirectReader, archive: DirectReader, events: DirectReader, keys: KeyRing
    ) -> None:
        self._mail = mail
        self._archive = archive
        self._events = events
        self._keys = keys
        self._lock = trio.Lock()
        self._mail_seq = self._archive_seq = self._events_seq = 0
        self._ids: list[str] = []
        self.rows: dict[str, Row] = {}

    async def refresh(self) -> None:
        """Read what has come since the last time."""
        async with self._lock:
            if await self._mail.first() > self._mail_seq + 1:
                async for batch in self._mail.follow("movant.mail.*.*.pack.>", self._mail_seq):
                    for each in batch:
                        self._packed(each)
            async for batch in self._mail.follow("movant.mail.*.*.start.>", self._mail_seq):
                for each in batch:
                    parsed = parse(each, self._keys)
                    if type(parsed) is Letter and type(parsed.mail) is Start:
                        self._started(parsed.instance, parsed.mail)
                self._mail_seq = batch[-1].seq
            async for batch in self._archive.follow("movant.done.*.*", self._archive_seq):
                for each in batch:
                    try:
                        self._ended(_record_decoder.decode(each.payload))
                    except msgspec.DecodeError as error:
                        log.error("archive.unreadable", seq=each.seq, reason=str(error))
                self._archive_seq = batch[-1].seq
            await self._refresh_blocked()

    async def _refresh_blocked(self) -> None:
        async for batch in self._events.follow("movant.event.*.*.blocked", self._events_seq):
            for each in batch:
                row = self.rows.get(each.subject.split(".")[3])
                if row is not None:
                    row.blocked = True
            self._events_seq = batch[-1].seq

    def newest(self) -> list[Row]:
        """Return all rows, the newest first."""
        return sorted(self.rows.values(), key=lambda row: (-row.started_at, row.id))

    def resolve(self, prefix: str) -> str:
        """Return the one id that begins so. Raises NotFoundError, RefusedError."""
        if prefix in self.rows:
            return prefix
        at = bisect_left(self._ids, prefix)
        found = [each for each in self._ids[at : at + 6] if each.startswith(prefix)]
        if not found:
            raise NotFoundError(f"no instance {prefix!r}", hint="movant run ls")
        if len(found) > 1:
            raise RefusedError(
                f"{prefix!r} is the beginning of several ids: {', '.join(found[:5])}",
                hint="type more of it",
            )
        return found[0]

    def _started(self, instance: str, start: Start) -> None:
        self._add(Row(instance, start.workflow, start.definition, start.at))

    def _packed(self, pack: Delivery) -> None:
        """Take what the headers of a pack say about an instance whose start is gone."""
        found = h.decode(pack.headers) or {}
        started = found.get(h.STARTED, "")
        if started.isdigit() and h.WORKFLOW in found:
            instance = pack.subject.split(".")[3]
            definition = found.get(h.DEFINITION, "")
            self._add(Row(instance, found[h.WORKFLOW], definition, int(started)))

    def _add(self, row: Row) -> None:
        if row.id in self.rows:
            return
        if len(self.rows) >= ROWS_MAX:
            oldest = next(iter(self.rows))
            del self.rows[oldest]
            del self._ids[bisect_left(self._ids, oldest)]
        self.rows[row.id] = row
        insort(self._ids, row.id)

    def _ended(self, record: ArchiveRecord) -> None:
        row = self.rows.get(record.id)
        if row is None:
            row = self.rows[record.id] = Row(
                record.id, record.workflow, record.definition, record.started_at
            )
            insort(self._ids, record.id)
        row.status = record.status
        row.finished_at = record.finished_at
        row.definition = record.definition
