"""Checkpoint: what a new owner needs to know about a partition besides its mailboxes.

``position`` P: every message of the partition at or below it is folded, not merely handed
over. ``entries``: for each instance with an unsettled effect whose cause is at or below P, its
id and the lowest such cause. ``markers``: the epochs of the partition, by sequence, because an
instance's own mailbox does not contain them. ``mark`` M, never above P: whatever is needed of
the messages below it stands in packs at or above it, or in ARCHIVE; MAIL is purged up to the
least mark of all partitions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

ENTRIES_MAX: Final = 2_000
"""Above this, wakes are armed and entries dropped: the value must stay far below 1 MB."""


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored record of one partition."""

    position: int = 0
    epoch: int = 0
    entries: tuple[tuple[str, int], ...] = ()
    markers: tuple[tuple[int, int], ...] = ()
    mark: int = 0
    marked_at: int = 0
    """The server's time of the newest message below the mark, in nanoseconds since 1970."""
    kept: int = 0
    """Messages that the last pass copied forward: what is needed and not new."""


class Epochs:
    """The epoch markers of one partition, in stream order."""

    __slots__ = ("_epochs", "_seqs")

    def __init__(self, markers: Iterable[tuple[int, int]] = ()) -> None:
        self._seqs: list[int] = []
        self._epochs: list[int] = []
        for seq, epoch in markers:
            self.add(seq, epoch)

    def add(self, seq: int, epoch: int) -> None:
        """Take a marker; one that is known or behind a higher epoch changes nothing."""
        if self._seqs and (seq <= self._seqs[-1] or epoch <= self._epochs[-1]):
            return
        self._seqs.append(seq)
        self._epochs.append(epoch)

    @property
    def current(self) -> int:
        """The highest epoch so far, 0 before the first marker."""
        return self._epochs[-1] if self._epochs else 0

    def at(self, seq: int) -> int:
        """Return the epoch that holds at a sequence."""
        index = bisect_left(self._seqs, seq)
        return self._epochs[index - 1] if index else 0

    def is_void(self, seq: int, epoch: int) -> bool:
        """Tell whether an owner message stands behind a marker with a higher epoch."""
        return epoch < self.at(seq)

    def prune(self, below: int) -> None:
        """Forget the markers below a sequence but the last: nothing below it is read again."""
        cut = bisect_left(self._seqs, below) - 1
        if cut > 0:
            del self._seqs[:cut], self._epochs[:cut]

    def markers(self) -> tuple[tuple[int, int], ...]:
        """Return the markers for a checkpoint."""
        return tuple(zip(self._seqs, self._epochs, strict=True))


def position(handed: int, unfolded: Iterable[int]) -> int:
    """Return P: what was handed over, less everything that somebody has not folded yet."""
    return min((handed, *(seq - 1 for seq in unfolded)))


def entries(unsettled: Iterable[tuple[str, int]], at: int) -> tuple[tuple[str, int], ...]:
    """Return the entries of a checkpoint at position ``at``, lowest causes first."""
    below = [each for each in unsettled if each[1] <= at]
    below.sort(key=lambda each: each[1])
    return tuple(below)


def surplus(listed: Sequence[tuple[str, int]]) -> Sequence[tuple[str, int]]:
    """Return the entries that need a wake because the checkpoint is full."""
    return listed[ENTRIES_MAX:]
