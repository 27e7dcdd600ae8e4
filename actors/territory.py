"""Territory: what a collector needs to know of who owns the partitions, and to tell him."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from protocols.mail import AnyMail


class Territory(Protocol):
    """What a collector needs to know of who owns the partitions."""

    def owned(self) -> Collection[int]:
        """Return the partitions that are ours now."""
        ...

    def position(self, partition: int) -> int:
        """Return P: at or below it every message of the partition is folded."""
        ...

    def mark(self, partition: int) -> int:
        """Return M: what is needed from below it stands in packs or in ARCHIVE."""
        ...

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        ...

    async def finishing(self) -> None:
        """Wait until the records that are under way now are acknowledged."""
        ...

    def tick(self, partition: int) -> None:
        """Write the marker again, so that the position of a quiet partition rises."""
        ...

    async def set_marks(self, marks: Mapping[int, tuple[int, int]]) -> None:
        """Raise marks, by partition, with the time below; return when they are stored.

        Raises RefusedError when a partition is no longer ours.
        """
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
