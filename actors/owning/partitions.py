"""Partitions: what an owner knows of each partition besides its instances.

Where its reading began, which epochs it went through, and whether our own marker was read.
Epochs decide which owner messages are void: the same answer for every reader, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import trio

from actors.owning.letters import Marker
from actors.retention.collection import is_fresh
from actors.store.checkpoint import Checkpoint, Epochs
from protocols.mail import (
    AnyMail,
    AttemptRefused,
    AttemptTimedOut,
    Continued,
    Pinned,
    Routed,
    Turn,
)
from protocols.subjects import is_number

if TYPE_CHECKING:
    from actors.owning.workflow import WorkflowActor

BY_OWNER = frozenset({Pinned, Routed, Turn, AttemptTimedOut, AttemptRefused, Continued})
"""Decisions of an owner: void behind a marker with a higher epoch."""


def is_void(epochs: Epochs, mail: AnyMail) -> bool:
    """Tell whether a message stands behind a marker with a higher epoch."""
    if type(mail) in BY_OWNER:
        assert isinstance(
            mail, Pinned | Routed | Turn | AttemptTimedOut | AttemptRefused | Continued
        )
        return epochs.is_void(mail.seq, mail.epoch)
    return False


class Partition:
    """One partition that this daemon owns under one epoch."""

    __slots__ = (
        "acts_from",
        "begun",
        "early",
        "epoch",
        "epochs",
        "handed",
        "kept",
        "leaving",
        "listed",
        "mark",
        "marked_at",
        "number",
        "settled",
        "start",
    )

    def __init__(self, number: int, epoch: int, stored: Checkpoint) -> None:
        self.number = number
        self.epoch = epoch
        self.epochs = Epochs(stored.markers)
        self.start = self.handed = stored.position
        """Where reading began, and how far it has come: all at or below was handed on."""
        self.listed = dict(stored.entries)
        """Instances with effects that a former owner left unsettled, with the lowest cause;
        those that were not in memory since."""
        self.mark = stored.mark
        """What is needed from below it stands in packs or in ARCHIVE."""
        self.marked_at = stored.marked_at
        """The server's time of the newest message below the mark."""
        self.kept = stored.kept
        """Messages that the last pass copied forward."""
        self.begun = False
        """Whether our own marker was read: from then on effects are under way."""
        self.acts_from = 0
        """Our own marker: what stands at or below it, a former owner may have acted on."""
        self.early: list[WorkflowActor] = []
        """Actors of what a former owner left, until they are up to date."""
        self.leaving = False
        self.settled = trio.Event()
        """Set when activations may begin: our marker was read, or none of this goes on."""

    def begin(self) -> list[WorkflowActor]:
        """Let effects be done from here on; return the actors that waited for it."""
        self.begun = True
        self.settled.set()
        return [each for each in self.early if not each.gone]

    @property
    def behind(self) -> bool:
        """Whether something that a former owner left is not folded yet."""
        if not self.begun or self.listed:
            return True
        if self.early:  # who is up to date once is looked at no more
            self.early = [each for each in self.early if each.activating and not each.gone]
        return bool(self.early)

    def is_void(self, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        return is_void(self.epochs, mail)

    def is_ours(self, seq: int) -> bool:
        """Tell whether a sequence stands behind our own marker: nobody else acted on it."""
        return self.epochs.at(seq) == self.epoch

    def is_new(self, instance: str, at: int) -> bool:
        """Tell whether an id that came at a time is too young for the archive to know it."""
        return not self.mark or is_fresh(instance, self.marked_at, at)


class PartitionView(msgspec.Struct, frozen=True):
    """How a partition stands, for people."""

    partition: int
    epoch: int
    position: int
    begun: bool


class Partitions:
    """The partitions that one daemon owns now, by number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.owned: dict[int, Partition] = {}
        self.everywhere = 0
        """The position of a reader of the whole stream; 0 when each partition has its own."""
        self.again_to = 0
        """Up to here a reader of the whole stream reads again what was handed on before."""
        self.era = 0
        """How often a mark changed: what was read of ARCHIVE before may not say it all."""

    def add(self, number: int, epoch: int, stored: Checkpoint) -> Partition:
        """Begin to own a partition."""
        found = self.owned[number] = Partition(number, epoch, stored)
        self.era += 1
        return found

    def begin_at(self, partition: Partition, floor: int, now: int) -> None:
        """Begin no lower than the stream does: a lost checkpoint does not undo a purge."""
        if partition.mark < floor > 1:
            self.raise_mark(partition, floor, now)
        partition.start = partition.handed = max(partition.handed, floor - 1)

    def raise_mark(self, partition: Partition, mark: int, at: int) -> None:
        """Raise a mark; ``at`` is the time of the newest message below it."""
        partition.mark = max(partition.mark, mark)
        partition.marked_at = max(partition.marked_at, at)
        self.era += 1

    def purged(self, first: int) -> None:
        """Forget the markers that only messages below ``first`` need: those are gone."""
        for each in self.owned.values():
            each.epochs.prune(first)

    def __iter__(self) -> Iterator[Partition]:
        return iter(list(self.owned.values()))

    def known_to(self, number: int) -> int:
        """Return the position up to which a partition was handed on, with its markers."""
        return max(self.owned[number].handed, self.everywhere)

    def knows(self, subject: str, seq: int) -> bool:
        """Tell whether a message was handed on before: from its subject, without a look at it."""
        tokens = subject.split(".", 3)
        if len(tokens) < 4 or tokens[1] != "mail" or not is_number(tokens[2]):  # noqa: PLR2004 - movant.mail.<p>.<id>
            return False
        found = self.owned.get(int(tokens[2]))
        return found is not None and seq <= found.handed

    def settle(self) -> None:
        """Note each partition's own position: the reader of the whole stream has ended."""
        for each in self.owned.values():
            each.handed = max(each.handed, self.everywhere)
        self.everywhere = 0

    @property
    def position(self) -> int:
        """The highest position of all."""
        return max((each.handed for each in self.owned.values()), default=self.everywhere)

    def mark(self, marker: Marker) -> Partition | None:
        """Take a marker; return the partition when it is its own first one, or a higher one.

        A higher epoch than ours means that somebody else owns the partition now.
        """
        found = self.owned.get(marker.partition)
        if found is None:
            return None
        found.epochs.add(marker.seq, marker.epoch)
        if marker.epoch > found.epoch:
            return found
        if marker.epoch == found.epoch and not found.begun:
            found.acts_from = marker.seq
            return found
        return None

    def views(self) -> list[PartitionView]:
        """Return how each partition stands, by number."""
        return [
            PartitionView(each.number, each.epoch, self.known_to(each.number), each.begun)
            for each in sorted(self.owned.values(), key=lambda each: each.number)
        ]


__all__ = ["BY_OWNER", "Partition", "PartitionView", "Partitions", "is_void"]
