"""Prefetch: read the mailboxes of many instances of one partition together.

A daemon that takes a partition over has to fold each instance that was at something. Read one by
one that is two requests each; read together it is one for fifty of them, and one for the counts
of the whole partition. What the checkpoint lists is read while the tail still comes: our own
marker stands in the stream already, so the answers contain all up to it.

(Reading the partition's messages in order is no way: the server held up everybody for seconds
while it looked for them among those of the other partitions.)
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from actors.owning.partitions import Partition
from actors.store.direct_reader import DirectReader
from protocols.errors import MovantError

LEAST: Final = 32
"""Fewer instances than this are read one by one: they do not pay for the partition's counts."""

PARTITIONS: Final = 4
"""Partitions that are read beside each other: the first of them shall be ready early."""
HELD_MAX: Final = 20_000
"""Mailboxes read ahead and not yet folded; above it the next partition waits for its marker."""

log = structlog.get_logger()


class Prefetched(msgspec.Struct, frozen=True):
    """One mailbox as it is stored, and the partition's mark when the reading began."""

    stored: list[Delivery]
    mark: int


class _Reading(msgspec.Struct):
    wanted: set[str]
    left: int = 0
    """Instances that have not come for theirs."""
    held: int = 0
    mark: int = 0
    found: dict[str, list[Delivery]] = {}
    begun: bool = False
    ready: trio.Event = msgspec.field(default_factory=trio.Event)


class Prefetch:
    """What was read of partitions whose instances are about to be folded.

    Of each partition there are two readings: of the instances that its checkpoint lists, and of
    those that its tail brings.
    """

    def __init__(self, mailboxes: DirectReader) -> None:
        self._mailboxes = mailboxes
        self._readings: dict[tuple[Partition, bool], _Reading] = {}
        self._limit = trio.CapacityLimiter(PARTITIONS)
        self._held = 0

    async def take(
        self, partition: Partition, instance: str, *, listed: bool
    ) -> Prefetched | None:
        """Return the mailbox of an instance once its partition has settled.

        None when it has to be read by itself.
        """
        key = (partition, listed)
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = _Reading(set())
        reading.wanted.add(instance)
        reading.left += 1
        try:
            if not listed:
                await partition.settled.wait()
            if reading.begun:
                await reading.ready.wait()
            else:
                reading.begun = True
                try:
                    async with self._limit:  # and all others have come to want theirs
                        await self._read(partition, reading)
                finally:
                    reading.ready.set()
            await partition.settled.wait()
            stored = reading.found.pop(instance, None)
        finally:
            reading.left -= 1
            if not reading.left:
                self._held -= reading.held
                del self._readings[key]
        return None if stored is None else Prefetched(stored, reading.mark)

    async def _read(self, partition: Partition, reading: _Reading) -> None:
        if self._held >= HELD_MAX:
            await partition.settled.wait()
        over = partition.settled.is_set() and not partition.begun  # it is ours no more
        if len(reading.wanted) < LEAST or partition.leaving or over:
            return
        reading.held = len(reading.wanted)
        self._held += reading.held
        reading.mark = partition.mark
        try:
            reading.found = await self._mailboxes.many(partition.number, reading.wanted)
        except MovantError as error:
            log.warning("prefetch.failed", partition=partition.number, reason=str(error))
