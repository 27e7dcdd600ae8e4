"""What the offices' rules have in common: the case on the desk, the refusal, the calendar.

A rule is a pure function ``(request, case) -> answer or Refusal``. It reads no clock and no
register: ``case`` carries the time and the running number of the document it may issue.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec

_SATURDAY: Final = 5


class Case(msgspec.Struct, frozen=True):
    """The moment of a decision, and the number that its document would get."""

    now: datetime
    number: int

    @property
    def today(self) -> date:
        """The date of the decision."""
        return self.now.date()

    def document(self, prefix: str) -> str:
        """Return a document id such as ``BL-2024-001``."""
        return f"{prefix}-{self.now.year}-{self.number:03d}"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The office says no: nothing was issued, and asking again the same cannot help."""

    kind: str
    message: str
    details: Any = None


class Operation(msgspec.Struct, frozen=True):
    """One operation of an office: the type of its request and the rule that answers it.

    The name is part of what a register remembers of a request, so it never changes.
    """

    name: str
    request: Any
    decide: Callable[[Any, Case], msgspec.Struct | Refusal]


def by_name(*operations: Operation) -> dict[str, Operation]:
    """Return an office's operations by their names."""
    return {operation.name: operation for operation in operations}


def working_days_after(start: date, days: int) -> date:
    """Return the date that is ``days`` working days after ``start``; holidays do not count."""
    moment = start
    for _ in range(days):
        moment += timedelta(days=1)
        while moment.weekday() >= _SATURDAY:
            moment += timedelta(days=1)
    return moment


def street_of(address: str) -> str:
    """Return the street's first word in lower case: ``12 Maple Avenue`` is ``maple``."""
    words = address.lower().replace(",", " ").split()
    if words and words[0][0].isdigit():
        words = words[1:]
    return words[0] if words else ""
