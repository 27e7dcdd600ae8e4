"""Retention: wires the collector to the daemon's owner and its checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from actors.collection import Settings
from actors.collector import Collector
from actors.dead_letters import envelope
from actors.inbound import DeadLetter
from actors.stream_writer import StreamWriter
from protocols.errors import MovantError, UnavailableError
from protocols.mail import AnyMail
from protocols.ports import Outgoing, Transport
from runtime.epochs import mark

if TYPE_CHECKING:
    from runtime.daemon import Daemon
    from supervisors.child import ChildStatus

ANSWER_S: Final = 10.0
LOOK_S: Final = 0.2


class OwnerTerritory:
    """``actors.collector.Territory`` of a daemon that owns all partitions under one epoch."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._owner = daemon.parts.owner

    def owned(self) -> Collection[int]:
        """Return the partitions in which our own marker stands."""
        return self._owner.partitions.owned()

    def position(self, partition: int) -> int:
        """Return the position at or below which everything is folded."""
        return max(self._owner.folded_to(), self._owner.partitions.starts[partition])

    def mark(self, partition: int) -> int:
        """Return the mark of a partition."""
        return self._owner.partitions.marks[partition]

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        return self._owner.is_void(partition, mail)

    async def finishing(self) -> None:
        """Wait until the records that are under way now are acknowledged."""
        await self._parts.outbox.recorded()

    def tick(self, partition: int) -> None:
        """Write our marker again."""
        writer = self._parts.writers["MAIL"]
        mark(writer, partition, self._parts.leases.epoch, self._daemon.name)

    async def set_marks(self, marks: Mapping[int, tuple[int, int]]) -> None:
        """Raise marks and return when they are stored."""
        owner = self._owner
        for partition, (found, at) in marks.items():
            owner.partitions.set_mark(partition, found, at)
        await self._parts.checkpoints.store(owner.checkpoint())
        while True:
            stored = await self._parts.checkpoints.marks()
            if all(stored.get(each, 0) >= wanted for each, (wanted, _) in marks.items()):
                return
            # One was refused, or a replica is behind: the next checkpoint has the marks too.
            await trio.sleep(LOOK_S)

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

    async def least_mark() -> int:
        stored = await parts.checkpoints.marks()
        return min(stored.get(each, 0) for each in range(config.partitions))

    parts.collector = Collector(
        parts.transport,
        daemon.clock,
        parts.keys,
        OwnerTerritory(daemon),
        parts.mailboxes,
        parts.archive,
        Settings(
            messages_min=retention.messages_min,
            chunk=retention.chunk,
            busy_max=retention.busy_max,
            orphan_s=retention.orphan_s,
            finished_s=retention.finished_s,
        ),
        partitions=config.partitions,
        packs_writer=packs,
        bundle_writer=bundles,
        least_mark=least_mark,
        dead=bury,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(packs.run)
        await nursery.start(bundles.run)
        if retention.enabled:
            nursery.start_soon(parts.collector.run)
        task_status.started()


async def first_of_mail(transport: Transport) -> int:
    """Return the first sequence that MAIL still has."""
    answer = await transport.request(Outgoing("$JS.API.STREAM.INFO.MAIL", b""), ANSWER_S)
    value: dict[str, Any] = msgspec.json.decode(answer.payload)
    if "state" not in value:
        raise UnavailableError("MAIL does not tell its state")
    return int(value["state"]["first_seq"])


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
