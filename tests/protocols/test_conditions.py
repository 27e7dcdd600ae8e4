"""Conditions: what guards are made of."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.conditions import CHARS_MAX, Condition, ConditionError

NAMES: dict[str, Any] = {
    "input": {"kind": "park", "amount": 7, "tags": ["a", "b"], "odd key": True, "none": None},
    "result": {"ayes": 3, "noes": 1.5, "plan": {"tasks": [{"n": 1}]}},
    "entry": 1,
}


@pytest.mark.parametrize(
    "text",
    [
        "result.ayes > result.noes",
        "result.ayes >= 3 && input.amount < 10 && input.amount <= 7",
        "!(input.kind == 'house') && input.kind != \"house\"",
        'input["odd key"]',
        "input.tags[1] == 'b'",
        "'a' in input.tags && !('z' in input.tags) && 'kind' in input",
        "has(result.plan) && !has(result.sum) && !has(input.none)",
        "size(result.plan.tasks) == 1 && size(input.kind) == 4",
        "result.plan.tasks[0].n == 1 || result.nothing.at == 2",
        "input.none == null && entry == 1 && true && !false",
        "input.kind in ['park', 'lake']",
        "'\\'' == \"'\" && 'a\\nb' != 'anb'",
        "-1 < 0 && 1e3 == 1000",
        "!!true",
    ],
)
def test_a_condition_holds(text: str) -> None:
    """What the language can say."""
    assert Condition(text).holds(NAMES)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("result.ayes >> 1", 14),
        ("result.ayes = 1", 13),
        ("result.", 8),
        ("(a", 3),
        ("a b", 3),
        ("", 1),
        ("f(a)", 1),
        ("a[1", 4),
        ("'open", 1),
        ("a + 1", 3),
        ("(" * 40, 33),
        ("__import__('os')", 1),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, column: int) -> None:
    """The column is that of the character where it went wrong."""
    with pytest.raises(ConditionError) as caught:
        Condition(text)

    assert caught.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        "result.sum > 1",
        "nobody > 1",
        "input.kind > 1",
        "input.kind",
        "input.amount && true",
        "input.kind.more == 1",
        "input.tags[9] == 1",
        "1 in input.kind",
        "size(input.amount) == 1",
        "true > false",
    ],
)
def test_what_cannot_be_decided_is_an_error_and_not_false(text: str) -> None:
    """Nothing is guessed: a negation of what is missing does not hold either."""
    for each in (text, f"!({text})"):
        with pytest.raises(ConditionError):
            Condition(each).holds(NAMES)


def test_a_truth_is_no_number() -> None:
    """For Python it is one; for nobody else."""
    assert not Condition("true == 1").holds({})
    assert not Condition("true in [1, 2]").holds({})


def test_long_texts_and_long_chains_are_refused() -> None:
    """So that a condition never goes deep enough to hurt the fold."""
    for text in ("a" * (CHARS_MAX + 1), ".".join("a" * 150), "||".join("a" * 150)):
        with pytest.raises(ConditionError):
            Condition(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab.()[]'\"!&|<>= 019,in\\", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a ConditionError comes out, when it is read and when it is decided."""
    try:
        condition = Condition(text)
    except ConditionError:
        return
    with contextlib.suppress(ConditionError):
        condition.holds({"a": 1, "b": {"a": [1, "x"]}})
