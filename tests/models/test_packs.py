"""Every mailbox stays whole through packs and purges, and each rule is needed for that."""

from __future__ import annotations

import pytest

from tests.models.packs import RULES, SMALL, Bound, Packs

ONE_OWNER = Bound(owners=1)
IN_TURN = Bound(overlap=0, reads=False)
OVERLAPPING = Bound(reads=False)
PINS = Bound(pins=True, script=("start",))
REPLICAS = Bound(owners=1, replicas=True)
SHOWN_BY = {
    "below the position": IN_TURN,
    "by evidence": REPLICAS,
    "first that has it": REPLICAS,
    "whole read": OVERLAPPING,
    "from the archive": IN_TURN,
    "valid only": PINS,
    "marker below": PINS,
    "claim": OVERLAPPING,
    "compare and set": OVERLAPPING,
    "contains the newest": REPLICAS,
    "absence at the leader": REPLICAS,
    "reads to its top": REPLICAS,
}
"""What it takes to show a rule; the others are shown by one owner that never crashes."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("bound", SMALL, ids=str)
def test_every_mailbox_stays_whole_and_no_garbage_is_kept(bound: Bound) -> None:
    """Crashes, late writers, purges in the middle of a read, and replicas do no harm."""
    found = Packs(bound).explore()

    assert not found.wrong, str(found)
    assert found.states > 10_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_needed(rule: str) -> None:
    """Without it a message, a history or an effect is lost, a fold is wrong, or garbage stays."""
    found = Packs(SHOWN_BY.get(rule, ONE_OWNER), without=rule).explore()

    assert found.wrong
    assert found.trace
