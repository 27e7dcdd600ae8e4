"""The search finds what is wrong, by a shortest way, and sees what goes in circles."""

from __future__ import annotations

from collections.abc import Iterator

from tests.models.search import NONE, Step, explore


def counting(state: int) -> Iterator[Step[int]]:
    """Count up by one or three, up to ten."""
    for by in (1, 3):
        if state + by <= 10:
            yield Step(("add", by), state + by)


def circling(state: int) -> Iterator[Step[int]]:
    """Go from 0 to 1 or, by an accident, to a circle of 2 and 3."""
    if state == 0:
        yield Step(("arrive",), 1)
        yield Step(("slip",), 2, NONE)
    elif state >= 2:
        yield Step(("turn",), 5 - state)


def test_the_trace_is_a_shortest_one() -> None:
    """Seven is three steps away, though there are longer ways."""
    found = explore(0, counting, wrong=lambda state: "seven" if state == 7 else "")

    assert found.wrong == "seven"
    assert len(found.trace) == 3


def test_everything_is_seen_when_nothing_is_wrong() -> None:
    """All numbers up to ten are visited, once each."""
    found = explore(0, counting, wrong=lambda _: "")

    assert (found.states, found.wrong) == (11, "")


def test_a_circle_that_never_arrives_is_found() -> None:
    """There is always a next step, yet the goal is out of reach."""
    found = explore(0, circling, wrong=lambda _: "", goals=[("lost", lambda state: state == 1)])

    assert (found.wrong, found.trace) == ("lost", ("slip",))


def test_a_dead_end_is_found() -> None:
    """A state with no helpful step that is not the goal ends the search at once."""
    found = explore(0, counting, wrong=lambda _: "", goals=[("lost", lambda state: state == 11)])

    assert found.wrong == "lost"
    assert found.trace[-1] in {"add 1", "add 3"}
