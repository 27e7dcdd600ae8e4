"""What a service's flow lets go, and what it learns from answers; on virtual time."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from actors.routing.flow import RETRY_AFTER_S_MAX, Flow
from actors.routing.limits import Bucket, Ramp
from protocols.failure import Failure
from protocols.flow import FlowSettings, Hold

ILL = Failure(kind="timeout", message="")
PAUSED = Hold(kind="service", name="shop", paused=True, by="ann", reason="upgrade")


def test_a_flow_without_limits_is_not_guarded() -> None:
    """A request then looks at one attribute; successes change nothing."""
    flow = Flow("shop")

    flow.answered(None, 1.0, 1.1)

    assert not flow.guarded
    assert flow.verdict(2.0) is None


def test_a_failure_guards_until_enough_successes_follow() -> None:
    """The breaker has to hear of successes only while it remembers a failure."""
    flow = Flow("shop", FlowSettings(breaker_failures=3, breaker_of=4))

    flow.answered(ILL, 1.0, 2.0)
    guarded = flow.guarded
    for _ in range(4):
        flow.answered(None, 2.0, 2.1)

    assert guarded
    assert not flow.guarded


def test_a_refusal_is_an_answer_of_a_healthy_service() -> None:
    """It closes a breaker that is half open, as a success does."""
    flow = Flow("shop", FlowSettings(breaker_failures=1, breaker_of=1, breaker_open_s=1.0))
    flow.answered(ILL, 1.0, 2.0)
    shut = flow.verdict(2.5)

    tried = flow.verdict(3.0)
    flow.went(3.0)
    flow.answered(Failure(kind="refused", message="", retryable=False), 3.0, 3.1)

    assert shut is not None
    assert shut.reason == "breaker is open"
    assert tried is None
    assert flow.breaker.state == "closed"
    assert not flow.guarded


def test_a_service_that_answers_no_pings_is_ill() -> None:
    """Only one that has answered before; a sign of life lets the next request try at once."""
    flow = Flow("shop", FlowSettings(breaker_failures=2, breaker_of=2, breaker_open_s=60.0))
    for at in (1.0, 2.0):
        flow.silent(at, at + 1)
    foreign = flow.verdict(3.0)
    flow.pinged(0.2, 4.0)
    for at in (5.0, 7.0):
        flow.silent(at, at + 1)

    shut = flow.verdict(9.0)
    flow.pinged(0.2, 10.0)

    assert foreign is None
    assert shut is not None
    assert shut.reason == "breaker is open, no ping was answered for 4 s"
    assert flow.verdict(10.0) is None
    assert flow.breaker.state == "half_open"


def test_pings_do_not_count_where_requests_decide() -> None:
    """Answered ones do not heal who fails, unanswered ones do not undo a try under way."""
    flow = Flow("shop", FlowSettings(breaker_failures=2, breaker_of=2, breaker_open_s=1.0))
    for at in (1.0, 2.0):
        flow.answered(ILL, at, at)
        flow.pinged(0.1, at)

    ill = flow.breaker.state
    tried = flow.verdict(4.0)
    flow.went(4.0)
    flow.silent(4.5, 5.5)
    flow.answered(None, 4.0, 6.0)

    assert ill == "open"
    assert tried is None
    assert flow.breaker.state == "closed"


def test_a_concurrency_limit_counts_what_is_under_way() -> None:
    """Two places: the third request waits until told, and an asked-again one has its place."""
    flow = Flow("shop", FlowSettings(concurrency_max=2))
    flow.went(1.0)
    flow.went(1.0)
    flow.went(1.5, again=True)

    full = flow.verdict(2.0)
    flow.left()

    assert full is not None
    assert full.wait_s == inf
    assert flow.verdict(2.0) is None


def test_who_waits_is_told_when_a_place_is_free() -> None:
    """Nobody has to look again and again."""
    told: list[Flow] = []
    flow = Flow("shop", FlowSettings(concurrency_max=1), told.append)
    flow.went(1.0)
    flow.park()

    flow.left()

    assert told == [flow]


def test_retry_after_holds_the_whole_service() -> None:
    """Whoever gets it, all others wait as well; but never longer than five minutes."""
    flow = Flow("shop")

    flow.answered(Failure(kind="busy", message="", retry_after_s=3.0), 1.0, 1.0)
    waits = flow.verdict(2.0)
    after = flow.verdict(4.5)
    flow.answered(Failure(kind="busy", message="", retry_after_s=1e5), 5.0, 5.0)
    long = flow.verdict(5.0)

    assert waits is not None
    assert waits.wait_s == 2.0
    assert after is None
    assert long is not None
    assert long.wait_s == RETRY_AFTER_S_MAX


def test_a_pause_says_who_and_why() -> None:
    """Whoever looks at a waiting run reads it."""
    flow = Flow("shop")

    flow.say(PAUSED, 1.0)
    paused = flow.verdict(9.0)
    flow.say(None, 10.0)

    assert paused is not None
    assert paused.reason == "service is paused by ann: upgrade"
    assert flow.verdict(10.0) is None
    assert not flow.guarded


def test_set_free_a_breaker_begins_as_closed() -> None:
    """What it thought while it was forced says little about now."""
    flow = Flow("shop", FlowSettings(breaker_failures=1, breaker_of=1))
    forced = Hold(kind="breaker", name="shop", forced="closed")

    flow.force(forced, 1.0)
    flow.answered(ILL, 1.0, 2.0)
    goes = flow.verdict(2.0)
    flow.force(None, 3.0)

    assert goes is None
    assert flow.verdict(3.0) is None


def test_what_was_parked_goes_at_a_rate_that_doubles() -> None:
    """Slowly at first, and after some seconds faster than anybody can ask."""
    flow = Flow("shop", FlowSettings(release_per_s=100))
    for _ in range(2_000):
        flow.park()
    flow.begin_release(0.0)
    went = [0, 0, 0, 0]
    for tick in range(4_000):
        now = tick / 1_000
        while flow.verdict(now) is None:
            flow.went(now)
            went[int(now)] += 1

    assert 90 <= went[0] <= 105
    assert 190 <= went[1] <= 210
    assert 380 <= went[2] <= 420
    assert 760 <= went[3] <= 840


def test_percentiles_come_from_what_was_measured() -> None:
    """Ninety-eight answers in 1 ms and two in a second."""
    flow = Flow("shop")
    for number in range(100):
        flow.answered(None, 0.0, 1.0 if number in {50, 51} else 0.001)

    assert 0.001 <= flow.percentile_s(0.5) <= 0.002
    assert 1.0 <= flow.percentile_s(0.99) <= 2.1


@given(
    st.floats(0.5, 200),
    st.integers(1, 50),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=100),
)
def test_a_bucket_never_gives_more_than_its_rate(
    rate: float, burst: int, pauses: list[float]
) -> None:
    """In any time: the burst and what the rate brings; and a wait it tells is enough."""
    bucket = Bucket(rate, burst)
    now = taken = 0.0
    for pause in pauses:
        now += pause
        while not bucket.wait_s(now):
            bucket.take(now)
            taken += 1
        assert taken <= burst + rate * now + 1e-6

    now += bucket.wait_s(now) + 1e-6
    assert bucket.wait_s(now) == 0.0


def test_a_ramp_can_begin_again() -> None:
    """The next time something is released it is slow at first as well."""
    ramp = Ramp(10.0)
    ramp.begin(0.0)
    ramp.wait_s(8.0)

    ramp.begin(8.0)

    assert ramp.wait_s(8.0) > 0.05
