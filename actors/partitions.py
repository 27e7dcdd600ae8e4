"""Partitions: what an owner knows of each partition besides its instances.

Where its reading began, which epochs it went through, and whether our own marker was read.
Epochs decide which owner messages are void: the same answer for every reader, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.checkpoint import Checkpoint, Epochs, entries
from actors.inbound import Marker
from protocols.errors import RefusedError
from protocols.mail import AnyMail, AttemptRefused, AttemptTimedOut, Pinned


class FencedError(RefusedError):
    """Another daemon has taken the partitions over: this one must stop at once."""

    code = "refused.fenced"


class Partitions:
    """All partitions of one owner, which acts under one epoch."""

    def __init__(self, count: int, epoch: int, stored: Mapping[int, Checkpoint]) -> None:
        self.count = count
        self.epoch = epoch
        self.handed = 0
        """The position of the reader: everything at or below it was handed on."""
        self.fenced_by = 0
        """A higher epoch that was read: somebody else owns a partition now; 0: nobody."""
        self.listed: dict[str, int] = {}
        """Instances with effects that a former owner left unsettled, with the lowest cause."""
        self._marked: set[int] = set()
        self._epochs = [Epochs() for _ in range(count)]
        self.starts = [0] * count
        """The stored position of each partition: at or below it everything is folded."""
        for partition, checkpoint in stored.items():
            self._epochs[partition] = Epochs(checkpoint.markers)
            self.starts[partition] = checkpoint.position
            self.listed.update(checkpoint.entries)
        self.handed = self.after

    @property
    def after(self) -> int:
        """The position that the reader has to start behind."""
        return min(self.starts)

    def known_to(self, partition: int) -> int:
        """Return the position up to which the markers of a partition are known."""
        return max(self.handed, self.starts[partition])

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        if isinstance(mail, Pinned | AttemptTimedOut | AttemptRefused):
            return self._epochs[partition].is_void(mail.seq, mail.epoch)
        return False

    def is_ours(self, partition: int, seq: int) -> bool:
        """Tell whether a sequence stands behind our own marker: nobody else acted on it."""
        return self._epochs[partition].at(seq) == self.epoch

    def mark(self, marker: Marker) -> bool:
        """Take a marker; True when with it our own stand in all partitions."""
        if marker.partition >= self.count:
            return False
        self._epochs[marker.partition].add(marker.seq, marker.epoch)
        if marker.epoch > self.epoch:
            self.fenced_by = marker.epoch
        elif marker.epoch == self.epoch:
            self._marked.add(marker.partition)
            return len(self._marked) == self.count
        return False

    def checkpoints(
        self, at: int, unsettled: Iterable[tuple[int, str, int]]
    ) -> dict[int, Checkpoint]:
        """Return what to store when everything at or below ``at`` is folded.

        ``unsettled`` has partition, instance and lowest cause. A partition without our marker
        is left as it is.
        """
        by_partition: list[list[tuple[str, int]]] = [[] for _ in range(self.count)]
        for partition, instance, cause in unsettled:
            by_partition[partition].append((instance, cause))
        found = {}
        for partition in self._marked:
            position = max(at, self.starts[partition])
            found[partition] = Checkpoint(
                position=position,
                epoch=self.epoch,
                entries=entries(by_partition[partition], position),
                markers=self._epochs[partition].markers(),
            )
        return found
