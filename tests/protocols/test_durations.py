"""Durations as people write them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.durations import DURATION_S_MAX, seconds, shown
from protocols.graphs.graph import CALL_TIMEOUT_S, Graph, GraphStep


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7d", 604_800),
        ("1h30m", 5_400),
        ("90s", 90),
        ("500ms", 0.5),
        ("1.5h", 5_400),
        ("2w", 1_209_600),
        (" 1D ", 86_400),
        (0, 0),
        (2.5, 2.5),
    ],
)
def test_a_duration_is_read(text: str | float, value: float) -> None:
    """Numbers are seconds; text has units."""
    assert seconds(text) == value


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "7",
        "7 days",
        "d",
        "-1s",
        "1e3s",
        "7d!",
        "1h 30m",
        "9" * 70 + "s",
        "101y",
        -1,
        float("inf"),
        float("nan"),
        DURATION_S_MAX + 1,
    ],
)
def test_what_is_no_duration_is_refused(wrong: str | float) -> None:
    """Nothing is guessed; a hundred years are enough."""
    with pytest.raises(ValueError, match=r"is not understood|is out of range"):
        seconds(wrong)


@given(st.integers(1, int(DURATION_S_MAX)))
def test_whole_seconds_are_shown_as_they_can_be_read(value: int) -> None:
    """There and back."""
    assert seconds(shown(value)) == value


def test_parts_of_a_second_are_shown_as_seconds() -> None:
    """With their unit."""
    assert [shown(each) for each in (0.5, 2.5, 0)] == ["0.5s", "2.5s", "0s"]


def test_a_definition_is_written_the_same_whatever_was_read_before() -> None:
    """An equal number from elsewhere takes no default's place: the hash would change."""
    seconds(60, "timeout")
    seconds(float("60"), "timeout")
    graph = Graph(name="g", steps={"a": GraphStep(service="s", operation="o")})

    assert b"timeout" not in msgspec.json.encode(graph)
    assert seconds(CALL_TIMEOUT_S, "timeout") is CALL_TIMEOUT_S
