"""No effect is lost or repeated for ever, and each clause of the rules is needed for that."""

from __future__ import annotations

import pytest

from tests.models.settling import RULES, Bound, Settling

OVERLAPPING = {"owner message folded", "wake of any number"}
"""Clauses that only a former owner that still acts can need."""
SHOWN_BY = {
    "request by reply": "chain",
    "parked is unsettled": "chain",
    "lowest since": "two asks",
    "replacement": "two asks",
    "lowest listed": "two asks",
    "position goes on": "chain",
}
"""The workflow that shows a clause; the others are shown by ``pinned``."""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("program", "bound"),
    [
        ("pinned", Bound(owners=3, overlap=False)),
        ("chain", Bound(owners=3, overlap=False)),
        ("two asks", Bound(owners=2, overlap=False)),
        ("pinned", Bound(owners=2)),
        ("chain", Bound(owners=2)),
    ],
    ids=str,
)
def test_no_effect_is_lost_and_the_checkpoint_can_always_advance(
    program: str, bound: Bound
) -> None:
    """Crashes, late acknowledgements, losses and firings at any point do no harm."""
    found = Settling(program, bound).explore()

    assert not found.wrong, str(found)
    assert found.states > 50_000


@pytest.mark.parametrize("clause", RULES)
def test_each_clause_is_needed(clause: str) -> None:
    """Without it an effect is lost, repeated for ever, or the checkpoint stands."""
    bound = Bound(overlap=clause in OVERLAPPING)

    found = Settling(SHOWN_BY.get(clause, "pinned"), bound, without=clause).explore()

    assert found.wrong
    assert found.trace
