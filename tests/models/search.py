"""Exhaustive search of a small model: breadth first, so the first trace found is a shortest one.

A model is a function from a hashable state to its steps. Two kinds of claim can be checked:

    safety      no reachable state is wrong
    liveness    from every reachable state a goal can be reached by helpful steps alone

A step helps a goal when the system, left in peace, will take it sooner or later; a crash helps
nothing. As every reachable state is checked, also those behind the last crash, a state with no
way to the goal means that something was lost there.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

STATES_MAX: Final = 5_000_000
"""About 5 GB; a model that needs more is too large for a test and for most machines."""

S = TypeVar("S", bound=Hashable)


ALL: Final = frozenset(range(8))
"""Helps every goal."""
NONE: Final[frozenset[int]] = frozenset()


class Step(NamedTuple, Generic[S]):
    """One thing that can happen: what, what it leads to, and which goals it helps."""

    what: tuple[object, ...]
    state: S
    helps: frozenset[int] = ALL


@dataclass(frozen=True)
class Found:
    """What a search found: how much it saw, and the shortest way to something wrong."""

    states: int
    took_s: float
    wrong: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.states:,} states in {self.took_s:.1f} s: {self.wrong or 'nothing wrong'}"
        steps = [f"  {number:2}. {each}" for number, each in enumerate(self.trace, 1)]
        return "\n".join((head, *steps))


Goal: TypeAlias = tuple[str, Callable[[S], bool]]
"""What is lost when a state cannot reach it, and the goal itself."""


def explore(
    first: S,
    steps: Callable[[S], Iterable[Step[S]]],
    *,
    wrong: Callable[[S], str],
    goals: Sequence[Goal[S]] = (),
) -> Found:
    """Visit every reachable state; stop at the first wrong one, then look for lost goals.

    ``wrong`` says what is wrong with a state, or nothing.
    """
    began = perf_counter()
    graph = _Graph(first)
    gc.disable()  # nothing here is a cycle, and each collection would look at all states
    try:
        at, what = graph.visit(steps, wrong, goals)
        if not what:
            at, what = graph.stuck(goals)
    finally:
        gc.enable()
    took_s = perf_counter() - began
    return Found(len(graph.states), took_s, what, graph.trace(at) if what else ())


class _Graph(Generic[S]):
    """The states that were seen, in the order in which they were."""

    def __init__(self, first: S) -> None:
        self.states = [first]
        self._number_of: dict[S, int] = {first: 0}
        self._origin: list[tuple[int, tuple[object, ...]]] = [(-1, ())]
        self._helped_by: list[list[tuple[int, frozenset[int]]]] = [[]]

    def visit(
        self,
        steps: Callable[[S], Iterable[Step[S]]],
        wrong: Callable[[S], str],
        goals: Sequence[Goal[S]],
    ) -> tuple[int, str]:
        """See everything; return the first state that is wrong or a dead end, and why."""
        at = 0
        while at < len(self.states):
            state = self.states[at]
            if what := wrong(state):
                return at, what
            helped: frozenset[int] = frozenset()
            for step in steps(state):
                helped |= step.helps
                self._see(at, step)
            for index, (lost, goal) in enumerate(goals):
                if index not in helped and not goal(state):
                    return at, lost  # seen at once; what goes in circles is seen at the end
            at += 1
        return 0, ""

    def stuck(self, goals: Sequence[Goal[S]]) -> tuple[int, str]:
        """Return the first state from which helpful steps lead to some goal no more."""
        for index, (lost, goal) in enumerate(goals):
            todo = [number for number, state in enumerate(self.states) if goal(state)]
            reaches = bytearray(len(self.states))
            for number in todo:
                reaches[number] = 1
            while todo:
                for before, helps in self._helped_by[todo.pop()]:
                    if index in helps and not reaches[before]:
                        reaches[before] = 1
                        todo.append(before)
            at = reaches.find(0)
            if at >= 0:
                return at, lost
        return 0, ""

    def trace(self, at: int) -> tuple[str, ...]:
        """Return the steps of a shortest way to a state."""
        trace = []
        while at > 0:
            at, step = self._origin[at]
            trace.append(" ".join(_shown(each) for each in step))
        return tuple(reversed(trace))

    def _see(self, at: int, step: Step[S]) -> None:
        number = self._number_of.get(step.state)
        if number is None:
            number = self._number_of[step.state] = len(self.states)
            if number >= STATES_MAX:
                raise MemoryError(f"more than {STATES_MAX:,} states")
            self.states.append(step.state)
            self._origin.append((at, step.what))
            self._helped_by.append([])
        if step.helps:
            self._helped_by[number].append((at, step.helps))


def _shown(each: object) -> str:
    if isinstance(each, frozenset):
        return "{" + ", ".join(sorted(str(one) for one in each)) + "}"
    if isinstance(each, tuple):
        return "(" + ", ".join(_shown(one) for one in each) + ")"
    return str(each)
