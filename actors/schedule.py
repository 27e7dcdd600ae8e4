"""Schedules: when a trigger is due, as pure functions of the time they are told.

    decide(schedule, key, position, at)     what is due in (position, at], what was missed
    next_due(schedule, position)            the first time behind a position

Cron speaks of clocks on walls: its times are counted without a zone, and each is brought to
the one moment, the two or none that it stands for in the zone (``Dst``). Times are nanoseconds
since 1970. A position is a due time, never a clock: a clock that jumps loses nothing and does
nothing twice.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from protocols.triggers import Schedule

NS: Final = 1_000_000_000
LATE_NS: Final = 60 * NS
"""A start that comes later than this was missed: only as many as ``catch_up`` says are made."""
AT_ONCE_MAX: Final = 1_000
"""Times that are dealt with in one go; the rest follows at once."""
NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS: Final = 5
_DAY_CHARS: Final = len("2026-12-31")
WALL: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a time on a wall
"""Where cron may begin to count when it does not matter."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Decision(NamedTuple):
    """What comes of a firing. ``starts`` are due times with whether they are late."""

    starts: tuple[tuple[int, bool], ...]
    skipped: int
    position: int


def decide(schedule: Schedule, key: str, position: int, at: int) -> Decision:
    """Return what is due behind ``position`` when the server's clock says ``at``.

    Times that were missed by more than a minute count as missed: the newest start, late, and
    the others are left out; of those older than the window only that there are some is told.
    """
    skipped = 0
    horizon = at - _ns(schedule.window)
    if position < horizon and not schedule.every:
        older = next_due(schedule, position)
        skipped += older is not None and older < horizon
        position = max(position, horizon - 1)
    missed: list[int] = []
    behind = at - LATE_NS - _ns(schedule.jitter)
    if behind > position:
        count, missed = _missed(schedule, position, behind, schedule.catch_up)
        kept = [each for each in missed if each >= horizon]
        skipped += count - len(kept)
        starts = [(each, True) for each in kept]
        position = max(position, behind)
    else:
        starts = []
    for due in dues(schedule, position):
        if fires(schedule, key, due) > at or len(starts) >= AT_ONCE_MAX:
            break
        starts.append((due, False))
        position = due
    return Decision(tuple(starts), skipped, position)


def dues(schedule: Schedule, after: int) -> Iterator[int]:
    """Yield the due times behind a position, in order."""
    due = next_due(schedule, after)
    while due is not None:
        yield due
        due = next_due(schedule, due)


def between(schedule: Schedule, begin: int, end: int) -> Iterator[int]:
    """Yield the due times from ``begin`` up to but not including ``end``."""
    for due in dues(schedule, begin - 1):
        if due >= end:
            return
        yield due


def next_due(schedule: Schedule, after: int) -> int | None:
    """Return the first due time behind a position; None: there is no more."""
    if schedule.every is not None:
        every = _ns(schedule.every)
        due: int | None = (after // every + 1) * every
    else:
        due = _next(crontab(schedule.cron), schedule, after)
    end = until(schedule)
    return None if due is None or (end and due > end) else due


def fires(schedule: Schedule, key: str, due: int) -> int:
    """Return when a due time fires: the jitter is made of the trigger and the time."""
    spread = _ns(schedule.jitter)
    if not spread:
        return due
    drawn = hashlib.sha256(f"{key}|{due}".encode()).digest()
    return due + int.from_bytes(drawn[:8], "big") % spread


def crontab(text: str) -> str:
    """Return five fields. Raises ValueError for what is none, or never comes."""
    plain = NICKNAMES.get(text.strip().lower(), text).upper()
    if len(plain.split()) != _FIELDS:
        raise ValueError(
            f"cron {text[:40]!r} has not five fields: minute, hour, day, month, weekday"
        )
    _parsed(plain)
    return " ".join(plain.split())


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone {name[:60]!r} is not known: write one such as UTC") from error


@lru_cache(maxsize=1_024)
def until(schedule: Schedule) -> int:
    """Return the last moment of a schedule; 0: it has no end. Raises ValueError.

    A day alone is meant with its last second, in the zone of the schedule.
    """
    text = schedule.until
    if not text:
        return 0
    zone = zone_of(schedule.zone)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"until {text[:40]!r} is no day or time") from error
    if len(text) == _DAY_CHARS:
        moment += timedelta(days=1, seconds=-1)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return _to_ns(moment)


def _missed(schedule: Schedule, after: int, end: int, keep: int) -> tuple[int, list[int]]:
    """Return how many times are in (after, end], and the newest of them."""
    last = until(schedule)
    end = min(end, last) if last else end
    if schedule.every is not None:
        every = _ns(schedule.every)
        count = max(0, end // every - after // every)
        newest = end // every
        return count, [each * every for each in range(newest - min(keep, count) + 1, newest + 1)]
    count, kept = 0, deque[int](maxlen=keep)
    for due in between(schedule, after + 1, end + 1):
        count += 1
        kept.append(due)
    return count, [*kept]


def _next(cron: str, schedule: Schedule, after: int) -> int | None:
    """Return the first moment behind another one that a crontab stands for in its zone.

    The first moments of rising wall times rise as well; only the second ones, of an hour that
    comes twice, lie behind those of later wall times. So the first moment found is the next,
    unless a second one waits.
    """
    zone = zone_of(schedule.zone)
    dst = schedule.dst
    by_the_clock = not any(each.startswith("*") for each in cron.split()[:2])
    shifts = by_the_clock and dst.forward == "shift"
    both = not by_the_clock or dst.back == "both"
    now = (_EPOCH + timedelta(microseconds=after // 1_000)).astimezone(zone)
    wall = now.replace(tzinfo=None, fold=0)
    overlap = _overlap(wall, zone)
    if overlap:  # second moments of what lies before on the wall may be ahead
        wall -= overlap
    second: int | None = None
    # The step before lets a time that falls on the very wall time be seen.
    for each in CronSim(cron, wall - timedelta(minutes=1)):
        moment = _first(each, zone, shifts=shifts)
        if moment is not None and moment > after:
            return moment if second is None else min(moment, second)
        if both and second is None and _overlap(each, zone):
            again = _to_ns(each.replace(tzinfo=zone, fold=1))
            second = again if again > after else None
    return second


def _first(wall: datetime, zone: ZoneInfo, *, shifts: bool) -> int | None:
    """Return the first moment at which clocks show a time; None: they never do."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return _to_ns(moment)
    if not shifts:
        return None
    # Clocks jump over it. With the offset behind the change it lies before the change, with that
    # before the change behind it: the change is found in between.
    low = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    high = moment
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return _to_ns(high.replace(microsecond=0))


def _overlap(wall: datetime, zone: ZoneInfo) -> timedelta:
    """Return by how much a time comes twice; nothing when it comes once or never."""
    first = wall.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    second = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    return max(first - second, timedelta())


@lru_cache(maxsize=1_024)
def _parsed(cron: str) -> None:
    try:
        CronSim(cron, WALL)
    except CronSimError as error:
        raise ValueError(f"cron {cron[:40]!r}: {str(error).lower()}") from error


def _ns(duration: float | str | None) -> int:
    return 0 if duration is None else int(float(duration) * NS)


def _to_ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
