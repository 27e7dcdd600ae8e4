"""How often the router looks for services."""

from __future__ import annotations

import pytest

from actors.routing.router import PROBES_PER_S, probe_interval_s


@pytest.mark.parametrize(
    ("routes", "interval_s"), [(0, 0.1), (1, 0.1), (10, 0.1), (50, 0.5), (200, 2.0), (9_000, 2.0)]
)
def test_few_subjects_are_probed_often(routes: int, interval_s: float) -> None:
    """A service that comes back is seen at once, and many subjects cost no more than few."""
    assert probe_interval_s(routes) == pytest.approx(interval_s)


def test_the_rate_of_probes_is_bounded_until_the_longest_interval() -> None:
    """Up to 200 subjects the server sees a hundred probes a second at most."""
    rates = [routes / probe_interval_s(routes) for routes in range(1, 201)]

    assert max(rates) <= PROBES_PER_S * 1.001
