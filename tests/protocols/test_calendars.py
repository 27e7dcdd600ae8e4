"""Working time: against a count of minutes, over changes of clocks, and what is no calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.files.calendars import offsets
from protocols.calendars import AMOUNT_MAX, Calendar, Working, after, before, working
from protocols.errors import ConfigurationError

SECOND = 1_000_000_000
MINUTE = timedelta(minutes=1)
ZONES = (
    "Europe/Zurich",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",  # other dates each year
    "America/Havana",  # at midnight
    "Asia/Kathmandu",  # none, and no whole hours
)
OFFSETS = {zone: offsets(zone) for zone in ZONES}
HOLIDAYS = {"2026-03-30": "", "2026-10-26": "", "2026-11-02": "", "2026-03-09": ""}
WEEKS: tuple[dict[str, str | tuple[str, ...]], ...] = (
    {"mon-fri": ("08:00-12:00", "13:00-17:00"), "sat": "09:00-10:30"},
    {"mon-sun": ("00:00-02:30", "02:45-24:00")},
    {"sun": ("00:30-02:15", "23:00-24:00"), "tue": "12:00-12:01"},
)


def at(text: str, zone: str = "Europe/Zurich") -> int:
    """Return a moment of the clock on the wall as nanoseconds."""
    when = datetime.fromisoformat(text)
    when = when if when.tzinfo else when.replace(tzinfo=ZoneInfo(zone))
    return round(when.timestamp()) * SECOND


def moment(when: int) -> datetime:
    """Return nanoseconds as a moment."""
    return datetime.fromtimestamp(when // SECOND, UTC)


def office(zone: str = "Europe/Zurich", week: int = 0) -> Calendar:
    """Return a calendar."""
    return Calendar(zone=zone, hours=WEEKS[week], holidays=HOLIDAYS, offsets=OFFSETS[zone])


def is_open(calendar: Calendar, when: datetime) -> bool:
    """Tell it of one moment, the way that people look at a clock."""
    wall = when.astimezone(ZoneInfo(calendar.zone))
    if wall.date().isoformat() in calendar.holidays:
        return False
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    for key, spans in calendar.hours.items():
        first, _, last = key.partition("-")
        if names.index(first) <= wall.weekday() <= names.index(last or first):
            for span in (spans,) if isinstance(spans, str) else spans:
                opens, closes = span.split("-")
                if opens <= wall.strftime("%H:%M") < closes:
                    return True
    return False


def minutes(calendar: Calendar, when: datetime, step: timedelta) -> Iterator[datetime]:
    """Yield the minutes in which it is open."""
    if step < timedelta():
        when += step
    while True:
        if is_open(calendar, when):
            yield when
        when += step


def counted(calendar: Calendar, start: datetime, amount: Working, step: timedelta) -> datetime:
    """Return the end of working time, counted minute by minute; backwards with a step below 0."""
    zone = ZoneInfo(calendar.zone)
    ahead = step > timedelta()
    found = start + step if ahead else start
    today, days, count = (start if ahead else start - MINUTE).astimezone(zone).date(), 0, 0
    for minute in minutes(calendar, start, step):
        if not amount.days:
            count += 1
            if count == amount.number * 60:
                return minute + MINUTE if ahead else minute
            continue
        day = minute.astimezone(zone).date()
        if day > today if ahead else day < today:
            days, today = days + 1, day
            if days > amount.number:
                break
        if days:
            found = minute
    return found + MINUTE if ahead else found


STARTS = st.builds(
    lambda change, offset: datetime.fromisoformat(change) + timedelta(minutes=offset),
    st.sampled_from(
        ("2026-03-29T01:00+00:00", "2026-10-25T01:00+00:00", "2026-03-08T05:00+00:00",
         "2026-11-01T05:00+00:00", "2026-02-15T02:00+00:00", "2026-04-04T15:00+00:00")
    ),
    st.integers(-4 * 1440, 2 * 1440),
)  # fmt: skip


@settings(max_examples=20)
@given(
    st.sampled_from(ZONES),
    st.integers(0, len(WEEKS) - 1),
    STARTS,
    st.builds(Working, st.integers(1, 4), st.booleans()),
)
def test_what_is_computed_is_what_a_count_of_minutes_gives(
    zone: str, week: int, start: datetime, amount: Working
) -> None:
    """Near changes of the clocks, forward and backward."""
    calendar, now = office(zone, week), round(start.timestamp()) * SECOND
    assert moment(after(calendar, now, amount)) == counted(calendar, start, amount, MINUTE)
    assert moment(before(calendar, now, amount)) == counted(calendar, start, amount, -MINUTE)


@pytest.mark.parametrize(
    ("start", "amount", "end"),
    [
        ("2026-11-27T10:00", "1 working day", "2026-11-28T10:30"),  # Friday, Saturday is one
        ("2026-11-27T18:00", "3 working days", "2026-12-01T17:00"),
        ("2026-11-29T10:00", "1 Working Day", "2026-11-30T17:00"),  # Sunday
        ("2026-11-27T10:00", "6 office hours", "2026-11-27T17:00"),  # exactly at closing
        ("2026-11-27T10:00", "7 office hours", "2026-11-28T10:00"),
        ("2026-11-27T12:00", "1 office hour", "2026-11-27T14:00"),
        ("2026-10-23T16:30", "1 working day", "2026-10-24T10:30"),
        ("2026-10-24T10:30", "1 working day", "2026-10-27T17:00"),  # holiday, clocks changed
    ],
)
def test_deadlines_are_counted_as_people_count_them(start: str, amount: str, end: str) -> None:
    """Days of a working week with its holidays, and office hours."""
    found = working(amount)
    assert found is not None
    assert moment(after(office(), at(start), found)) == moment(at(end))


def test_nanoseconds_and_the_longest_times_are_kept() -> None:
    """A calendar that is open for one hour a week."""
    weekly = Calendar(zone="UTC", hours={"wed": "08:00-09:00"})
    start = at("2026-12-02T08:30+00:00") + 1
    assert after(weekly, start, Working(1, days=False)) == at("2026-12-09T08:30+00:00") + 1
    end = after(weekly, start, Working(AMOUNT_MAX, days=True))
    assert end == at("2026-12-02T09:00+00:00") + AMOUNT_MAX * 7 * 86_400 * SECOND
    assert before(weekly, end, Working(AMOUNT_MAX, days=True)) == at("2026-12-02T08:00+00:00")
    assert before(weekly, end, Working(AMOUNT_MAX + 1, days=False)) > at("2026-12-02T07:59+00:00")


@pytest.mark.parametrize("zone", ZONES)
def test_the_offsets_are_those_of_the_zone_at_each_change(zone: str) -> None:
    """All changes until 2061, and every 37 hours between."""
    rules = ZoneInfo(zone)
    rows = [(datetime.fromisoformat(since), ahead) for since, ahead in OFFSETS[zone].items()]
    for (_, old), (since, new) in pairwise(rows):
        ahead = [
            (since + d).astimezone(rules).utcoffset() for d in (-timedelta(seconds=1), MINUTE)
        ]
        assert ahead == [timedelta(seconds=old), timedelta(seconds=new)]
    when, at_row = rows[0][0], 0
    while when < datetime(2061, 1, 1, tzinfo=UTC):
        while at_row + 1 < len(rows) and rows[at_row + 1][0] <= when:
            at_row += 1
        assert when.astimezone(rules).utcoffset() == timedelta(seconds=rows[at_row][1])
        when += timedelta(hours=37)
    with pytest.raises(ConfigurationError, match="no time zone"):
        offsets("../etc/passwd")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"hours": {}}, "hours leave it closed"),
        ({"hours": {"mon": "08:00-08:59"}}, "hours leave it closed"),
        ({"hours": {"monday": "08:00-12:00"}}, "no weekday"),
        ({"hours": {"fri-mon": "08:00-12:00"}}, "no weekday"),
        ({"hours": {"mon-wed": "08:00-12:00", "tue": "09:00-11:00"}}, "stand twice"),
        ({"hours": {"mon": "12:00-08:00"}}, "not understood"),
        ({"hours": {"mon": "08:00-24:30"}}, "not understood"),
        ({"hours": {"mon": ("08:00-12:00", "11:00-14:00")}}, "one behind the other"),
        ({"holidays": {"25.12.2026": ""}}, "holidays are dates"),
        ({"holidays": {"2026-W10-1": ""}}, "holidays are dates"),
        ({"offsets": {"2026-01-01T00:00": 0}}, "offsets begin at moments"),
        ({"offsets": {"2026-01-01": 0}}, "offsets begin at moments"),
        ({"offsets": {"2026-01-01T00:00Z": 90_000}}, "none of a time zone"),
        ({"offsets": {"2026-01-01T00:00Z": 0, "2025-01-01T00:00Z": 0}}, "order of time"),
    ],
)
def test_what_is_no_calendar_is_refused(wrong: dict[str, dict[str, str]], told: str) -> None:
    """Each mistake is told by the name of its field."""
    with pytest.raises(ValueError, match=told):
        Calendar(**{"zone": "UTC", "hours": {"mon": "08:00-12:00"}, **wrong})  # type: ignore[arg-type]


def test_amounts_are_bounded_and_other_durations_are_none() -> None:
    """The words, and their bounds."""
    assert working("3  working days") == working("3 WORKING DAY") == Working(3, days=True)
    assert working("2d") is working("working days") is None
    for wrong in ("0 working days", "1001 office hours"):
        with pytest.raises(ValueError, match="out of range"):
            working(wrong)
