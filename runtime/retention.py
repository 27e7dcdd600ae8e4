"""Retention: wires the collector to the daemon's owner and its checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import trio

from actors.owning.letters import DeadLetter
from actors.owning.markers import mark
from actors.owning.partitions import Partition
from actors.retention.blob_sweep import Sweep
from actors.retention.collection import Settings
from actors.retention.collector import Collector
from actors.retention.forgetting import Forgetting, Sweeps
from actors.retention.purging import Purging
from actors.retention.territory import Floor
from actors.store import strays
from actors.store.checkpoint import Checkpoint
from actors.store.dead_letters import envelope
from actors.store.direct_reader import DirectReader
from actors.store.kv import Kv
from actors.store.stream_writer import StreamWriter
from protocols.errors import MovantError, UnavailableError
from protocols.ports import Outgoing

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus

LOOK_S: Final = 0.2
LOOKS_MAX: Final = 50
"""Looks at whether marks are stored, before a pass is given up."""

_NONE: Final = Checkpoint()


class OwnerTerritory:
    """``actors.retention.territory.Territory`` of a daemon."""

    def __init__(self, daemon: Daemon, purging: Purging) -> None:
        self._daemon = daemon
        self._purging = purging
        self._parts = daemon.parts
        self._owner = daemon.parts.owner
        self._kv = Kv(daemon.parts.transport, "movant_checkpoints")

    def owned(self) -> list[Partition]:
        """Return the partitions that this daemon acts in, by number."""
        found = self._owner.partitions.owned
        return [found[number] for number in sorted(found) if self.holds(found[number])]

    def holds(self, partition: Partition) -> bool:
        """Tell whether a partition is still ours, under the same epoch, and stays so."""
        found = self._owner.partitions.owned.get(partition.number)
        return found is partition and partition.begun and not partition.leaving

    async def positions(self) -> Mapping[int, int]:
        """Return P by partition."""
        taken = await self._owner.checkpoint()
        return {number: each.position for number, each in taken.items()}

    async def finishing(self) -> None:
        """Wait until the records that are under way now are acknowledged."""
        await self._parts.outbox.recorded()

    async def tick(self, partitions: Collection[Partition]) -> None:
        """Write our marker again."""
        epochs = {each.number: each.epoch for each in partitions}
        await mark(self._parts.writers["MAIL"], self._daemon.name, epochs)

    async def set_marks(self, marks: Mapping[Partition, tuple[int, int]]) -> None:
        """Raise marks and return when they are stored, or no longer ours to store."""
        for partition, (at, time) in marks.items():
            if self.holds(partition):
                self._owner.partitions.raise_mark(partition, at, time)
        for _ in range(LOOKS_MAX):
            await self._parts.checkpoints.store(await self._owner.checkpoint())
            stored = await self._parts.checkpoints.all()
            if all(
                stored.get(each.number, _NONE).mark >= at or not self.holds(each)
                for each, (at, _) in marks.items()
            ):
                return
            # Another writing of ours came in between, or a replica is behind.
            await trio.sleep(LOOK_S)
        raise UnavailableError("marks of partitions are not stored")

    async def kept(self) -> int:
        """Return how many messages the last passes copied forward, of all partitions."""
        owned = self._owner.partitions.owned
        kept = sum(each.kept for each in owned.values())
        if len(owned) < self._daemon.config.partitions:
            stored = await self._parts.checkpoints.all()
            kept += sum(each.kept for number, each in stored.items() if number not in owned)
        return kept

    async def floor(self) -> Floor:
        """Return the least stored mark of all partitions, not above a stray that is not kept."""
        stored = await self._parts.checkpoints.all()
        count = self._daemon.config.partitions
        least, partition = min((stored.get(each, _NONE).mark, each) for each in range(count))
        if least > 1:
            entry = await self._kv.get(strays.KEY)
            stray = await self._purging.next(strays.FILTER, int(entry.value) if entry else 0)
            if stray and stray < least:
                return Floor(stray, f"a stray at {stray} that is no dead letter yet")
        return Floor(least, f"partition {partition} of {self._owner_of(partition)}")

    def _owner_of(self, partition: int) -> str:
        if partition in self._owner.partitions.owned:
            return f"daemon {self._daemon.name}"
        owners = self._parts.assignment.owners
        member = self._parts.leases.members.get(owners[partition] if owners else "")
        return "nobody" if member is None else f"daemon {member.name}"

    def abandon(self, instance: str) -> bool:
        """Stop folding an instance that never started; False when it did."""
        return self._owner.tombstones.abandon(instance)

    def resume(self, instances: Collection[str]) -> None:
        """Let what comes for abandoned instances be folded again."""
        self._owner.tombstones.resume(instances)

    def purged(self, first: int) -> None:
        """Forget what only messages below ``first`` needed."""
        self._owner.partitions.purged(first)


async def collect(daemon: Daemon, *, task_status: ChildStatus) -> None:
    """Run the collector of a daemon until cancelled."""
    parts, config = daemon.parts, daemon.config
    retention = config.retention
    packs = StreamWriter(parts.transport, daemon.entropy, name="packs")
    bundles = StreamWriter(parts.transport, daemon.entropy, name="bundles")
    letters = parts.writers["DEAD"]

    async def bury(dead: Sequence[DeadLetter]) -> None:
        for each in dead:
            await _written(letters, envelope(each))

    purging, sweeps = Purging(parts.transport), Sweeps()
    parts.collector = Collector(
        purging,
        daemon.clock,
        parts.keys,
        OwnerTerritory(daemon, purging),
        parts.mailboxes,
        parts.archive,
        Settings(
            messages_min=retention.messages_min,
            chunk=retention.chunk,
            busy_max=retention.busy_max,
            orphan_s=retention.orphan_s,
            finished_s=retention.finished_s,
        ),
        sweeps,
        partitions=config.partitions,
        packs_writer=packs,
        bundle_writer=bundles,
        dead=bury,
    )
    async with (
        DirectReader(parts.transport, "ARCHIVE") as archive,
        DirectReader(parts.transport, "EVENTS") as events,
        trio.open_nursery() as nursery,
    ):
        parts.forgetting = Forgetting(
            purging,
            daemon.clock,
            sweeps,
            {"ARCHIVE": archive, "EVENTS": events},
            {"ARCHIVE": retention.finished_s, "EVENTS": retention.events_s},
        )
        parts.sweep = Sweep(
            parts.transport,
            daemon.clock,
            OwnerTerritory(daemon, purging),
            parts.archive,
            young_s=retention.orphan_s,
            finished_s=retention.blobs_s,
        )
        await nursery.start(packs.run)
        await nursery.start(bundles.run)
        if retention.enabled:
            nursery.start_soon(parts.collector.run)
            nursery.start_soon(parts.forgetting.run)
            nursery.start_soon(parts.sweep.run)
        task_status.started()


async def _written(writer: StreamWriter, message: Outgoing) -> None:
    """Write a message and return when it is stored. Raises what refused it."""
    done = trio.Event()
    refused: list[MovantError] = []

    def told(_: int, error: MovantError | None) -> None:
        if error is not None:
            refused.append(error)
        done.set()

    writer.write(message, told)
    await done.wait()
    if refused:
        raise refused[0]
