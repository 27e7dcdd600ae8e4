"""Who is chosen among candidates, and in what time."""

from __future__ import annotations

from time import perf_counter

import pytest

from actors.routing.flow import STALE_S, Flow
from actors.routing.ranking import Option, best, first, options_of, told
from actors.routing.router import Presence, Route
from protocols.failure import Failure
from protocols.flow import Hold
from protocols.routes import Candidate, Choices

ILL = Failure(kind="timeout", message="")


def options(locality: str = "", /, **factors: float) -> tuple[Option, ...]:
    """Return candidates that are there, all of locality ``eu`` but ``far``."""
    candidates = [Candidate(n, f, "us" if n == "far" else "eu") for n, f in factors.items()]
    routes = []
    for each in candidates:
        route = Route(each.service, "op", f"movant.svc.{each.service}.op", Flow(each.service))
        route.flow.ranked = True
        route.presence = Presence.PRESENT
        routes.append(route)
    return options_of(Choices("r", tuple(candidates), ranked=True), routes, locality)


def answer(option: Option, took_s: float, times: int = 40, now: float = 100.0) -> None:
    """Let a candidate have answered."""
    for _ in range(times):
        option.route.flow.answered(None, now - took_s, now)


def test_the_quicker_one_wins() -> None:
    """As measured, with equal words in the table."""
    slow, quick = found = options(a=1, b=1)
    answer(slow, 0.2)
    answer(quick, 0.02)

    assert best(found, 100.0) == 1


def test_what_the_table_says_counts_as_well() -> None:
    """Twice as quick, but five times as expensive."""
    dear, cheap = found = options(a=0.2, b=1)
    answer(dear, 0.05)
    answer(cheap, 0.1)

    assert best(found, 100.0) == 1


def test_one_that_fails_often_loses_until_that_is_long_ago() -> None:
    """A measurement of half a minute ago speaks against nobody: it gets one try."""
    ill, well = found = options(a=1, b=1)
    answer(well, 0.05)
    answer(ill, 0.05)
    for _ in range(9):
        ill.route.flow.answered(ILL, 99.0, 100.0)
    ill.route.flow.breaker.close()
    ill.route.flow.look()
    later = 100.0 + STALE_S + 1.0
    lost = best(found, 100.0)

    answer(well, 0.05, now=later)
    tried = best(found, later)
    ill.route.flow.tried(later)

    assert (lost, tried, best(found, later)) == (1, 0, 1)


def test_one_that_was_never_measured_gets_a_try() -> None:
    """However quick the other one is; the rest goes on where it was until that is answered."""
    quick, _ = found = options(a=1, b=1)
    answer(quick, 0.001)

    tried = best(found, 100.0)
    found[1].route.flow.tried(100.0)

    assert (tried, best(found, 100.0)) == (1, 0)


def test_a_service_elsewhere_has_to_be_twice_as_good() -> None:
    """A daemon without a locality of its own does not care."""
    near_by = options("eu", far=1.5, near=1)
    anywhere = options("", far=1.5, near=1)

    assert best(near_by, 1.0) == 1
    assert best(anywhere, 1.0) == 0


def test_who_cannot_be_asked_is_not_chosen() -> None:
    """Absent, paused, or with an open breaker."""
    absent, paused, open_, last = found = options(a=9, b=8, c=7, d=1)
    absent.route.presence = Presence.ABSENT
    paused.route.flow.say(Hold(kind="service", name="b", paused=True), 1.0)
    open_.route.flow.force(Hold(kind="breaker", name="c", forced="open"), 1.0)

    chosen = best(found, 2.0)
    states = [each.state for each in told(found, 2.0)]
    last.route.presence = Presence.ABSENT

    assert chosen == 3
    assert states == ["absent", "paused", "open", ""]
    assert best(found, 2.0) == -1


def test_who_has_failed_for_this_step_goes_last() -> None:
    """Unless the others are ten times worse."""
    found = options(a=2, b=1)

    assert best(found, 1.0, failed=("a",)) == 1
    assert best(options(a=20, b=1), 1.0, failed=("a",)) == 0


@pytest.mark.parametrize(("gone", "chosen"), [("", 1), ("b", 2), ("bc", 0), ("abc", -1)])
def test_an_order_goes_round_from_the_wanted_one(gone: str, chosen: int) -> None:
    """The next of the table that can be asked."""
    found = options(a=1, b=1, c=1)
    for each in found:
        each.route.presence = Presence.ABSENT if each.service in gone else Presence.PRESENT

    assert first(found, 1.0, "b") == chosen


def test_a_choice_takes_far_less_than_a_millisecond() -> None:
    """Sixteen candidates with measurements; the best of many looks, as others may compute too."""
    found = options("", **{f"s{n}": n + 1.0 for n in range(16)})
    took = []
    for _ in range(200):
        began = perf_counter()
        best(found, 1.0)
        told(found, 1.0)
        took.append(perf_counter() - began)

    assert min(took) < 0.001
