"""What two owners did for one step is accounted for, and each of four rules is needed."""

from __future__ import annotations

import pytest

from tests.models.two_owners import RULES, TwoOwners


def test_every_effect_in_the_world_is_accounted_for() -> None:
    """With all four rules no history has an effect that the fold does not know of."""
    found = TwoOwners().explore()

    assert not found.wrong, str(found)
    assert found.states > 20_000


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule: str) -> None:
    """With one of the rules left out there is an effect that nobody knows of."""
    found = TwoOwners(without=rule).explore()

    assert found.wrong.startswith("nobody knows")
    assert found.trace
