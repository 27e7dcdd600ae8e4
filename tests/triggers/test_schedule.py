"""When a schedule is due: zones, both nights of a year, outages, jitter. No clock is read."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest

from actors import schedule
from actors.schedule import NS, Decision, between, decide, dues, fires, next_due
from protocols.triggers import Dst, Schedule

ZURICH = "Europe/Zurich"
HOUR = 3_600 * NS


def at(text: str) -> int:
    """Return a moment in nanoseconds since 1970; UTC when it does not say."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * NS


def shown(due: int) -> str:
    """Return a moment as UTC, to the minute."""
    return f"{datetime.fromtimestamp(due / NS, UTC):%m-%d %H:%M}"


def times(given: Schedule, begin: str, end: str) -> list[str]:
    """Return what is due from one moment up to another one."""
    return [shown(each) for each in between(given, at(begin), at(end))]


def test_a_time_of_the_day_is_that_of_its_zone() -> None:
    """Nine in Zurich is eight or seven in UTC."""
    nine = Schedule(cron="0 9 * * *", zone=ZURICH)

    assert times(nine, "2026-01-10", "2026-01-12") == ["01-10 08:00", "01-11 08:00"]
    assert times(nine, "2026-07-10", "2026-07-11") == ["07-10 07:00"]


@pytest.mark.parametrize(
    ("forward", "due"),
    [
        # 02:30 does not exist on 29 March 2026: clocks go from 02:00 to 03:00, at 01:00 UTC.
        ("shift", ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        ("skip", ["03-28 01:30", "03-30 00:30"]),
    ],
)
def test_a_time_that_does_not_exist(forward: str, due: list[str]) -> None:
    """It comes at the change, or not at all: as declared."""
    half = Schedule(cron="30 2 * * *", zone=ZURICH, dst=Dst(forward=forward))  # type: ignore[arg-type]

    assert times(half, "2026-03-28", "2026-03-31") == due


@pytest.mark.parametrize(
    ("back", "due"),
    [
        # 02:30 comes twice on 25 October 2026: at 00:30 and at 01:30 UTC.
        ("once", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        ("both", ["10-24 00:30", "10-25 00:30", "10-25 01:30", "10-26 01:30"]),
    ],
)
def test_a_time_that_comes_twice(back: str, due: list[str]) -> None:
    """The first of the two, or both: as declared."""
    half = Schedule(cron="30 2 * * *", zone=ZURICH, dst=Dst(back=back))  # type: ignore[arg-type]

    assert times(half, "2026-10-24", "2026-10-27") == due


def test_several_times_in_the_hour_that_comes_twice_keep_their_order() -> None:
    """First all of the first hour, then all of the second one."""
    half = Schedule(cron="0,30 2 * * *", zone=ZURICH, dst=Dst(back="both"))

    assert times(half, "2026-10-25", "2026-10-26") == [
        "10-25 00:00",
        "10-25 00:30",
        "10-25 01:00",
        "10-25 01:30",
    ]


@pytest.mark.parametrize("night", ["2026-03-28T23:00", "2026-10-24T22:00"])
def test_what_comes_every_hour_goes_by_time_as_it_passes(night: str) -> None:
    """No gap of two hours, no two in one: whatever the clocks on the walls say."""
    hourly = Schedule(cron="15 * * * *", zone=ZURICH)
    found = [*islice(dues(hourly, at(night)), 6)]

    assert {later - earlier for earlier, later in pairwise(found)} == {HOUR}


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia"])
@pytest.mark.parametrize("cron", ["*/30 * * * *", "30 0 * * *", "15 2 1 * *"])
def test_times_rise_and_each_is_found_from_anywhere(zone: str, cron: str) -> None:
    """Half-hour changes, a change at midnight, a day that a country left out."""
    given = Schedule(cron=cron, zone=zone, dst=Dst(back="both"))
    found = [*islice(dues(given, at("2011-12-28")), 200)]

    assert all(earlier < later for earlier, later in pairwise(found))
    for earlier, later in pairwise(found):
        assert next_due(given, later - 1) == later
        assert next_due(given, (earlier + later) // 2) == later


def test_the_end_is_the_last_moment() -> None:
    """A day alone is meant with its evening, in its zone."""
    ends = Schedule(cron="30 23 * * *", zone=ZURICH, until="2026-01-11")

    assert times(ends, "2026-01-10", "2026-02-01") == ["01-10 22:30", "01-11 22:30"]
    assert next_due(ends, at("2026-01-11T22:30")) is None


@pytest.mark.parametrize("wrong", ["0 9 * *", "0 0 9 * * *", "61 * * * *", "0 0 30 2 *", "", "@"])
def test_a_crontab_that_is_none_is_refused(wrong: str) -> None:
    """Six fields mean different things to different programs."""
    with pytest.raises(ValueError, match="cron"):
        schedule.crontab(wrong)


MINUTELY = Schedule(cron="* * * * *", catch_up=2)


def test_what_is_due_now_starts_and_nothing_else() -> None:
    """In time, at the second: nothing is late."""
    found = decide(MINUTELY, "k", at("2026-05-01T10:00"), at("2026-05-01T10:01"))

    assert found == Decision(((at("2026-05-01T10:01"), False),), 0, at("2026-05-01T10:01"))


def test_after_an_outage_the_newest_start_late_and_the_others_are_left_out() -> None:
    """Ten minutes missed: two of them are made up for, and what is due now is not late."""
    found = decide(MINUTELY, "k", at("2026-05-01T10:00"), at("2026-05-01T10:10"))

    assert [(shown(due), late) for due, late in found.starts] == [
        ("05-01 10:08", True),
        ("05-01 10:09", True),
        ("05-01 10:10", False),
    ]
    assert found.skipped == 7


def test_what_is_older_than_the_window_is_left_out() -> None:
    """An outage of a year does not start last year's reports."""
    daily = Schedule(cron="0 9 * * *", window="2h", catch_up=5)

    found = decide(daily, "k", at("2025-05-01"), at("2026-05-01T12:00"))
    soon = decide(daily, "k", at("2026-04-30T10:00"), at("2026-05-01T10:30"))

    assert (found.starts, found.skipped) == ((), 1)
    assert soon.starts == ((at("2026-05-01T09:00"), True),)


def test_a_second_look_at_the_same_time_finds_nothing() -> None:
    """A firing that comes twice, or a server's clock that was put back an hour."""
    first = decide(MINUTELY, "k", at("2026-05-01T10:00"), at("2026-05-01T10:01"))

    for again in (at("2026-05-01T10:01"), at("2026-05-01T09:01")):
        found = decide(MINUTELY, "k", first.position, again)
        assert (found.starts, found.skipped) == ((), 0)
        assert found.position == first.position


@pytest.mark.parametrize("jump", [-HOUR, 0, HOUR])
def test_a_clock_that_jumps_an_hour_loses_nothing_and_does_nothing_twice(jump: int) -> None:
    """The clock goes a minute at a time, and once an hour on or back."""
    hourly = Schedule(cron="*/10 * * * *", catch_up=100)
    position = clock = at("2026-05-01T10:00")
    begun: list[int] = []

    for minute in range(300):
        clock += 60 * NS + (jump if minute == 100 else 0)
        found = decide(hourly, "k", position, clock)
        begun += [due for due, _ in found.starts]
        position = found.position
        assert not found.skipped

    assert begun == [*between(hourly, at("2026-05-01T10:01"), max(begun) + 1)]


def test_multiples_of_a_duration_are_counted_without_looking_at_each() -> None:
    """A year of seconds."""
    every = Schedule(every="1s", catch_up=3, window="1h")

    found = decide(every, "k", at("2025-05-01"), at("2026-05-01"))

    assert len([due for due, late in found.starts if late]) == 3
    assert len(found.starts) == 63
    assert found.skipped == 365 * 86_400 - 63


def test_jitter_is_the_same_for_one_time_and_differs_between_triggers() -> None:
    """So that two daemons agree, and a thousand triggers at nine do not start at once."""
    spread = Schedule(cron="0 9 * * *", jitter="10m")
    due = at("2026-05-01T09:00")

    assert fires(spread, "a", due) == fires(spread, "a", due)
    assert len({fires(spread, str(number), due) for number in range(20)}) > 15
    assert all(due <= fires(spread, str(number), due) < due + 600 * NS for number in range(20))
    early = decide(spread, "a", due - HOUR, fires(spread, "a", due) - 1)
    in_time = decide(spread, "a", due - HOUR, fires(spread, "a", due))
    assert (early.starts, in_time.starts) == ((), ((due, False),))
