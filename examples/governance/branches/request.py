"""What the owner of a state is asked, and what every branch reads out of it."""

from __future__ import annotations

from typing import Any

import msgspec

from examples.governance.text import Clause, Motion


class Introduced(msgspec.Struct, frozen=True):
    """What the motion was started with."""

    motion: Motion


class Request(msgspec.Struct, frozen=True):
    """The work of a state for one motion: the fields that movant sends."""

    motion_id: str
    state: str
    entry: int
    cause: str
    input: Introduced
    data: dict[str, Any] = {}
    """What each state before has answered."""
    error: dict[str, Any] | None = None
    """The failure that led here."""

    @property
    def motion(self) -> Motion:
        """The motion as it was introduced."""
        return self.input.motion

    @property
    def clauses(self) -> list[Clause]:
        """The clauses that the Conclave has kept."""
        voted = self.data.get("DELIBERATING") or {}
        struck = voted.get("struck", [])
        return [each for each in self.motion.clauses if each.number not in struck]

    @property
    def complaint(self) -> Any:
        """The details of the failure that led here; empty when there was none."""
        return (self.error or {}).get("details") or {}
