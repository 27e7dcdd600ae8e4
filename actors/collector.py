"""Collector: keeps MAIL small. It copies what is needed to the head and purges the prefix.

    pass:   wait for records under way -> chunk, chunk, … up to the folded position
    chunk:  read -> look up records -> packs (MAIL), bundles (ARCHIVE) -> mark -> purge

The order is the safety: a mark is raised only when every copy is acknowledged, and the prefix
is purged up to the least mark that is stored. A pass that ends anywhere is begun again from the
mark; what it had written already has the same subjects and is not stored twice.

A position T of a pass is never above the folded position, and a record that is written later
has a position at or above it; those under way when T is chosen are waited for. So an instance
without a record below T is unfinished, or its record will be found by a later pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
import trio

from actors import collection, packs
from actors.archive import Archive
from actors.collection import Fate, Settings
from actors.direct_reader import DirectReader, nanoseconds
from actors.inbound import DeadLetter, Delivery, Letter, parse
from actors.outbox import is_first
from actors.packs import Copy
from actors.scan import Chunk, Scan
from actors.sealing import bundle_groups, bundled, packed
from actors.spawning import first_start
from actors.stream_writer import StreamWriter
from actors.territory import Territory
from actors.writing import Writing
from protocols import subjects
from protocols.archive import ArchiveRecord
from protocols.errors import MovantError, UnavailableError, UnknownOutcomeError
from protocols.mail import Start
from protocols.ports import Clock, Outgoing, Transport
from protocols.tokens import KeyRing

GROUP: Final = 32
"""Instances between two pauses: some milliseconds of this thread's time."""
LOOKED_AT: Final = 500
"""The same where there is less to do for each."""
ASKED: Final = 100
"""Mailboxes in one request for their packs."""
FAILED_S: Final = 60.0
"""Pause after a defect: workflows go on without a collector for long."""
ANSWER_S: Final = 30.0

log = structlog.get_logger()


class CollectorStatistics(msgspec.Struct, frozen=True):
    """What a collector did since the start."""

    passes: int
    scanned: int
    packed: int
    bundled: int
    dropped: int
    orphaned: int
    purged: int
    first: int


class State(msgspec.Struct):
    """What a stream says about itself."""

    messages: int = 0
    first_seq: int = 0
    last_seq: int = 0
    first_ts: str = ""


class _Info(msgspec.Struct):
    state: State | None = None


class _Purged(msgspec.Struct):
    success: bool = False
    purged: int = 0
    error: Any = None


_info_decoder: Final = msgspec.json.Decoder(_Info)
_purged_decoder: Final = msgspec.json.Decoder(_Purged)


class Collector:
    """Collects the partitions of one daemon. ``run`` belongs under a supervisor.

    ``packs_writer`` and ``bundle_writer`` write to MAIL and ARCHIVE and are the collector's
    own, so that nobody waits behind it. ``least_mark`` reads the least stored mark of all
    partitions, of other daemons too. ``dead`` keeps a dead letter and returns when it is kept.
    """

    def __init__(  # noqa: PLR0917  # it is where everything meets
        self,
        transport: Transport,
        clock: Clock,
        keys: KeyRing,
        territory: Territory,
        mailboxes: DirectReader,
        archive: Archive,
        settings: Settings,
        *,
        partitions: int,
        packs_writer: StreamWriter,
        bundle_writer: StreamWriter,
        least_mark: Callable[[], Awaitable[int]],
        dead: Callable[[Sequence[DeadLetter]], Awaitable[None]],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._keys = keys
        self._territory = territory
        self._mailboxes = mailboxes
        self._archive = archive
        self._settings = settings
        self._partitions = partitions
        self._scan = Scan(mailboxes, territory, settings, self._pause, partitions)
        self._packs = packs_writer
        self._bundles = bundle_writer
        self._least_mark = least_mark
        self._dead = dead
        self._left = 0
        self._busy = settings.busy_max
        self._busy_since = 0.0
        self._first = 0
        self._passes = self._scanned = self._packed = self._bundled = 0
        self._dropped = self._orphaned = self._purged = 0

    def statistics(self) -> CollectorStatistics:
        """Return counters since the start."""
        return CollectorStatistics(
            self._passes,
            self._scanned,
            self._packed,
            self._bundled,
            self._dropped,
            self._orphaned,
            self._purged,
            self._first,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Begin a pass whenever one is due, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(self._settings.every_s)
            try:
                await self._look()
            except MovantError as error:
                log.warning("collector.waiting", reason=str(error))
            except Exception:  # a defect here must not stop the workflows
                log.exception("collector.failed")
                await trio.sleep(FAILED_S)

    async def _look(self) -> None:
        state = await self.state()
        settings = self._settings
        full = collection.pressure(state.messages, self._left, settings)
        if full > 1:
            # The fuller MAIL is, the more of the daemon's time a pass gets.
            self._busy = min(1.0, settings.busy_max * full)
            await self.collect()
            return
        oldest_ns = nanoseconds(state.first_ts) if state.messages else 0
        now_ns = self._clock.now_ns()
        if collection.is_old(
            state.messages, self._left, settings, oldest_ns=oldest_ns, now_ns=now_ns
        ):
            await self.collect(rest=True)

    async def state(self) -> State:
        """Return the state of MAIL."""
        answer = await self._request("STREAM.INFO.MAIL", {})
        state = _info_decoder.decode(answer).state
        if state is None:
            raise UnavailableError("MAIL does not tell its state")
        self._first = state.first_seq
        return state

    async def collect(self, *, rest: bool = False) -> None:
        """Do one pass over what is folded, in whole chunks, with ``rest`` to its end.

        Raises what made it stop; the next one goes on.
        """
        territory = self._territory
        owned = list(territory.owned())
        if not owned:
            return
        before = self._clock.monotonic()
        head = (await self.state()).last_seq
        chunk = self._settings.chunk
        limits = {each: territory.position(each) + 1 for each in owned}
        for each in owned:
            mark = territory.mark(each)
            if collection.chunk_end(mark, head, chunk) > limits[each]:
                territory.tick(each)
        # Records that are written from here on have a position at or above the limits.
        await territory.finishing()
        chunks = 0
        while True:
            able = [
                each
                for each in territory.owned()
                if collection.chunk_end(
                    territory.mark(each), limits.get(each, 0), chunk, rest=rest
                )
            ]
            if not able:
                break
            mark = min(territory.mark(each) for each in able)
            limit = min(limits[each] for each in able) if rest else head + 1
            end = collection.chunk_end(mark, limit, chunk, rest=rest)
            due = [each for each in able if territory.mark(each) < end <= limits[each]]
            await self._collect_chunk(mark, end, due)
            chunks += 1
        if chunks:
            self._passes += 1
            state = await self.state()
            self._left = state.messages
            log.info(
                "collector.passed",
                chunks=chunks,
                first=state.first_seq,
                left=state.messages,
                took_s=round(self._clock.monotonic() - before, 2),
            )

    async def _collect_chunk(self, mark: int, end: int, due: Sequence[int]) -> None:
        territory = self._territory
        self._busy_since = self._clock.monotonic()
        chunk = await self._scan.read(mark, end, due)
        end = chunk.end
        state = await self.state()
        if state.first_seq > max(mark, 1):
            # Half a history must not pass for a whole one.
            raise UnavailableError("another owner purged MAIL while it was read")
        horizon = await self._archive.horizon()
        self._scanned += chunk.scanned
        names = {
            subjects.done(partition, instance): (partition, instance)
            for partition, instance in chunk.raw
        }
        records = {
            names[subject]: record
            for subject, record in (await self._archive.records(list(names), horizon)).items()
        }
        orphans: set[str] = set()
        try:
            await self._complete(chunk, records, end, state.last_seq)
            await self._keep(chunk, records, end, orphans)
            marks = dict.fromkeys(due, (end, chunk.newest_at))
            await territory.set_marks(marks)
        finally:
            territory.resume(orphans)
        await self.purge(chunk.imported)

    # Keeping.

    async def _keep(
        self,
        chunk: Chunk,
        records: Mapping[tuple[int, str], ArchiveRecord],
        end: int,
        orphans: set[str],
    ) -> None:
        """Write packs and bundles for what is needed, and return when they are stored."""
        territory = self._territory
        bundles: dict[int, dict[str, list[Copy]]] = defaultdict(dict)
        copying = Writing(self._packs)
        for number, ((partition, instance), raw) in enumerate(chunk.raw.items(), 1):
            if number % GROUP == 0:
                await self._pause()
            record = records.get((partition, instance))
            position = None if record is None else record.at
            fate = collection.fate(position, territory.mark(partition), end)
            if fate is Fate.DROP:
                self._dropped += 1
                continue
            history = await self._history(partition, instance, raw)
            if fate is Fate.BUNDLE:
                self._bundled += 1
                bundles[partition][instance] = history
                continue
            start = self._start_of(partition, instance, history)
            alone = start is None and record is None
            if alone and await self._orphan(partition, instance, history, orphans):
                continue
            self._packed += 1
            for message in packed(instance, end - 1, history, start):
                await self._waiting(copying.write(message))
        await copying.done()
        archiving = Writing(self._bundles)
        # Longer than the records, so that none is left without its history.
        ttl_s = self._settings.finished_s * 2
        for partition, histories in bundles.items():
            for group in bundle_groups(histories):
                for sealed in await trio.to_thread.run_sync(packs.seal_bundle, group):
                    await archiving.write(
                        bundled(partition, end - 1, min(group), sealed, ttl_s=ttl_s)
                    )
                await self._pause()
        await archiving.done()

    async def _complete(
        self,
        chunk: Chunk,
        records: Mapping[tuple[int, str], ArchiveRecord],
        end: int,
        head: int,
    ) -> None:
        """Add to what is to be bundled the packs that stand above the chunk.

        An earlier chunk made them, when the instance had not ended or its record was too new.
        None has a mailbox of which the chunk has the beginning, with the server's proof.
        """
        wanted: dict[str, list[Delivery]] = {}
        for number, ((partition, instance), raw) in enumerate(chunk.raw.items(), 1):
            if number % LOOKED_AT == 0:
                await self._pause()
            record = records.get((partition, instance))
            mark = self._territory.mark(partition)
            if record is None or collection.fate(record.at, mark, end) is not Fate.BUNDLE:
                continue
            if not is_first(raw[0].headers, instance, self._partitions):
                wanted[subjects.packs(instance, partition)] = raw
        filters = list(wanted)
        for start in range(0, len(filters), ASKED):
            part = filters[start : start + ASKED]
            found = await self._mailboxes.whole(part, head)
            if found is None:
                for each in part:
                    wanted[each] += await self._mailboxes.mailbox(each)
            else:
                for pack in found:
                    wanted[pack.subject.rpartition(".pack.")[0] + ".pack.>"].append(pack)
            await self._pause()

    async def _history(self, partition: int, instance: str, raw: Sequence[Delivery]) -> list[Copy]:
        """Return what a fold needs of an instance's messages and of the packs among them."""
        mine = list(raw)
        found = [each for each in mine if packs.is_pack(each.subject)]
        for pattern in packs.missing_slices(found):
            # The rest of a sliced pack stands above the chunk's end.
            mine += await self._mailboxes.subject(pattern)
        box = packs.expand(mine)
        for each in box.unreadable:
            log.error("pack.unreadable", run=instance, seq=each.seq)

        def is_void(copy: Copy) -> bool:
            parsed = parse(packs.delivery_of(copy, partition, instance), self._keys)
            return type(parsed) is Letter and self._territory.is_void(partition, parsed.mail)

        return collection.retained([packs.copy_of(each) for each in box.messages], is_void)

    def _start_of(self, partition: int, instance: str, history: Sequence[Copy]) -> Start | None:
        starts = (each for each in history if each.rest.startswith("start."))
        deliveries = [packs.delivery_of(each, partition, instance) for each in starts]
        return first_start(deliveries, self._keys)

    async def _orphan(
        self, partition: int, instance: str, history: Sequence[Copy], orphans: set[str]
    ) -> bool:
        """Send messages that never got a start to the dead letters, when they are old."""
        if not history:
            return True
        oldest = min(each.at for each in history)
        if not collection.is_orphaned(oldest, self._clock.now_ns(), self._settings):
            return False
        # Its start may stand in a pack above this chunk.
        mailbox = subjects.mailbox(instance, partition)
        if first_start(await self._mailboxes.mailbox(mailbox), self._keys) is not None:
            return False
        if not self._territory.abandon(instance):
            return False
        orphans.add(instance)
        letters = []
        for copy in history:
            delivery = packs.delivery_of(copy, partition, instance)
            if type(parse(delivery, self._keys)) is Letter:  # others are dead letters already
                letters.append(DeadLetter(delivery, "orphan", "the instance was never started"))
        await self._dead(letters)
        self._orphaned += 1
        return True

    # Purging.

    async def purge(self, imported: int = 0) -> None:
        """Purge what no partition needs any more, and firings of timers that MAIL has."""
        least = await self._least_mark()
        if least > 1:
            await self._purge("MAIL", {"seq": least})
            self._first = max(self._first, least)
            self._territory.purged(least)
        if imported:
            await self._purge("TIMERS", {"filter": "movant.fired.>", "seq": imported + 1})

    async def _purge(self, stream: str, request: Mapping[str, Any]) -> None:
        answer = _purged_decoder.decode(await self._request(f"STREAM.PURGE.{stream}", request))
        if not answer.success:
            raise UnavailableError(f"{stream} was not purged: {answer.error}")
        if stream == "MAIL":
            self._purged += answer.purged

    async def _request(self, verb: str, request: Mapping[str, Any]) -> bytes:
        body = msgspec.json.encode(request) if request else b""
        try:
            answer = await self._transport.request(Outgoing(f"$JS.API.{verb}", body), ANSWER_S)
        except UnknownOutcomeError as error:
            raise UnavailableError(f"{verb} was not answered") from error
        return answer.payload

    async def _waiting(self, something: Awaitable[None]) -> None:
        """Wait for something; that is no time in which we were busy."""
        began = self._clock.monotonic()
        await something
        self._busy_since += self._clock.monotonic() - began

    async def _pause(self) -> None:
        """Give the others their time: a pass is never in a hurry."""
        busy_s = self._clock.monotonic() - self._busy_since
        await trio.sleep(busy_s * (1 / self._busy - 1))
        self._busy_since = self._clock.monotonic()
