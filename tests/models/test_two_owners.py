"""What several owners did for one step is accounted for, and each of seven rules is needed."""

from __future__ import annotations

import pytest

from tests.models.two_owners import RULES, TwoOwners

FENCES = {"markers", "higher marker", "no gap"}
"""Rules that would not be needed if no former owner could act any more."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("owners", "table"), [(2, False), (3, False), (2, True)])
def test_every_effect_in_the_world_is_accounted_for(owners: int, *, table: bool) -> None:
    """With all rules no history has an effect that the fold does not know of."""
    found = TwoOwners(owners=owners, table=table).explore()

    assert not found.wrong, str(found)
    assert found.states > 20_000


def test_nobody_reads_over_what_another_owner_purged() -> None:
    """Whoever acts has folded what stands in the log, also when its marker is gone."""
    found = TwoOwners(1, purges=True).explore()

    assert not found.wrong, str(found)
    assert found.states > 10_000


def test_a_reader_that_passes_over_a_gap_folds_what_nobody_else_does() -> None:
    """The gap hides the marker by which it would know that it is the owner no more."""
    found = TwoOwners(1, purges=True, without="no gap").explore()

    assert found.wrong == "A folds what nobody else does"
    assert len(found.trace) == 4


@pytest.mark.parametrize("rule", ["no gap", "kept candidate"])
def test_some_rules_are_about_purges_or_tables_alone(rule: str) -> None:
    """Without those nothing goes wrong when the rule is left out."""
    assert not TwoOwners(1, without=rule).explore().wrong


@pytest.mark.parametrize(
    ("rule", "table"),
    [
        (rule, table)
        for rule in RULES
        for table in (False, True)
        if rule != "no gap" and (table or rule != "kept candidate")
    ],
)
def test_each_rule_is_needed(rule: str, *, table: bool) -> None:
    """With one of the rules left out there is an effect that nobody knows of."""
    owners = 3 if rule == "higher marker" else 2
    found = TwoOwners(owners=owners, table=table, without=rule).explore()

    assert found.wrong.startswith("nobody knows")
    assert found.trace


@pytest.mark.parametrize("rule", RULES)
def test_a_perfect_clock_would_replace_the_fences_only(rule: str) -> None:
    """What a former owner sent while it was the owner has to be accounted for anyway."""
    table = rule == "kept candidate"
    found = TwoOwners(owners=3, at_once=1, table=table, without=rule).explore()

    assert bool(found.wrong) == (rule not in FENCES)
