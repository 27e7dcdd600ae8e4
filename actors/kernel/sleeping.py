"""Sleeping: the part of the context that lets time pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.kernel.clock import since_epoch, worked
from actors.kernel.operations import Operation, Sleep
from protocols.subjects import check_step_name

if TYPE_CHECKING:
    from datetime import datetime

    from actors.kernel.ledger import Ledger
    from protocols.calendars import Calendar


class Sleeping:
    """The part of the context that lets time pass."""

    __slots__ = ()

    _ledger: Ledger

    def sleep(
        self, seconds: float | str, *, name: str = "sleep", calendar: Calendar | None = None
    ) -> Operation[None]:
        """Wait for ``seconds``; a restart of the daemon does not matter.

        With a calendar they may be working time: ``3 working days``, ``6 office hours``. Raises
        ConfigurationError for working time without one, or one without offsets, and ValueError
        for a text that is none.
        """
        if isinstance(seconds, str):
            worked(seconds, calendar)
        return Sleep(self._ledger, check_step_name(name), seconds=seconds, calendar=calendar)

    def until(self, when: datetime, *, name: str = "until") -> Operation[None]:
        """Wait until ``when``, an aware datetime; returns at once when it is past."""
        return Sleep(self._ledger, check_step_name(name), due=since_epoch(when))
