"""What the clocks of a time zone show, looked up once and written into calendars."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from protocols.calendars import Calendar
from protocols.errors import ConfigurationError

FIRST: Final = datetime(2020, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2061, 1, 1, tzinfo=UTC)
"""Between the two offsets are looked up; the last one counts on."""


def pinned(calendars: Mapping[str, Calendar]) -> dict[str, Calendar]:
    """Return calendars with their offsets, as far as their zones are known."""
    return {name: _pinned(each) for name, each in calendars.items()}


def offsets(zone: str) -> dict[str, int]:
    """Return how many seconds clocks are ahead of UTC, from when on.

    Raises ConfigurationError for a zone that this machine does not know.
    """
    try:
        rules = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigurationError(
            f"there is no time zone {zone[:60]!r}", hint="such as Europe/Zurich, or UTC"
        ) from None
    now = FIRST
    found = {_text(now): _offset_s(rules, now)}
    while now < LAST:
        then = now + timedelta(days=1)
        if _offset_s(rules, now) != _offset_s(rules, then):
            change = _change(rules, now, then)
            found[_text(change)] = _offset_s(rules, change)
        now = then
    return found


def _pinned(calendar: Calendar) -> Calendar:
    if calendar.pinned:
        return calendar
    try:
        return msgspec.structs.replace(calendar, offsets=offsets(calendar.zone))
    except ConfigurationError:  # told with its place, by who checks the file
        return calendar


def _change(rules: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the minute at which the clocks change between two moments."""
    while after - before > timedelta(minutes=1):
        middle = before + (after - before) // timedelta(minutes=2) * timedelta(minutes=1)
        if _offset_s(rules, middle) == _offset_s(rules, before):
            before = middle
        else:
            after = middle
    return after


def _offset_s(rules: ZoneInfo, when: datetime) -> int:
    ahead = when.astimezone(rules).utcoffset()
    assert ahead is not None
    return round(ahead.total_seconds())


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%MZ")
