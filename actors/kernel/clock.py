"""Time as the kernel counts it: nanoseconds since 1970, in UTC. Nothing here asks a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Final

from protocols.calendars import Calendar, Working, after, before, working
from protocols.errors import ConfigurationError

NS: Final = 1_000_000_000
DELAY_S_MAX: Final = 100 * 366 * 86_400.0
"""Longest delay of a timer; beyond it the due time would leave 64-bit nanoseconds."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def nanoseconds(seconds: float) -> int:
    """Return ``seconds`` as whole nanoseconds. Raises ValueError outside of 0 to 100 years."""
    if not isfinite(seconds) or not 0 <= seconds <= DELAY_S_MAX:
        raise ValueError(f"{seconds!r} is no delay: give seconds from 0 to {DELAY_S_MAX:.0f}")
    return round(seconds * NS)


def later(now: int, span: float | str, calendar: Calendar | str | None) -> int:
    """Return when a duration, or working time, that begins ``now`` ends, in nanoseconds."""
    if not isinstance(span, str):
        return now + nanoseconds(float(span))
    found, amount = worked(span, calendar)
    return after(found, now, amount)


def earlier(due: int, span: float | str, calendar: Calendar | str | None) -> int:
    """Return when what leads up to ``due`` begins: ``later`` mirrored."""
    if not isinstance(span, str):
        return due - nanoseconds(float(span))
    found, amount = worked(span, calendar)
    return before(found, due, amount)


def worked(span: str, calendar: Calendar | str | None) -> tuple[Calendar, Working]:
    """Return what working time means. Raises ValueError, and ConfigurationError as ``pinned``."""
    found = working(span)
    if found is None:
        raise ValueError(f"{span[:40]!r} is no working time: such as 3 working days")
    return pinned(calendar), found


def pinned(calendar: Calendar | str | None) -> Calendar:
    """Return a calendar that says all itself. Raises ConfigurationError."""
    if not isinstance(calendar, Calendar):
        raise ConfigurationError("working time needs a calendar", hint="say which: calendar")
    if not calendar.pinned:
        raise ConfigurationError(
            f"the calendar of {calendar.zone} has no offsets: what time it was there must not "
            "depend on where the workflow is run",
            hint=f"movant calendar {calendar.zone} prints them",
        )
    return calendar


@lru_cache(maxsize=256)
def moment(now: int) -> datetime:
    """Return nanoseconds since 1970 as an aware datetime, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=now // 1000)


def since_epoch(when: datetime) -> int:
    """Return an aware datetime as nanoseconds since 1970. Raises ValueError for a naive one."""
    if when.tzinfo is None:
        raise ValueError("a datetime without a time zone is no point in time: give it tzinfo")
    return (when - _EPOCH) // _MICROSECOND * 1000
