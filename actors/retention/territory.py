"""Territory: what a collector needs to know of who owns the partitions, and to tell him."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from actors.owning.partitions import Partition


class Floor(msgspec.Struct, frozen=True):
    """Below ``seq`` nobody needs anything; ``held_by`` says who holds it down, for people."""

    seq: int
    held_by: str


class Territory(Protocol):
    """The partitions of one daemon. One can go at any await; then nothing of it counts."""

    def owned(self) -> list[Partition]:
        """Return the partitions that this daemon acts in, by number."""
        ...

    def holds(self, partition: Partition) -> bool:
        """Tell whether a partition is still ours, under the same epoch, and stays so."""
        ...

    async def positions(self) -> Mapping[int, int]:
        """Return P by partition: at or below it every message is folded."""
        ...

    async def finishing(self) -> None:
        """Wait until the records that are under way now are acknowledged."""
        ...

    async def tick(self, partitions: Collection[Partition]) -> None:
        """Write our marker again, so that the position of quiet partitions rises."""
        ...

    async def set_marks(self, marks: Mapping[Partition, tuple[int, int]]) -> None:
        """Raise marks, with the time of the newest message below; return when they are stored.

        Those of partitions that are ours no more are left as they are.
        """
        ...

    async def kept(self) -> int:
        """Return how many messages the last passes copied forward, of all partitions."""
        ...

    async def floor(self) -> Floor:
        """Return below what nobody needs anything: no partition, no stray."""
        ...

    def abandon(self, instance: str) -> bool:
        """Stop folding an instance that never started; False when it did."""
        ...

    def resume(self, instances: Collection[str]) -> None:
        """Let what comes for abandoned instances be folded again."""
        ...

    def purged(self, first: int) -> None:
        """Take the news that nothing below a sequence is left."""
        ...
