"""Partitions: what an owner knows of each partition besides its instances.

Where its reading began, which epochs it went through, and whether our own marker was read.
Epochs decide which owner messages are void: the same answer for every reader, for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from actors.checkpoint import Checkpoint, Epochs, entries
from actors.collection import is_fresh
from actors.inbound import Marker
from protocols.errors import RefusedError
from protocols.mail import AnyMail, AttemptRefused, AttemptTimedOut, Pinned


class FencedError(RefusedError):
    """Another daemon has taken the partitions over: this one must stop at once."""

    code = "refused.fenced"


class Partitions:
    """All partitions of one owner, which acts under one epoch."""

    def __init__(
        self,
        count: int,
        epoch: int,
        stored: Mapping[int, Checkpoint],
        *,
        first: int = 0,
        now_ns: int = 0,
    ) -> None:
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
        # A lost checkpoint does not undo a purge: below the first message everything is gone.
        self.marks = [first if first > 1 else 0] * count
        """Of each partition: what is needed from below it stands in packs or in ARCHIVE."""
        self.era = 0
        """How often a mark was raised: what was read of ARCHIVE before may not say it all."""
        self.marked_at = [now_ns] * count
        """Of each partition: the time, in nanoseconds since 1970, before which that was stored."""
        for partition, checkpoint in stored.items():
            self._epochs[partition] = Epochs(checkpoint.markers)
            self.starts[partition] = checkpoint.position
            self.marks[partition] = max(self.marks[partition], checkpoint.mark)
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
                mark=self.marks[partition],
            )
        return found

    def owned(self) -> list[int]:
        """Return the partitions in which our own marker stands."""
        return sorted(self._marked)

    def set_mark(self, partition: int, mark: int, at: int) -> None:
        """Raise a mark; ``at`` is the time of the newest message below it."""
        self.era += 1
        self.marks[partition] = max(self.marks[partition], mark)
        self.marked_at[partition] = max(self.marked_at[partition], at)

    def is_new(self, partition: int, instance: str, at: int) -> bool:
        """Tell whether an id that came at a time is too young for the archive to know it."""
        return not self.marks[partition] or is_fresh(instance, self.marked_at[partition], at)

    def purged(self, first: int) -> None:
        """Forget the markers that only messages below ``first`` need: those are gone."""
        for epochs in self._epochs:
            epochs.prune(first)
