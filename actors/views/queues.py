"""Queues: whose turn it is among the runs of workflows that limit how many may be active.

    start --> active --- its owner says "queued" --> in line --- "granted" --> active --> ended

All of it is read: starts and turns from MAIL, ends from ARCHIVE. A run is taken for active until
it is known to wait, so whoever has not read all yet counts too many, never too few. Pure.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Final, NamedTuple

from protocols.mail import TurnWord

Key = tuple[str, str]
"""By what runs are counted: workflow and group."""


class InLine(NamedTuple):
    """A run that waits for its turn. Its order is that of its fields: who goes first is less."""

    rank: int
    """The priority, negated."""
    place: int
    """The sequence of its start."""
    id: str
    limit: int
    """So many may be active, as its own definition says."""


class Standing(NamedTuple):
    """Where a run stands in its queue, for people."""

    number: int
    """1 is next."""
    waiting: int
    active: int
    limit: int

    def text(self) -> str:
        """Return it as part of a sentence."""
        return (
            f"number {self.number} of {self.waiting} that wait; {self.active} are active, and at"
            f" most {self.limit} may be"
        )


class Queues:
    """Who is active, and who waits, by workflow and group."""

    def __init__(self) -> None:
        self.active: Final = Counter[Key]()
        self.waiting: Final[dict[str, tuple[Key, InLine]]] = {}
        self.granted: Final[set[str]] = set()
        """Of those that have not ended, who got a place."""
        self._lines: Final[dict[Key, list[InLine]]] = {}

    def started(self, workflow: str, group: str) -> None:
        """Count a run that has not ended."""
        self.active[workflow, group] += 1

    def turned(self, run: str, counted: Key, word: TurnWord) -> Key:
        """Take what an owner said of a run; return by what it is counted from here on."""
        if run in self.granted or word.said == "refused":
            return counted
        waits = run in self.waiting
        if waits and word.said == "queued":
            return counted
        key = (counted[0], word.group)
        if waits:
            self._leave(run)
        else:
            self._count(counted, -1)
        if word.said == "granted":
            self.granted.add(run)
            self._count(key, 1)
        else:
            found = InLine(-word.priority, word.place, run, word.limit)
            self.waiting[run] = (key, found)
            insort(self._lines.setdefault(key, []), found)
        return key

    def ended(self, run: str, counted: Key) -> None:
        """Count a run no more."""
        self.granted.discard(run)
        if run in self.waiting:
            self._leave(run)
        else:
            self._count(counted, -1)

    def doubt(self) -> None:
        """Take those who wait for active until it is told again: they may have got a place."""
        self.active.update(key for key, _ in self.waiting.values())
        self.waiting.clear()
        self._lines.clear()

    def line(self, key: Key) -> list[InLine]:
        """Return who waits, the next one first; not to be changed."""
        return self._lines.get(key, [])

    @property
    def workflows(self) -> set[str]:
        """Those of which somebody waits."""
        return {key[0] for key in self._lines}

    def keys(self, workflow: str) -> set[Key]:
        """Return the queues of a workflow in which somebody waits."""
        return {key for key in self._lines if key[0] == workflow}

    def standing(self, run: str) -> Standing | None:
        """Return where a run stands; None: it does not wait, as far as it is known."""
        if run not in self.waiting:
            return None
        key, found = self.waiting[run]
        line = self._lines[key]
        return Standing(bisect_left(line, found) + 1, len(line), self.active[key], found.limit)

    def _leave(self, run: str) -> None:
        key, found = self.waiting.pop(run)
        line = self._lines[key]
        del line[bisect_left(line, found)]
        if not line:
            del self._lines[key]

    def _count(self, key: Key, more: int) -> None:
        self.active[key] += more
        if not self.active[key]:
            del self.active[key]


def next_ones(line: Iterable[InLine], more: Iterable[InLine], active: int) -> Iterator[InLine]:
    """Yield who gets a place while so many are active: in order, and nobody past another.

    ``more`` are those of whom only we know that they wait.
    """
    for each in merge(line, sorted(more)):
        if active >= each.limit:
            return
        active += 1
        yield each
