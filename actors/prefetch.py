"""Prefetch: read the mailboxes of many instances of one partition together.

A daemon that takes a partition over has to fold each instance that was at something. Read one by
one that is two requests each; read together it is one for fifty of them, and one for the counts
of the whole partition. (Reading the partition's messages in order is no way: the server held up
everybody for seconds while it looked for them among those of the other partitions.)
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
import trio

from actors.direct_reader import DirectReader
from actors.letters import Delivery
from actors.partitions import Partition
from protocols.errors import MovantError

LEAST: Final = 32
"""Fewer instances than this are read one by one: they do not pay for the partition's counts."""

log = structlog.get_logger()


class Prefetched(msgspec.Struct, frozen=True):
    """One mailbox as it is stored, and the partition's mark when the reading began."""

    stored: list[Delivery]
    mark: int


class _Reading(msgspec.Struct):
    wanted: set[str]
    left: int = 0
    """Instances that have not come for theirs."""
    mark: int = 0
    found: dict[str, list[Delivery]] = {}
    begun: bool = False
    ready: trio.Event = msgspec.field(default_factory=trio.Event)


class Prefetch:
    """What was read of partitions whose instances are about to be folded."""

    def __init__(self, mailboxes: DirectReader) -> None:
        self._mailboxes = mailboxes
        self._readings: dict[Partition, _Reading] = {}

    def expect(self, partition: Partition, instance: str) -> None:
        """Note that an instance will be folded once its partition has settled.

        Whoever expects has to ``take``, as often as it expected.
        """
        reading = self._readings.get(partition)
        if reading is None:
            reading = self._readings[partition] = _Reading(set())
        reading.wanted.add(instance)
        reading.left += 1

    async def take(self, partition: Partition, instance: str) -> Prefetched | None:
        """Return the mailbox of an expected instance; None when it has to be read by itself."""
        reading = self._readings[partition]
        try:
            if reading.begun:
                await reading.ready.wait()
            else:
                reading.begun = True
                try:
                    await self._read(partition, reading)
                finally:
                    reading.ready.set()
            stored = reading.found.pop(instance, None)
        finally:
            reading.left -= 1
            if not reading.left:
                del self._readings[partition]
        return None if stored is None else Prefetched(stored, reading.mark)

    async def _read(self, partition: Partition, reading: _Reading) -> None:
        if len(reading.wanted) < LEAST or not partition.begun or partition.leaving:
            return
        reading.mark = partition.mark
        try:
            reading.found = await self._mailboxes.many(partition.number, reading.wanted)
        except MovantError as error:
            log.warning("prefetch.failed", partition=partition.number, reason=str(error))
