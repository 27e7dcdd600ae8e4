"""Business calendars: when an office is open, and points in time counted in working time. Pure.

    Calendar(
        zone="Europe/Zurich",
        hours={"mon-fri": ("08:00-12:00", "13:00-17:00")},
        holidays={"2026-12-25": "Christmas"},
        offsets={"2026-03-29T01:00Z": 7200, "2026-10-25T01:00Z": 3600},
    )

``3 working days`` end when the office closes on the third working day behind the day on which
they begin, as deadlines are counted in law. ``6 office hours`` end when it was open that long.
The office is open while the wall clock of its zone shows an office hour of a working day: what
a change of the clocks leaves out is no time, what it repeats is open twice.

The offsets are part of the calendar, for a fold must not ask which rules of the time zones are
installed. ``actors.files.calendars`` looks them up when a file is read.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

AMOUNT_MAX: Final = 1_000
"""Working days or office hours; with the other bounds they end within a hundred years."""
HOLIDAYS_MAX: Final = 2_000
OFFSETS_MAX: Final = 500
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NS: Final = 1_000_000_000
_HOUR: Final = 3_600 * _NS
_DAY: Final = 24 * _HOUR
_OFFSET_S_MAX: Final = 16 * 3_600
_THURSDAY: Final = 3  # 1 January 1970
_FAR: Final = 1 << 62
_WORDS: Final = re.compile(r"(\d{1,4})\s+(working\s+day|office\s+hour)s?\Z")
_SPAN: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-4]):([0-5]\d)\Z")

Spans = tuple[tuple[int, int], ...]


class Working(NamedTuple):
    """An amount of working time: so many working days, or else office hours."""

    number: int
    days: bool

    @property
    def text(self) -> str:
        """The one form of it."""
        what = "working day" if self.days else "office hour"
        return f"{self.number} {what}{'' if self.number == 1 else 's'}"


@lru_cache(maxsize=1_024)
def working(text: str) -> Working | None:
    """Return what ``3 working days`` or ``6 office hours`` mean; None: it is no working time.

    Raises ValueError for an amount outside of 1 to ``AMOUNT_MAX``.
    """
    found = _WORDS.match(text.strip().lower())
    if found is None:
        return None
    count = int(found[1])
    if not 1 <= count <= AMOUNT_MAX:
        raise ValueError(f"{text.strip()!r} is out of range: give 1 to {AMOUNT_MAX}")
    return Working(count, found[2].startswith("working"))


class Calendar(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """When an office is open. Raises ValueError for what nobody can read, or is hardly open."""

    zone: Annotated[str, Meta(description="Its time zone: `Europe/Zurich`, or `UTC`.")]
    hours: Annotated[
        dict[str, str | tuple[str, ...]],
        Meta(
            description="The office hours of its working days: `mon-fri: [08:00-12:00, "
            "13:00-17:00]`."
        ),
    ]
    holidays: Annotated[
        dict[str, str], Meta(description="Dates that are no working days, each with its name.")
    ] = {}
    offsets: Annotated[
        dict[str, int],
        Meta(
            description="How many seconds its clock is ahead of UTC, from when on: looked up "
            "when the file is read, and part of the definition from then on."
        ),
    ] = {}

    def __post_init__(self) -> None:
        """Check that all of it can be read."""
        spans = _week(self.hours).values()
        if sum(end - begin for day in spans for begin, end in day) < _HOUR:
            raise ValueError(
                "hours leave it closed: it has to be open for an hour a week at least"
            )
        for what, given, limit in (
            ("holidays", self.holidays, HOLIDAYS_MAX),
            ("offsets", self.offsets, OFFSETS_MAX),
        ):
            if len(given) > limit:
                raise ValueError(f"{what} are {len(given)}, at most {limit}")
        _free(self.holidays)
        _offsets(self.offsets)

    @property
    def pinned(self) -> bool:
        """Whether it says all that counts itself."""
        return bool(self.offsets) or self.zone == "UTC"


def named(calendars: Mapping[str, Calendar], name: str) -> Calendar | None:
    """Return the calendar of that name; without a name the only one that there is."""
    if not name and len(calendars) == 1:
        return next(iter(calendars.values()))
    return calendars.get(name)


def after(calendar: Calendar, start: int, amount: Working) -> int:
    """Return when working time that begins at ``start`` ends. Both in nanoseconds since 1970."""
    office = _Office(calendar)
    if not amount.days:
        left = amount.number * _HOUR
        for _, begin, end in office.open(start):
            if end - begin >= left:
                return begin + left
            left -= end - begin
    days, last, closed = 0, office.day(start), start
    for day, _, end in office.open(start):
        if day > last:
            if days == amount.number:
                break
            days, last = days + 1, day
        closed = end
    return closed


def before(calendar: Calendar, end: int, amount: Working) -> int:
    """Return when working time has to begin that leads up to ``end``; ``after`` mirrored.

    So working days begin when the office opens, so many working days before that of ``end``.
    """
    office = _Office(calendar)
    span = 14 * _DAY
    while True:
        found = list(office.open(end - span, end))
        if amount.days:
            today = office.day(end - 1)
            opened: dict[int, int] = {}
            for day, begin, _ in found:
                if day < today:
                    opened.setdefault(day, begin)
            if len(opened) > amount.number:  # of the first one only a part may be seen
                return [*opened.values()][-amount.number]
        else:
            left = amount.number * _HOUR
            for _, begin, closed in reversed(found):
                if closed - begin >= left:
                    return closed - left
                left -= closed - begin
        span *= 2


class _Office:
    """A calendar, read."""

    def __init__(self, calendar: Calendar) -> None:
        self._week = _week(calendar.hours)
        self._free = _free(calendar.holidays)
        self._since, self._before_utc = _offsets(calendar.offsets)

    def day(self, when: int) -> int:
        """Return the date that its calendar shows, in days since 1970."""
        return (when + self._before_utc[self._at(when)]) // _DAY

    def open(self, start: int, end: int = _FAR) -> Iterator[tuple[int, int, int]]:
        """Yield when it is open, in order: the day, begin and end. The clock changes between."""
        now, at = start, self._at(start)
        while now < end:
            offset = self._before_utc[at]
            until = min(end, self._since[at + 1] if at + 1 < len(self._since) else _FAR)
            day = (now + offset) // _DAY
            while (midnight := day * _DAY - offset) < until:
                for opens, closes in self._spans(day):
                    begin, close = max(now, midnight + opens), min(until, midnight + closes)
                    if begin < close:
                        yield day, begin, close
                day += 1
            now, at = until, at + 1

    def _at(self, when: int) -> int:
        return max(0, bisect_right(self._since, when) - 1)

    def _spans(self, day: int) -> Spans:
        return () if day in self._free else self._week.get((day + _THURSDAY) % 7, ())


def _week(hours: Mapping[str, str | tuple[str, ...]]) -> dict[int, Spans]:
    """Return the office hours of each weekday, in nanoseconds since midnight."""
    found: dict[int, Spans] = {}
    for key, given in hours.items():
        first, _, last = key.partition("-")
        if first not in DAYS or (last or first) not in DAYS[DAYS.index(first) :]:
            raise ValueError(f"hours of {key[:40]!r}, which is no weekday: write mon, or mon-fri")
        spans = tuple(_span(each) for each in ((given,) if isinstance(given, str) else given))
        if any(early[1] > late[0] for early, late in pairwise(spans)):
            raise ValueError(f"hours of {key} are not one behind the other")
        for day in range(DAYS.index(first), DAYS.index(last or first) + 1):
            if day in found:
                raise ValueError(f"hours of {DAYS[day]} stand twice")
            found[day] = spans
    return found


def _span(text: str) -> tuple[int, int]:
    found = _SPAN.match(text.strip())
    if found is not None:
        begin, end = ((int(found[at]) * 60 + int(found[at + 1])) * 60 * _NS for at in (1, 3))
        if begin < end <= _DAY:
            return begin, end
    raise ValueError(f"hours {text[:40]!r} are not understood: write 08:00-12:00")


def _free(holidays: Mapping[str, str]) -> frozenset[int]:
    """Return dates as days since 1970."""
    found = [_read(f"{each}T00:00Z") for each in holidays]
    if None in found:
        raise ValueError("holidays are dates, written as 2026-12-25")
    return frozenset(each // _DAY for each in found if each is not None)


def _offsets(offsets: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Return from when on each offset counts, and the offsets; the first one counts before."""
    since: list[int] = []
    for each, offset_s in offsets.items():
        when = _read(each)
        if when is None:
            raise ValueError("offsets begin at moments, written as 2026-03-29T01:00Z")
        if abs(offset_s) > _OFFSET_S_MAX:
            raise ValueError(f"offsets of {offset_s} s are none of a time zone")
        since.append(when)
    if sorted(set(since)) != since:
        raise ValueError("offsets are not in the order of time")
    return since or [0], [each * _NS for each in offsets.values()] or [0]


def _read(text: str) -> int | None:
    """Return a minute of UTC in nanoseconds since 1970; None: it is written in another way."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    if text != f"{when.isoformat(timespec='minutes')[:16]}Z":
        return None
    return round(when.timestamp()) * _NS
