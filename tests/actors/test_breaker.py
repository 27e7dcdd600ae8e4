"""When a breaker opens, lets one try, and closes; on virtual time."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.routing.breaker import FORGET_S, Breaker, says_ill
from protocols.error_kinds import ALIASES, KINDS, classify
from protocols.failure import TIMEOUT, Failure
from protocols.flow import FlowSettings

SETTINGS = FlowSettings(
    breaker_failures=3, breaker_of=5, breaker_open_s=10.0, breaker_open_max_s=40.0
)


def opened(at: float = 1.0) -> Breaker:
    """Return a breaker that has just opened."""
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(0.0, at)
    return breaker


def test_it_opens_when_enough_of_the_last_answers_say_ill() -> None:
    """Three of the last five: the first failure has to be among them still."""
    breaker = Breaker(SETTINGS)

    told = [breaker.failed(0.0, 1.0)]
    breaker.succeeded(0.0, 1.0)
    told.append(breaker.failed(0.0, 1.0))
    breaker.succeeded(0.0, 1.0)
    told.append(breaker.failed(0.0, 1.0))

    assert told == [False, False, True]
    assert breaker.state == "open"
    assert breaker.opened == 1


def test_failures_among_many_successes_do_not_open_it() -> None:
    """One in three is no dead service."""
    breaker = Breaker(SETTINGS)

    for _ in range(100):
        breaker.failed(0.0, 1.0)
        breaker.succeeded(0.0, 1.0)
        breaker.succeeded(0.0, 1.0)

    assert breaker.state == "closed"


def test_five_successes_make_it_calm_again() -> None:
    """From then on nobody has to tell it of successes."""
    breaker = Breaker(SETTINGS)
    breaker.failed(0.0, 1.0)

    calm = []
    for _ in range(5):
        calm.append(breaker.calm)
        breaker.succeeded(0.0, 1.0)

    assert not any(calm)
    assert breaker.calm


def test_old_failures_are_forgotten() -> None:
    """A failure an hour ago says nothing about now."""
    breaker = Breaker(SETTINGS)
    for number in range(10):
        breaker.failed(0.0, number * (FORGET_S + 1))

    assert breaker.state == "closed"


def test_one_request_tries_and_its_success_closes() -> None:
    """After ten seconds one may go, the next one only when that one is answered or lost."""
    breaker = opened(at=1.0)

    waits = [breaker.wait_s(1.0), breaker.wait_s(11.0)]
    breaker.went(11.0)
    second = breaker.wait_s(11.0)
    closed = breaker.succeeded(11.0, 12.0)

    assert waits == [10.0, 0.0]
    assert second == 10.0
    assert closed
    assert breaker.wait_s(12.0) == 0.0


def test_each_failed_try_doubles_the_time_up_to_a_limit() -> None:
    """Who stays ill is asked ever more rarely."""
    breaker = opened(at=0.0)
    now, waits = 0.0, []
    for _ in range(4):
        now += breaker.wait_s(now)
        assert breaker.wait_s(now) == 0.0
        breaker.went(now)
        breaker.failed(now, now)
        waits.append(breaker.wait_s(now))

    assert waits == [20.0, 40.0, 40.0, 40.0]


def test_what_was_sent_before_says_nothing_about_the_try() -> None:
    """Answers to older requests neither close a breaker nor count as a failed try."""
    breaker = opened(at=1.0)
    assert breaker.wait_s(11.0) == 0.0

    closed, again = breaker.succeeded(0.5, 12.0), breaker.failed(0.5, 12.0)

    assert (closed, again) == (False, False)
    assert breaker.state == "half_open"


def test_a_try_that_is_never_answered_does_not_close_the_way() -> None:
    """Its run may be cancelled: the next one goes after the same time."""
    breaker = opened(at=0.0)
    assert breaker.wait_s(10.0) == 0.0

    breaker.went(10.0)

    assert breaker.wait_s(20.0) == 0.0


def test_forced_by_hand_it_does_not_decide() -> None:
    """Open asks nobody, closed asks whatever is answered."""
    breaker = Breaker(SETTINGS)

    breaker.forced = "open"
    open_ = breaker.wait_s(1.0)
    breaker.forced = "closed"
    for _ in range(9):
        breaker.failed(0.0, 1.0)

    assert open_ == inf
    assert breaker.wait_s(1.0) == 0.0


def test_it_can_be_switched_off() -> None:
    """No number of failures opens it then."""
    breaker = Breaker(FlowSettings(breaker_failures=0))

    assert not any(breaker.failed(0.0, 1.0) for _ in range(99))
    assert breaker.calm


@pytest.mark.parametrize(
    ("failure", "ill"),
    [
        (Failure(kind=TIMEOUT, message=""), True),
        (Failure(kind="no_responders", message=""), True),
        (Failure(kind="failed", message=""), True),
        (Failure(kind="odd", message="", unknown=True), True),
        (Failure(kind="card_declined", message=""), False),
        (Failure(kind="refused", message="", retryable=False), False),
        (Failure(kind="failed", message="", retryable=False), False),
        (Failure(kind="failed", message="", retry_after_s=3.0), False),
        (Failure(kind="failed", message="", code=503), True),
        (Failure(kind="failed", message="", code=504), True),
        (Failure(kind="failed", message="", code=429), False),
        (Failure(kind="failed", message="", code=422), False),
        (Failure(kind="unknown", message="", unknown=True, code=500), True),
    ],
)
def test_only_some_failures_say_that_a_service_is_ill(failure: Failure, ill: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """No answer, an unknown outcome, "not able": never a refusal, never a business failure."""
    assert says_ill(failure) is ill


ILL = {"timeout": True, "network": True, "system": True, "no_responders": True}


@pytest.mark.parametrize("word", [*KINDS, *ALIASES])
def test_a_breaker_counts_what_a_directive_calls_a_fault_of_the_service(word: str) -> None:
    """One classification for both: whatever word a service uses for the same root cause."""
    failure = Failure(kind=word, message="")

    assert says_ill(failure) is ILL.get(classify(failure), False)
    assert not says_ill(replace(failure, retryable=False))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=200))
def test_a_breaker_never_stays_shut_for_ever(steps: list[tuple[bool, float]]) -> None:
    """Whatever happens, a request may go within the longest time, and a success closes it."""
    breaker = Breaker(SETTINGS)
    now = 0.0
    for failed, pause in steps:
        now += pause
        if breaker.wait_s(now) == 0.0:
            breaker.went(now)
            if failed:
                breaker.failed(now, now)
            else:
                breaker.succeeded(now, now)

    now += SETTINGS.breaker_open_max_s
    assert breaker.wait_s(now) == 0.0
    breaker.went(now)
    breaker.succeeded(now, now)
    assert breaker.state == "closed"
