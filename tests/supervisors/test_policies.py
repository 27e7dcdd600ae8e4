"""The pure half of supervision: strategies, window, backoff, restart types, checks."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import ConfigurationError
from supervisors.backoff import Backoff, failures_in_a_row
from supervisors.child import ChildSpec, ChildStatus, Exit, Restart, check, restarts
from supervisors.intensity import Intensity, RestartWindow
from supervisors.strategy import Strategy, affected
from supervisors.tree import SupervisorSpec, build

CHILDREN = st.lists(st.text("abcdefgh", min_size=1), min_size=1, max_size=12, unique=True)


async def _never(*, task_status: ChildStatus) -> None:
    raise AssertionError(task_status)


@given(CHILDREN, st.data())
def test_a_wider_strategy_restarts_a_superset(children: list[str], data: st.DataObject) -> None:
    """one_for_one is contained in rest_for_one, which is contained in one_for_all."""
    failed = data.draw(st.sampled_from(children))

    one, rest, everyone = (
        set(affected(each, children, failed))
        for each in (Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL)
    )

    assert one == {failed}
    assert one <= rest <= everyone
    assert everyone == set(children)


@given(CHILDREN, st.sampled_from(Strategy), st.data())
def test_affected_children_keep_their_start_order(
    children: list[str], strategy: Strategy, data: st.DataObject
) -> None:
    """Whatever is restarted is a run of the start order, so it can be started as it stands."""
    failed = data.draw(st.sampled_from(children))

    group = list(affected(strategy, children, failed))

    start = children.index(group[0])
    assert group == children[start : start + len(group)]


@given(
    st.integers(0, 5),
    st.floats(0.5, 20),
    st.lists(st.floats(0, 10), max_size=40),
)
def test_no_period_has_more_restarts_than_the_intensity(
    restarts_max: int, period_s: float, gaps: list[float]
) -> None:
    """Among the admitted restarts, no window of the period holds more than the limit."""
    window = RestartWindow(Intensity(restarts_max=restarts_max, period_s=period_s))
    now = 0.0
    admitted: list[float] = []

    for gap in gaps:
        now += gap
        if window.admit(now):
            admitted.append(now)

    for first in admitted:
        assert sum(first <= each and each - first < period_s for each in admitted) <= restarts_max


@given(st.integers(1, 5), st.floats(0.5, 20), st.lists(st.floats(0, 10), max_size=40))
def test_a_restart_is_refused_only_when_the_period_is_full(
    restarts_max: int, period_s: float, gaps: list[float]
) -> None:
    """A refusal means that the limit was reached within the period before it."""
    window = RestartWindow(Intensity(restarts_max=restarts_max, period_s=period_s))
    now = 0.0
    admitted: list[float] = []

    for gap in gaps:
        now += gap
        before = sum(now - each < period_s for each in admitted)
        if window.admit(now):
            admitted.append(now)
        else:
            assert before == restarts_max


@given(st.integers(1, 200), st.floats(0, 100), st.floats(0, 1000), st.floats(0, 1), st.text())
def test_a_backoff_stays_within_its_bounds(
    failures: int, delay_s: float, max_delay_s: float, jitter: float, seed: str
) -> None:
    """A delay is never above the maximum and jitter takes away no more than its share."""
    backoff = Backoff(delay_s=delay_s, max_delay_s=max_delay_s, jitter=jitter)
    full_s = min(delay_s * 2.0 ** min(failures - 1, 60), max_delay_s)

    waited_s = backoff.before(failures, seed)

    assert full_s * (1 - jitter) <= waited_s <= full_s
    assert waited_s == backoff.before(failures, seed)


def test_a_child_that_ran_long_enough_begins_a_new_count() -> None:
    """Failures count as in a row only while the child does not stay up."""
    assert failures_in_a_row(4, ran_s=9.9, reset_after_s=10) == 5
    assert failures_in_a_row(4, ran_s=10, reset_after_s=10) == 1


@pytest.mark.parametrize("restart", get_args(Restart))
@pytest.mark.parametrize("exit_kind", get_args(Exit))
def test_the_restart_type_decides_with_the_exit(restart: Restart, exit_kind: Exit) -> None:
    """Permanent always, transient unless normal, temporary never."""
    expected = restart == "permanent" or (restart == "transient" and exit_kind != "normal")

    assert restarts(restart, exit_kind) is expected


def test_the_checker_lists_every_problem_at_once() -> None:
    """Whoever corrects a tree wants to see all that is wrong with it."""
    specs = [
        ChildSpec(id="a", start=_never, shutdown=0),
        ChildSpec(id="a", start=_never, restart="always"),  # type: ignore[arg-type]  # the point
        ChildSpec(id="b/c", start=_never, start_timeout_s=0),
        ChildSpec(id="d", start=_never, shutdown="soon"),  # type: ignore[arg-type]  # the point
    ]

    with pytest.raises(ConfigurationError) as caught:
        check(specs)

    for part in ("a: shutdown", "'a' appears twice", "'always'", "'b/c'", "start_timeout", "soon"):
        assert part in caught.value.message


def test_an_intensity_that_the_backoff_can_never_reach_is_refused() -> None:
    """Such a supervisor would restart for ever, so the tree is refused before it starts."""
    spec = SupervisorSpec(
        id="root",
        intensity=Intensity(restarts_max=10, period_s=5),
        backoff=Backoff(delay_s=1, max_delay_s=1, jitter=0),
    )

    with pytest.raises(ConfigurationError, match="never escalates"):
        build(spec)


def test_a_problem_deep_in_a_tree_is_named_with_its_path() -> None:
    """Pre-flight validation looks at every level."""
    bad = SupervisorSpec(id="kinds", children=(ChildSpec(id="", start=_never),))
    spec = SupervisorSpec(id="root", children=(SupervisorSpec(id="services", children=(bad,)),))

    with pytest.raises(ConfigurationError, match="root/services/kinds: child id ''"):
        build(spec)
