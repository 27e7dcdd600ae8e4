"""Every effect is the value, undone or listed, and each rule of compensation is needed."""

from __future__ import annotations

import pytest

from tests.models.undoing import RULES, SMALL, Bound, Undoing

AGAIN = ("wanted again", "cut is unknown", "spent key", "told meanwhile")
SHOWN_BY = {"settle": SMALL[1], "reverse": SMALL[2]} | dict.fromkeys(AGAIN, SMALL[4])
"""What it takes to show a rule; the others are shown by one step at two services."""


@pytest.mark.parametrize("bound", SMALL, ids=str)
def test_every_effect_is_the_value_undone_or_listed(bound: Bound) -> None:
    """Late, lost and surplus answers, cancels at any time, failing undos: nothing is forgotten."""
    found = Undoing(bound).explore()

    assert not found.wrong, str(found)
    assert found.states > 10_000


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule: str) -> None:
    """Without it something is in the world that nobody knows of, or the order is wrong."""
    found = Undoing(SHOWN_BY.get(rule, SMALL[0]), without=rule).explore()

    assert found.wrong
    assert found.trace
