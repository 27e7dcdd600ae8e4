"""What several owners did for one step is accounted for, and each of five rules is needed."""

from __future__ import annotations

import pytest

from tests.models.two_owners import RULES, TwoOwners

FENCES = {"markers", "higher marker"}
"""Rules that would not be needed if no former owner could act any more."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("owners", [2, 3])
def test_every_effect_in_the_world_is_accounted_for(owners: int) -> None:
    """With all rules no history has an effect that the fold does not know of."""
    found = TwoOwners(owners=owners).explore()

    assert not found.wrong, str(found)
    assert found.states > 20_000


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule: str) -> None:
    """With one of the rules left out there is an effect that nobody knows of."""
    found = TwoOwners(owners=3 if rule == "higher marker" else 2, without=rule).explore()

    assert found.wrong.startswith("nobody knows")
    assert found.trace


@pytest.mark.parametrize("rule", RULES)
def test_a_perfect_clock_would_replace_the_fences_only(rule: str) -> None:
    """What a former owner sent while it was the owner has to be accounted for anyway."""
    found = TwoOwners(owners=3, at_once=1, without=rule).explore()

    assert bool(found.wrong) == (rule not in FENCES)
