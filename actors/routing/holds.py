"""Holds: who is paused by hand, as this daemon knows it.

Pure bookkeeping: ``runtime.holds`` reads what is stored and tells it here. The highest revision
of a key counts, so news may come in any order and more than once.
"""

from __future__ import annotations

from typing import Final

from protocols.flow import EVERYTHING, Hold

HELD_MAX: Final = 10_000
"""Keys that are stored, released ones included: a person pauses a few."""


class Holds:
    """What people said last about services, workflows, runs and everything."""

    __slots__ = ("_by_key", "any")

    def __init__(self) -> None:
        self._by_key: dict[str, tuple[int, Hold]] = {}
        self.any = False
        """Whether a workflow, a run or everything is paused: else nobody has to look."""

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, hold: Hold, revision: int) -> bool:
        """Take what is stored under a key; False when it is known already, or older."""
        known = self._by_key.get(hold.key)
        if known is not None and known[0] >= revision:
            return False
        self._by_key[hold.key] = (revision, hold)
        self.any = any(
            each.paused and each.kind in {"workflow", "run", EVERYTHING}
            for _, each in self._by_key.values()
        )
        return True

    def on(self, run: str, workflow: str) -> Hold | None:
        """Return what holds a run: everything is paused, its workflow, or it alone."""
        for key in (EVERYTHING, f"workflow.{workflow}", f"run.{run}"):
            found = self._by_key.get(key)
            if found is not None and found[1].paused:
                return found[1]
        return None

    def get(self, key: str) -> tuple[int, Hold | None]:
        """Return revision and content of a key; (0, None): nobody ever said anything."""
        return self._by_key.get(key, (0, None))

    def active(self) -> list[Hold]:
        """Return all that is paused or forced, in the order in which it was said."""
        found = [each for _, each in self._by_key.values() if each.paused or each.forced]
        return sorted(found, key=lambda each: (each.at, each.key))
