"""Forking: what a new run takes over of one that has ended, and where it begins.

    definition then, what has come of it, definition now, from which step -> Forking

What lies behind the chosen step is done anew, and so is what never came to an end. What is taken
over is not asked for again, and stays the other run's: only that one undoes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.findings import did_you_mean
from protocols.graphs.graph import Graph
from protocols.graphs.order import Order
from protocols.machines.machine import Machine
from protocols.moving import ALL, graph_move, machine_move

What = Literal["taken", "again", "waiting"]

_TAKEN: Final = frozenset({"done", "failed"})
"""What a step has come to that another run can take over; a gate that was skipped, too."""


class StepFork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fork does with one step of a graph, or one state of a machine."""

    step: Annotated[str, Meta(description="Its name in the new run.")]
    was: Annotated[str, Meta(description="Its name in the other run; empty: it is new.")] = ""
    status: Annotated[str, Meta(description="What it came to there.")] = "waiting"
    what: Annotated[
        What,
        Meta(
            description="`taken` over with its result, done `again`, or `waiting`: not done yet."
        ),
    ]
    note: Annotated[str, Meta(description="What a person should know of it.")] = ""


class ForkOrder(msgspec.Struct, frozen=True, kw_only=True):
    """From which step a run is forked, and how.

    ``moves`` maps names that have changed, old to new; ``accept`` has steps of the new definition
    that are taken over though something speaks against it; ``changed``: the input is another one.
    """

    step: str
    moves: Mapping[str, str] = {}
    accept: Collection[str] = ()
    changed: bool = False

    def accepts(self, name: str) -> bool:
        """Tell whether a person wants a step taken over all the same."""
        return name in self.accept or ALL in self.accept


class Forking(msgspec.Struct, frozen=True, kw_only=True):
    """A fork, step by step. With ``problems`` it does not happen.

    ``standing`` is what the new run begins with, in the words of its interpreter.
    """

    steps: tuple[StepFork, ...] = ()
    problems: tuple[str, ...] = ()
    standing: dict[str, Any] = {}


def not_forked(*problems: str) -> Forking:
    """Return a fork that does not happen."""
    return Forking(problems=problems)


def graph_fork(
    old: Graph,
    new: Graph,
    standing: Mapping[str, str],
    order: ForkOrder,
    fallen: Mapping[str, str] | None = None,
) -> Forking:
    """Return what a run of ``new`` takes over of one of ``old``.

    ``standing`` is as for a move: what each step came to. ``fallen`` has the fate of those whose
    work does not stand (``undone``, ``unknown``, ``could_not``), by their names then.
    """
    fallen = fallen or {}
    if order.step not in new.steps:
        return not_forked(_no_such("step", order.step, new.steps))
    steps = Order(new)
    behind = {x for x in new.steps if x == order.step or steps.comes_before(order.step, x)}
    taken = {
        name: status
        for name, status in standing.items()
        if (to := order.moves.get(name, name)) in new.steps
        and to not in behind
        and (status in _TAKEN or (status == "skipped" and old.steps[name].gate is not None))
    }
    began = {name: taken.get(name, "waiting") for name in standing}
    moving = graph_move(old, new, began, order.moves, order.accept)
    gates = {name for name in taken if old.steps[name].gate is not None}
    problems = [*moving.problems, *against("step", order, taken, fallen, gates)]
    found = [
        StepFork(
            step=each.step,
            was=each.was,
            status=standing.get(each.was, "waiting"),
            what=_what(each.was, taken, standing),
            note=each.note or _note(standing.get(each.was, ""), fallen.get(each.was, "")),
        )
        for each in moving.steps
        if each.step
    ]
    return Forking(steps=tuple(found), problems=tuple(problems))


def machine_fork(
    old: Machine,
    new: Machine,
    before: Collection[str],
    entered: Collection[str],
    order: ForkOrder,
    *,
    fallen: Mapping[str, str] | None = None,
) -> Forking:
    """Return what a motion of ``new`` takes over of one of ``old``.

    ``before`` are the states on the way to the chosen one, ``entered`` all that the motion was
    in: none begins where the machine has not led it.
    """
    was = next((x for x in old.states if order.moves.get(x, x) == order.step), order.step)
    if order.step not in new.states:
        return not_forked(_no_such("state", order.step, new.states))
    if was not in entered:
        return not_forked(f"the motion was never in state {was!r}, but in {', '.join(entered)}")
    # The state itself is entered anew: it may be another one.
    accept = (*order.accept, order.step)
    moving = machine_move(old, new, was, before, moves=order.moves, accept=accept)
    problems = [*moving.problems, *against("state", order, before, fallen or {}, before)]
    left = [*before, was]
    found = [
        StepFork(
            step=each.step,
            was=each.was,
            status="done" if each.was in entered else "waiting",
            what="taken" if each.was in before else "again" if each.was in entered else "waiting",
            note=each.note,
        )
        for each in sorted(
            moving.steps, key=lambda x: left.index(x.was) if x.was in left else len(left)
        )
        if each.step
    ]
    return Forking(steps=tuple(found), problems=tuple(problems))


def against(
    what: str,
    order: ForkOrder,
    taken: Iterable[str],
    fallen: Mapping[str, str],
    judged: Collection[str],
) -> Iterable[str]:
    """Tell what speaks against taking steps over; ``judged`` depend on somebody's judgement."""
    for name in taken:
        to = order.moves.get(name, name)
        if order.accepts(to):
            continue
        if name in fallen:
            yield f"{what} {to!r} {_FATES[fallen[name]]}: begin there, or accept it"
        elif order.changed and name in judged:
            yield f"{what} {to!r} was decided with another input: begin there, or accept it"


_FATES: Final = {
    "undone": "was undone",
    "unknown": "may have been done, and nobody knows",
    "could_not": "could not be undone",
}


def _what(was: str, taken: Collection[str], standing: Mapping[str, str]) -> What:
    if was in taken:
        return "taken"
    return "again" if standing.get(was, "waiting") in {"done", "failed", "running"} else "waiting"


def _note(status: str, fate: str) -> str:
    """Return what a person should know of a step that is done anew."""
    if fate:
        return f"it {_FATES[fate]}"
    return "its service may still be at it" if status == "running" else ""


def _no_such(what: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {what} {name!r}; {did_you_mean(name, known)}"
