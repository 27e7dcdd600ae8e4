"""Retry policies and the generator behind their jitter: numbers that never change."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.failure import NO_RESPONDERS, REFUSED
from protocols.policy import NO_RETRY, STEP_DEFAULTS, Retry
from protocols.rng import Rng


@pytest.mark.parametrize(
    ("retry", "delays"),
    [
        (Retry(backoff="fixed", delay_s=2, jitter=0), [2, 2, 2, 2]),
        (Retry(backoff="linear", delay_s=2, jitter=0, max_delay_s=5), [2, 4, 5, 5]),
        (Retry(backoff="exponential", delay_s=1, jitter=0, max_delay_s=6), [1, 2, 4, 6]),
        (Retry(delays=(5, 30), jitter=0, max_delay_s=1), [5, 30, 30, 30]),
        (Retry(delay_s=0), [0, 0, 0, 0]),
    ],
)
def test_delays_follow_the_policy(retry: Retry, delays: list[float]) -> None:
    """Fixed, linear, exponential with a cap; an explicit list goes before all of them."""
    assert [retry.delay_before(attempt, "seed") for attempt in range(2, 6)] == delays


def test_a_thousandth_retry_still_has_a_delay() -> None:
    """Doubling is bounded, so that no attempt overflows a float."""
    assert Retry(jitter=0).delay_before(1000, "seed") == 60


@given(attempt=st.integers(2, 1000), seed=st.text(max_size=20))
def test_jitter_shortens_by_its_share_at_most(attempt: int, seed: str) -> None:
    """The delay of a fold lies in the promised range and is the same at the next fold."""
    retry = Retry(jitter=0.5)

    delay = retry.delay_before(attempt, seed)

    full = Retry(jitter=0).delay_before(attempt, seed)
    assert full / 2 <= delay <= full
    assert delay == retry.delay_before(attempt, seed)


def test_the_delay_of_a_seed_is_pinned() -> None:
    """Histories hold the consequences of these numbers: they never change."""
    assert Retry().delay_before(3, "order-17/charge") == 1.9012503141626103


def test_another_attempt_is_allowed_until_they_are_used_up() -> None:
    """Attempts are counted from the first call; refusals and final kinds are not retried."""
    retry = Retry(attempts=3)

    assert retry.allows(2, "network", retryable=True)
    assert not retry.allows(3, "network", retryable=True)
    assert not retry.allows(1, "network", retryable=False)
    assert not retry.allows(1, REFUSED, retryable=True)
    assert retry.allows(1, NO_RESPONDERS, retryable=True)
    assert not NO_RETRY.allows(1, "network", retryable=True)
    assert STEP_DEFAULTS.retry == Retry()


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"delay_s": -1}, {"jitter": 2}, {"backof": "fixed"}]
)
def test_a_wrong_policy_is_refused(wrong: dict[str, object]) -> None:
    """Limits hold and unknown settings are errors: a typo must not mean the default."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Retry)


def test_the_numbers_of_a_seed_are_pinned() -> None:
    """The generator is our own so that no Python version changes a history."""
    rng = Rng("order-17")

    numbers = [rng.random(), rng.random(), rng.integer(1, 6), rng.integer(-5, 10**30), rng.uuid()]

    assert numbers == [
        0.5006366583316564,
        0.7180819907814285,
        3,
        440750583490100418340274996018,
        "a88253ed-d56b-48da-b3be-8405abcf226a",
    ]


@given(seed=st.text(max_size=20), low=st.integers(-(10**9), 10**9), size=st.integers(0, 10**9))
def test_numbers_are_in_range_and_repeatable(seed: str, low: int, size: int) -> None:
    """The same seed gives the same stream, inside the bounds."""
    one, two = Rng(seed), Rng(seed)

    drawn = [(rng.random(), rng.integer(low, low + size), rng.uuid()) for rng in (one, two)]

    assert drawn[0] == drawn[1]
    assert 0 <= drawn[0][0] < 1
    assert low <= drawn[0][1] <= low + size
    assert drawn[0][2][14] == "4"
    assert drawn[0][2][19] in "89ab"


def test_an_empty_range_is_refused() -> None:
    """There is no number to draw."""
    with pytest.raises(ValueError, match=r"empty range 2\.\.1"):
        Rng("x").integer(2, 1)
