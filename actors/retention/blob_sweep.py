"""Sweep: removes the blobs of runs of which nothing is left.

    chunks in BLOBS, by run -> a record in ARCHIVE? -> messages in MAIL? -> young? -> purged

Nothing counts references, for nothing could be trusted to count them right over crashes. A blob
belongs to one run; as long as MAIL has a message of that run (of an unfinished one it always
has), or ARCHIVE its record, everything of it stays. MAIL is looked at before ARCHIVE: a run
leaves MAIL only behind its record. What is young may be that of a message under way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.retention.purging import Purging
from actors.retention.territory import Territory
from actors.store.archive import Archive
from actors.store.blobs import STREAM
from protocols.archive import ArchiveRecord
from protocols.errors import MovantError, UnavailableError, UnknownOutcomeError
from protocols.events import from_time
from protocols.ports import Clock, Outgoing, Transport
from protocols.subjects import done, mailbox

EVERY_S: Final = 1_800.0
ANSWER_S: Final = 5.0
PAGES_MAX: Final = 1_000
LOOKUP: Final = 500
"""Records that are looked up at once."""
NOT_FOUND: Final = 404
_RUN: Final = 3
"""Which token of a chunk's subject is its run."""

log = structlog.get_logger()


class _Answer(msgspec.Struct):
    class State(msgspec.Struct):
        subjects: dict[str, int] | None = None

    class Message(msgspec.Struct):
        time: str = ""

    class Error(msgspec.Struct):
        code: int = 0

    state: State | None = None
    error: Error | None = None
    message: Message | None = None
    total: int = 0


_decoder: Final = msgspec.json.Decoder(_Answer)


class Sweep:
    """Sweeps the partitions of one daemon. ``run`` belongs under a supervisor."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        territory: Territory,
        archive: Archive,
        *,
        young_s: float,
        finished_s: int,
    ) -> None:
        """``finished_s``: how long blobs of a finished run stay; 0: as long as its record.

        It is for runs whose own definition does not say how long they are kept.
        """
        self._transport = transport
        self._purging = Purging(transport)
        self._clock = clock
        self._territory = territory
        self._archive = archive
        self._young_s = young_s
        self._finished_s = finished_s
        self.swept = 0
        """Chunks that were removed since the start."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sweep now and then, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(EVERY_S)
            try:
                await self.sweep()
            except MovantError as error:
                log.warning("blobs.waiting", reason=error.message)

    async def sweep(self) -> None:
        """Sweep all partitions once. Raises UnavailableError; what was done stays done."""
        for partition in self._territory.owned():
            runs = sorted(await self._runs(partition.number))
            for start in range(0, len(runs), LOOKUP):
                await self._sweep(partition.number, runs[start : start + LOOKUP])

    async def _sweep(self, partition: int, runs: list[str]) -> None:
        known = await self._records(partition, runs)
        for run in runs:
            record = known.get(run)
            if record is not None:
                if self._is_over(record):
                    await self._purge(partition, run)
                continue
            if await self._newest("MAIL", mailbox(run, partition)):
                continue
            if await self._records(partition, [run]):
                continue
            put_at = await self._newest(STREAM, f"movant.blob.{partition}.{run}.>")
            if (self._clock.now_ns() - put_at) / 1e9 < self._young_s:
                continue
            await self._purge(partition, run)

    async def _records(self, partition: int, runs: Iterable[str]) -> dict[str, ArchiveRecord]:
        names = {done(partition, run): run for run in runs}
        found = await self._archive.records(list(names), await self._archive.horizon())
        return {names[subject]: record for subject, record in found.items()}

    def _is_over(self, record: ArchiveRecord) -> bool:
        kept_s = record.kept_s or self._finished_s
        age_s = (self._clock.now_ns() - record.finished_at) / 1e9
        return bool(kept_s) and age_s > kept_s

    async def _runs(self, partition: int) -> set[str]:
        """Return the runs of a partition that have blobs."""
        found: set[str] = set()
        seen = 0
        for _ in range(PAGES_MAX):
            request = {"subjects_filter": f"movant.blob.{partition}.>", "offset": seen}
            answer = await self._ask(f"STREAM.INFO.{STREAM}", request)
            if answer.state is None:
                raise UnavailableError(f"{STREAM} does not tell its subjects")
            page = answer.state.subjects or {}
            found.update(name.split(".", _RUN + 1)[_RUN] for name in page)
            seen += len(page)
            if not page or seen >= answer.total:
                break
        return found

    async def _newest(self, stream: str, subject: str) -> int:
        """Return when the newest message of a subject was stored, as the leader says; 0: none."""
        answer = await self._ask(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        if answer.message is not None:
            return from_time(answer.message.time)
        if answer.error is None or answer.error.code != NOT_FOUND:
            raise UnavailableError(f"{stream} does not answer")
        return 0

    async def _purge(self, partition: int, run: str) -> None:
        purged = await self._purging.purge(STREAM, {"filter": f"movant.blob.{partition}.{run}.>"})
        self.swept += purged
        log.info("blobs.swept", run=run, chunks=purged)

    async def _ask(self, verb: str, request: Any) -> _Answer:
        message = Outgoing(f"$JS.API.{verb}", msgspec.json.encode(request))
        try:
            answer = await self._transport.request(message, ANSWER_S)
            return _decoder.decode(answer.payload)
        except (UnknownOutcomeError, msgspec.DecodeError) as error:
            raise UnavailableError(f"{verb} is not answered: {error}") from error
