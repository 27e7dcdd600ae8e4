"""RunIndex: which instances there are, kept up to date by reading what is new.

It holds one small row per instance, made from starts in MAIL, records in ARCHIVE and the
``blocked`` events; where starts were purged unseen, from the headers of packs. It can be
dropped at any time: it is a projection, and the next listing reads again what is missing.
"""

from __future__ import annotations

from bisect import insort
from heapq import nsmallest
from itertools import chain, islice
from typing import Final
from urllib.parse import unquote

import msgspec
import structlog
import trio

from actors.core.slices import WIDE, in_slices
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.store.direct_reader import DirectReader
from actors.views.pipeline import RecentEnds
from actors.views.queues import Queues
from protocols import headers as h
from protocols.archive import ArchiveRecord
from protocols.errors import NotFoundError, RefusedError
from protocols.events import RUNNING_LATE
from protocols.mail import Start, Turn, TurnWord
from protocols.subjects import is_number
from protocols.tokens import KeyRing

log = structlog.get_logger()

ROWS_MAX: Final = 500_000
"""About 250 B each; above it the oldest are forgotten, those that have ended before the others."""
SLACK: Final = 64
"""So small a part more may be there before some are forgotten, which takes a look at many."""
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
    group: str = ""
    """By what it is counted among the active ones."""
    late: str = ""
    """What of it has told last that it takes longer than it should: ``/`` is the run."""
    late_at: int = 0
    partition: int = 0


class _Migrated(msgspec.Struct):
    """The data of the event of a migration, as far as it is read here."""

    definition: str = ""


class _Late(msgspec.Struct):
    """The data of the event of a run that takes longer than it should."""

    place: str = ""
    since: int = 0
    after_s: float = 0.0


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
        self.rows: dict[str, Row] = {}
        self._order: list[Row] = []
        """The same by their start, so that no list is sorted."""
        self.active: dict[tuple[str, str], dict[str, Row]] = {}
        """Those that have not ended, by workflow and definition: whoever looks for some kinds of
        runs among very many passes over the others."""
        self.ends = 0
        """Grows whenever a run has ended."""
        self.recent = RecentEnds()
        self.queues = Queues()
        self._turn_seq = 0

    async def refresh(self, *, blocked: bool = True) -> None:
        """Read what has come since the last time; also, who was blocked."""
        async with self._lock:
            await self._refresh_started()
            async for batch in self._archive.follow("movant.done.*.*", self._archive_seq):
                for each in batch:
                    try:
                        self._ended(_record_decoder.decode(each.payload))
                    except msgspec.DecodeError as error:
                        log.error("archive.unreadable", seq=each.seq, reason=str(error))
                self._archive_seq = batch[-1].seq
            self._forget(ROWS_MAX)
            if blocked:
                await self._refresh_blocked()

    @property
    def starts_read(self) -> int:
        """Up to here all starts are known."""
        return self._mail_seq

    @property
    def turns_read(self) -> int:
        """Up to here all words about turns are known."""
        return self._turn_seq

    async def _refresh_started(self) -> None:
        first, last = await self._mail.extent()
        if last and last == self._mail_seq == self._turn_seq:
            return
        known = packs = min(self._mail_seq, self._turn_seq)
        is_gone = first > known + 1
        while True:
            if is_gone:
                packs = await self._refresh_packed(packs)
            await self._refresh_new(first, last)
            before, (first, last) = first, await self._mail.extent()
            is_gone = first > max(before, known + 1)  # while it was read
            if not is_gone:
                return

    async def _refresh_packed(self, after: int) -> int:
        """Read what is gone from packs above a sequence; return that of the last one.

        The latest pack of a run says how it stands.
        """
        if self.queues.waiting:  # that one of them got a place may be gone, too
            self.queues.doubt()
            after = self._turn_seq = 0
        packed: dict[str, tuple[Row, TurnWord | None]] = {}
        async for batch in self._mail.follow("movant.mail.*.*.pack.>", after):
            for each in batch:
                found = _row_of(each)
                if found is not None:
                    packed[found[0].id] = found
            after = batch[-1].seq

        def take(run: str) -> None:
            row, word = packed[run]
            self._add(row)
            if word is not None:
                self._turned(run, word)

        await in_slices(list(packed), take)
        return after

    async def _refresh_new(self, first: int, last: int) -> None:
        """Read starts and turns that have come."""
        async for batch in self._mail.follow("movant.mail.*.*.start.>", self._mail_seq):
            for each in batch:
                parsed = parse(each, self._keys)
                if type(parsed) is Letter and type(parsed.mail) is Start:
                    self._started(parsed, parsed.mail)
            self._mail_seq = batch[-1].seq
        # Else the server looks at all that is behind the last start again, each time.
        self._mail_seq = max(self._mail_seq, last, first - 1)
        await self._refresh_turns()
        self._turn_seq = max(self._turn_seq, last, first - 1)

    async def _refresh_turns(self) -> None:
        behind = False
        async for batch in self._mail.follow("movant.mail.*.*.owner.turn", self._turn_seq):
            for each in batch:
                parsed = parse(each, self._keys)
                if type(parsed) is Letter and type(parsed.mail) is Turn:
                    # Another replica has told the starts, and this one is ahead of it.
                    behind = behind or parsed.mail.word.place > self._mail_seq
                    if not behind:
                        self._turned(parsed.instance, parsed.mail.word)
                if not behind:
                    self._turn_seq = each.seq

    async def _refresh_blocked(self) -> None:
        _, last = await self._events.extent()
        if last and last == self._events_seq:
            return
        async for batch in self._events.follow("movant.event.*.*.blocked", self._events_seq):
            for each in batch:
                row = self.rows.get(each.subject.split(".")[3])
                if row is not None:
                    row.blocked = True
        async for batch in self._events.follow("movant.event.*.*.migrated", self._events_seq):
            for each in batch:
                self._migrated(each)
        async for batch in self._events.follow(
            f"movant.event.*.*.{RUNNING_LATE}", self._events_seq
        ):
            for each in batch:
                self._late(each)
        self._events_seq = max(self._events_seq, last)

    def _late(self, event: Delivery) -> None:
        """Take the news that something of a run takes too long."""
        row = self.rows.get(event.subject.split(".")[3])
        try:
            told = msgspec.json.decode(event.payload, type=_Late)
        except msgspec.DecodeError:
            return  # somebody else's
        if row is not None and told.place:
            row.late = told.place
            row.late_at = told.since + int(told.after_s * 1e9)

    def _migrated(self, event: Delivery) -> None:
        """Take the news that a run has another definition."""
        row = self.rows.get(event.subject.split(".")[3])
        try:
            definition = msgspec.json.decode(event.payload, type=_Migrated).definition
        except msgspec.DecodeError:
            return  # somebody else's
        if row is None or not definition:
            return
        if not row.status:
            self._over(row)
            self.active.setdefault((row.workflow, definition), {})[row.id] = row
        row.definition = definition

    def newest(self) -> list[Row]:
        """Return all rows, the newest first."""
        return self._order[::-1]

    async def resolve(self, prefix: str) -> str:
        """Return the one id that begins so. Raises NotFoundError, RefusedError."""
        if prefix in self.rows:
            return prefix
        found: list[str] = []

        def look(run: str) -> None:
            if run.startswith(prefix):
                found.append(run)

        await in_slices(list(self.rows), look, looks=WIDE)
        if not found:
            raise NotFoundError(f"no instance {prefix!r}", hint="movant run ls")
        if len(found) > 1:
            first = ", ".join(nsmallest(5, found))
            raise RefusedError(
                f"{prefix!r} is the beginning of several ids: {first}", hint="type more of it"
            )
        return found[0]

    def _started(self, letter: Letter, start: Start) -> None:
        row = Row(letter.instance, start.workflow, start.definition, start.at)
        row.group, row.partition = start.group, letter.partition
        self._add(row)

    def _add(self, row: Row) -> None:
        if row.id in self.rows:
            return
        self._forget(2 * ROWS_MAX)  # who has ended of them is read only behind them
        self.rows[row.id] = row
        self.active.setdefault((row.workflow, row.definition), {})[row.id] = row
        self.queues.started(row.workflow, row.group)
        insort(self._order, row, key=_began)

    def _turned(self, instance: str, word: TurnWord) -> None:
        """Take what an owner says of a run that waits for its turn, or has it."""
        row = self.rows.get(instance)
        if row is not None and not row.status:
            _, row.group = self.queues.turned(instance, (row.workflow, row.group), word)

    def _forget(self, most: int) -> None:
        """Forget the oldest; one that has not ended goes only when all are such."""
        if len(self.rows) <= most + most // SLACK:
            return
        ended = (row for row in self._order if row.status)
        others = (row for row in self._order if not row.status)
        for row in [*islice(chain(ended, others), len(self.rows) - most)]:
            if not row.status:
                self.queues.ended(row.id, (row.workflow, row.group))
            self._over(row)
            del self.rows[row.id]
        self._order = [row for row in self._order if row.id in self.rows]

    def _over(self, row: Row) -> None:
        """Count a row no longer among those that have not ended."""
        if not row.status:
            key = (row.workflow, row.definition)
            del self.active[key][row.id]
            if not self.active[key]:
                del self.active[key]

    def _ended(self, record: ArchiveRecord) -> None:
        self._add(Row(record.id, record.workflow, record.definition, record.started_at))
        row = self.rows[record.id]
        if not row.status:
            self.recent.add(record.workflow, record.status, record.finished_at)
            self.queues.ended(row.id, (row.workflow, row.group))
        self._over(row)
        self.ends += 1
        row.status = record.status
        row.finished_at = record.finished_at
        row.definition = record.definition


def _row_of(pack: Delivery) -> tuple[Row, TurnWord | None] | None:
    """Return what the headers of a pack say of an instance whose start is gone, and of its turn.

    None: they do not say it. The word is there while it waits.
    """
    found = h.decode(pack.headers) or {}
    started = found.get(h.STARTED, "")
    _, _, partition, instance, *_ = pack.subject.split(".")
    if not started.isdigit() or h.WORKFLOW not in found or not is_number(partition):
        return None
    row = Row(instance, found[h.WORKFLOW], found.get(h.DEFINITION, ""), int(started))
    row.group, row.partition = unquote(found.get(h.GROUP, "")), int(partition)
    if h.QUEUED not in found:
        return row, None
    return row, msgspec.json.decode(unquote(found[h.QUEUED]), type=TurnWord)


def _began(row: Row) -> tuple[int, str]:
    return row.started_at, row.id
