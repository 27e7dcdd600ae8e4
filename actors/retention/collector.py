"""Collector: keeps MAIL small. It copies what is needed to the head and purges the prefix.

    pass:   wait for records under way -> chunk, chunk, … up to the folded positions
    chunk:  read -> look up records -> complete -> is all still there? -> packs (MAIL),
            bundles (ARCHIVE) -> marks; after some of them, and at the end: purge

The order is the safety: a mark is raised only when every copy is acknowledged, and the prefix
is purged up to the least mark that is stored. A pass that ends anywhere is begun again from the
mark; what it had written already has the same subjects and is not stored twice.

A daemon collects the partitions that it owns. One may be taken over at any moment, and then its
next owner has MAIL purged: so after its last read and before its first write a chunk asks the
leader whether anything above its marks is gone, and what is no more ours is thrown away.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Final

import structlog
import trio

from actors.owning.generations import newest_generation
from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery, Letter
from actors.owning.partitions import Partition
from actors.owning.spawning import first_start
from actors.retention import collection, packs
from actors.retention.collection import CollectorStatistics, Fate, Settings
from actors.retention.fates import Fates, Key
from actors.retention.forgetting import Sweeps
from actors.retention.packs import Copy
from actors.retention.purging import Purging, State
from actors.retention.scan import Chunk, Scan
from actors.retention.sealing import bundle_groups, bundled, packed
from actors.retention.territory import Territory
from actors.store.archive import Archive
from actors.store.direct_reader import CONTINUED, DirectReader
from actors.store.stream_writer import StreamWriter
from actors.store.writing import Writing
from protocols import subjects
from protocols.errors import MovantError, UnavailableError
from protocols.events import from_time
from protocols.mail import Start
from protocols.ports import Clock
from protocols.tokens import KeyRing

GROUP: Final = 16
"""Instances between two pauses: a millisecond of this thread's time or two."""
FAILED_S: Final = 60.0
"""Pause after a defect: workflows go on without a collector for long."""
PURGE_S: Final = 5.0
"""How often the floor is looked at while marks of others hold it down."""
PURGED_CHUNKS: Final = 4
"""So many chunks are purged at once, in the middle of a pass."""
PURGED_PART: Final = 3
"""And at least this part of MAIL: for each message that stays the server stores nothing for
0.3 us, however few are purged."""
STUCK_S: Final = 300.0
"""So long after a pass was due MAIL has been purged a little, or a person has to look."""

log = structlog.get_logger()


class Collector:
    """Collects the partitions of one daemon. ``run`` belongs under a supervisor.

    ``packs_writer`` and ``bundle_writer`` write to MAIL and ARCHIVE and are the collector's
    own, so that nobody waits behind it. ``dead`` keeps a dead letter and returns when it is
    kept.
    """

    def __init__(  # noqa: PLR0917  # it is where everything meets
        self,
        purging: Purging,
        clock: Clock,
        keys: KeyRing,
        territory: Territory,
        mailboxes: DirectReader,
        archive: Archive,
        settings: Settings,
        sweeps: Sweeps,
        *,
        partitions: int,
        packs_writer: StreamWriter,
        bundle_writer: StreamWriter,
        dead: Callable[[Sequence[DeadLetter]], Awaitable[None]],
    ) -> None:
        self._purging = purging
        self._clock = clock
        self._keys = keys
        self._territory = territory
        self._mailboxes = mailboxes
        self._settings = settings
        self._sweeps = sweeps
        self._scan = Scan(mailboxes, territory, settings, self._pause, partitions)
        self._fates = Fates(mailboxes, archive, self._pause, partitions)
        self._packs = packs_writer
        self._bundles = bundle_writer
        self._dead = dead
        self._kept = 0
        self._busy = settings.busy_max
        self._busy_since = 0.0
        self._looked_at = 0.0
        self._first = 0
        self._imported = 0
        self._under_way = False
        self._due_since = inf
        self._held_by = ""
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
            min((each.mark for each in self._territory.owned()), default=0),
            self._under_way,
        )

    @property
    def problems(self) -> list[str]:
        """What a person should look at: why MAIL is not purged though it is due."""
        due_s = self._clock.monotonic() - self._due_since
        if due_s < STUCK_S:
            return []
        why = f"{self._held_by} is not collected" if self._held_by else "a pass is under way"
        return [f"MAIL was not purged for {due_s / 60:.0f} minutes: {why}"]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Begin a pass whenever one is due, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(self._settings.every_s)
            self._under_way = True
            try:
                await self._look()
            except MovantError as error:
                log.warning("collector.waiting", reason=str(error))
            except Exception:  # a defect here must not stop the workflows
                log.exception("collector.failed")
                await trio.sleep(FAILED_S)
            finally:
                self._under_way = False

    async def _look(self) -> None:
        owned = self._territory.owned()
        if not owned:
            return
        state = await self.state()
        settings = self._settings
        self._kept = await self._territory.kept()
        waiting = _above(state, owned)
        if collection.pressure(state.messages, self._kept, settings) <= 1:
            self._due_since = inf
        elif self._due_since == inf:
            self._due_since = self._clock.monotonic()
        if collection.pressure(waiting, self._kept, settings) > 1:
            await self.collect()
            return
        oldest_ns = from_time(state.first_ts) if state.messages else 0
        now_ns = self._clock.now_ns()
        if collection.is_old(waiting, self._kept, settings, oldest_ns=oldest_ns, now_ns=now_ns):
            await self.collect(rest=True)
            return
        now = self._clock.monotonic()
        if min(each.mark for each in owned) > state.first_seq and now > self._looked_at + PURGE_S:
            self._looked_at = now
            await self.purge()  # marks of others held the floor down when ours were raised

    async def state(self) -> State:
        """Return the state of MAIL."""
        state = await self._purging.state("MAIL")
        if state.first_seq > self._first:
            self._risen(state)
        return state

    def _risen(self, state: State) -> None:
        """Note that nothing is left below the first sequence."""
        self._first = state.first_seq
        self._due_since = inf
        self._territory.purged(state.first_seq)
        self._sweeps.note(state, self._clock.now_ns())

    async def collect(self, *, rest: bool = False) -> None:
        """Do one pass over what is folded, in whole chunks, with ``rest`` to its end.

        Raises what made it stop; the next one goes on.
        """
        territory = self._territory
        owned = territory.owned()
        if not owned:
            return
        before = self._clock.monotonic()
        head = (await self.state()).last_seq
        chunk = self._settings.chunk
        positions = await territory.positions()
        limits = {each: positions.get(each.number, -1) + 1 for each in owned}
        quiet = [
            each
            for each, limit in limits.items()
            if collection.chunk_end(each.mark, head, chunk) > limit
        ]
        if quiet:
            await territory.tick(quiet)
        # Records that are written from here on have a position at or above the limits.
        await territory.finishing()
        chunks = 0
        copied: Counter[int] = Counter()
        while True:
            able = [
                each
                for each in limits
                if territory.holds(each)
                and collection.chunk_end(each.mark, limits[each], chunk, rest=rest)
            ]
            if not able:
                break
            mark = min(each.mark for each in able)
            limit = min(limits[each] for each in able) if rest else head + 1
            end = collection.chunk_end(mark, limit, chunk, rest=rest)
            due = [each for each in able if each.mark < end <= limits[each]]
            copied += await self._collect_chunk(mark, end, due)
            chunks += 1
            if end - self._first >= max(PURGED_CHUNKS * chunk, (head - end) // PURGED_PART):
                await self.purge()
        if chunks:
            for each in limits:
                each.kept = copied[each.number]
            await self.purge()
            self._passes += 1
            state = await self.state()
            log.info(
                "collector.passed",
                chunks=chunks,
                first=state.first_seq,
                left=state.messages,
                took_s=round(self._clock.monotonic() - before, 2),
            )

    async def _collect_chunk(self, mark: int, end: int, due: Sequence[Partition]) -> Counter[int]:
        """Collect what stands in [mark, end); return the messages copied, by partition."""
        territory = self._territory
        self._busy_since = self._clock.monotonic()
        chunk = await self._scan.read(mark, end, due)
        self._scanned += chunk.scanned
        state = await self.state()
        head = state.last_seq
        self._hurry(_above(state, territory.owned()))
        fates = await self._fates.decide(chunk)
        await self._fates.complete(chunk, fates, head)
        # Nothing is read of histories from here on: what is not gone now was read whole. Half a
        # history must not pass for a whole one.
        first = (await self.state()).first_seq
        ours = [each for each in due if territory.holds(each) and first <= max(each.mark, 1)]
        if not ours:
            raise UnavailableError("the partitions that were read have other owners now")
        orphans: set[str] = set()
        try:
            owned = {each.number: each for each in ours}
            copied = await self._keep(chunk, owned, fates, orphans)
            await territory.set_marks(dict.fromkeys(ours, (chunk.end, chunk.newest_at)))
        finally:
            territory.resume(orphans)
        self._imported = max(self._imported, chunk.imported)
        return copied

    # Keeping.

    async def _keep(
        self,
        chunk: Chunk,
        ours: Mapping[int, Partition],
        fates: Mapping[Key, Fate],
        orphans: set[str],
    ) -> Counter[int]:
        """Write packs and bundles for what is needed, and return when they are stored.

        Returns how many packs were written, by partition.
        """
        territory = self._territory
        through = chunk.end - 1
        bundles: dict[int, dict[str, list[Copy]]] = defaultdict(dict)
        copying = Writing(self._packs)
        copied: Counter[int] = Counter()
        for number, (key, raw) in enumerate(chunk.raw.items(), 1):
            if number % GROUP == 0:
                await self._pause()
            partition, instance = ours.get(key[0]), key[1]
            if partition is None or not territory.holds(partition):
                continue
            fate = fates[key]
            if fate is Fate.DROP:
                self._dropped += 1
                continue
            history = self._history(partition, instance, raw)
            if fate is Fate.BUNDLE:
                self._bundled += 1
                bundles[partition.number][instance] = history
                continue
            start = self._start_of(partition.number, instance, history)
            if start is None and await self._orphan(partition, instance, history, orphans):
                continue
            self._packed += 1
            kept = self._since(partition.number, instance, history, start)
            for message in packed(instance, through, kept, start):
                await self._waiting(copying.write(message))
                copied[partition.number] += 1
        await copying.done()
        await self._archived(chunk, ours, bundles)
        return copied

    async def _archived(
        self,
        chunk: Chunk,
        ours: Mapping[int, Partition],
        bundles: Mapping[int, dict[str, list[Copy]]],
    ) -> None:
        """Write bundles, and return when they are stored."""
        archiving = Writing(self._bundles)
        for number, histories in bundles.items():
            for group in bundle_groups(histories):
                for sealed in await trio.to_thread.run_sync(packs.seal_bundle, group):
                    if self._territory.holds(ours[number]):
                        await archiving.write(bundled(number, chunk.end - 1, min(group), sealed))
                await self._pause()
        await archiving.done()
        for number, histories in bundles.items():
            self._fates.stored(chunk, number, histories)

    def _history(self, partition: Partition, instance: str, raw: Sequence[Delivery]) -> list[Copy]:
        """Return what a fold needs of an instance's messages and of the packs among them."""
        box = packs.expand(raw)
        for each in box.unreadable:
            log.error("pack.unreadable", run=instance, seq=each.seq)

        def is_void(copy: Copy) -> bool:
            parsed = parse(packs.delivery_of(copy, partition.number, instance), self._keys)
            return type(parsed) is Letter and partition.is_void(parsed.mail)

        return collection.retained([packs.copy_of(each) for each in box.messages], is_void)

    def _start_of(self, partition: int, instance: str, history: Sequence[Copy]) -> Start | None:
        starts = (each for each in history if each.rest.startswith("start."))
        deliveries = [packs.delivery_of(each, partition, instance) for each in starts]
        return first_start(deliveries, self._keys)

    def _since(
        self, partition: int, instance: str, history: list[Copy], start: Start | None
    ) -> list[Copy]:
        """Return what the newest generation needs: its snapshot stands for all below.

        The start stays: by it a repeat is told from another run's start.
        """
        if all(each.rest != CONTINUED for each in history):
            return history
        parsed = [
            parse(packs.delivery_of(each, partition, instance), self._keys) for each in history
        ]
        newest = newest_generation([each.mail for each in parsed if type(each) is Letter])
        if newest is None:
            return history
        first = start.seq if start is not None else 0
        return [each for each in history if each.seq > newest.through or each.seq == first]

    async def _orphan(
        self, partition: Partition, instance: str, history: Sequence[Copy], orphans: set[str]
    ) -> bool:
        """Send messages that never got a start to the dead letters, when they are old."""
        if not history:
            return True
        oldest = min(each.at for each in history)
        if not collection.is_orphaned(oldest, self._clock.now_ns(), self._settings):
            return False
        # Its start may stand in a pack above this chunk.
        mailbox = subjects.mailbox(instance, partition.number)
        if first_start(await self._mailboxes.mailbox(mailbox), self._keys) is not None:
            return False
        if not self._territory.holds(partition) or not self._territory.abandon(instance):
            return False
        orphans.add(instance)
        letters = []
        for copy in history:
            delivery = packs.delivery_of(copy, partition.number, instance)
            if type(parse(delivery, self._keys)) is Letter:  # others are dead letters already
                letters.append(DeadLetter(delivery, "orphan", "the instance was never started"))
        await self._dead(letters)
        self._orphaned += 1
        return True

    # Purging.

    async def purge(self) -> None:
        """Purge what no partition needs any more, and firings of timers that MAIL has."""
        floor = await self._territory.floor()
        self._held_by = floor.held_by
        if floor.seq > max(self._first, 1):
            self._purged += await self._purging.purge("MAIL", {"seq": floor.seq})
            self._risen(await self._purging.state("MAIL"))
        if self._imported:
            firings = {"filter": "movant.fired.>", "seq": self._imported + 1}
            await self._purging.purge("TIMERS", firings)
            self._imported = 0

    async def _waiting(self, something: Awaitable[None]) -> None:
        """Wait for something; that is no time in which we were busy."""
        began = self._clock.monotonic()
        await something
        self._busy_since += self._clock.monotonic() - began

    def _hurry(self, waiting: int) -> None:
        """Give a pass the more of the daemon's time, the fuller MAIL is."""
        full = collection.pressure(waiting, self._kept, self._settings)
        self._busy = min(1.0, self._settings.busy_max * max(full, 1.0))

    async def _pause(self) -> None:
        """Give the others their time: a pass is never in a hurry."""
        busy_s = self._clock.monotonic() - self._busy_since
        await trio.sleep(busy_s * (1 / self._busy - 1))
        self._busy_since = self._clock.monotonic()


def _above(state: State, owned: Sequence[Partition]) -> int:
    """Return how many messages stand above our marks: others may hold the floor down."""
    least = min((each.mark for each in owned), default=0)
    return min(state.messages, state.last_seq + 1 - max(least, state.first_seq))
