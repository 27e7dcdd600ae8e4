"""Moving: whether a run can go on with another definition from where it stands, and how.

    old definition, what has come of it, new definition, changed names -> Moving

What was done stays done, under the name that it has in the new definition. What is open goes on
as it began, with the same key. What waits follows the new definition alone. The same function
answers a preview and decides in the fold, so a preview promises what will happen, as long as the
run stands where it stood.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.graphs.graph import SERVICE, Graph, GraphStep
from protocols.machines.machine import Machine

ALL: Final = "all"
"""Accepts every changed effect."""
STAYS: Final = frozenset({"done", "failed", "skipped"})
RAN: Final = frozenset({"done", "failed", "running"})
STEPS_SHOWN: Final = 500
"""Of a move or a fork, in one answer; and in orders that do not say ``whole``."""

What = Literal["kept", "open", "waiting", "new", "dropped"]


class StepMove(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a move does with one step of a graph, or one state of a machine."""

    step: Annotated[str, Meta(description="Its name from now on; empty: it has none.")] = ""
    was: Annotated[str, Meta(description="Its name before; empty: it is new.")] = ""
    status: Annotated[str, Meta(description="What it has come to.")] = "waiting"
    what: Annotated[
        What,
        Meta(
            description="`kept` with its result, `open` and goes on, `waiting` as before, `new`, "
            "or `dropped`: the new definition has no such step."
        ),
    ]
    note: Annotated[str, Meta(description="What a person should know of it.")] = ""


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """A move, step by step. With ``problems`` it does not happen."""

    steps: tuple[StepMove, ...] = ()
    problems: tuple[str, ...] = ()


def refused(*problems: str) -> Moving:
    """Return a move that does not happen."""
    return Moving(problems=problems)


def graph_move(
    old: Graph,
    new: Graph,
    standing: Mapping[str, str],
    moves: Mapping[str, str],
    accept: Collection[str] = (),
) -> Moving:
    """Return how a run moves from one graph to another.

    ``standing`` is what each step of the old one has come to (``waiting``, ``running``, ``done``,
    ``failed``, ``skipped``); ``moves`` maps names that have changed, old to new; ``accept`` names
    steps of the new graph whose changed effect does no harm.
    """
    problems = _wrong_names(old.steps, new.steps, moves, "step")
    if problems:
        return Moving(problems=tuple(problems))
    names = {name: moves.get(name, name) for name in standing}
    came = {to: name for name, to in names.items() if to in new.steps}
    found: list[StepMove] = []
    for name, step in new.steps.items():
        was = came.get(name, "")
        status = standing.get(was, "waiting")
        if not was or status == "waiting":
            found.append(StepMove(step=name, was=was, what="waiting" if was else "new"))
            continue
        notes: list[str] = []
        if status in RAN:
            changed = _changed(old.steps[was], step, names)
            if changed and not _accepted(name, accept):
                problems.append(
                    f"step {name!r} has {'begun' if status == 'running' else 'run'} with another "
                    f"{changed}: give the new one another name, or accept it"
                )
            notes = [f"its {changed} has changed"] if changed else []
            late = [each for each in step.needed if standing.get(came.get(each, "")) not in RAN]
            notes += _notes(old.steps[was], step, late)
        what: What = "open" if status == "running" else "kept"
        note = "; ".join(notes)
        found.append(StepMove(step=name, was=was, status=status, what=what, note=note))
    for name, status in standing.items():
        if names[name] in new.steps:
            continue
        if status == "running":
            problems.append(
                f"step {name!r} is open, and the new definition has no such step: wait until it "
                "has ended, or say which one it is"
            )
        note = "what it did stays; its undo too" if status == "done" else ""
        found.append(StepMove(was=name, status=status, what="dropped", note=note))
    return Moving(steps=tuple(found), problems=tuple(problems))


def machine_move(
    old: Machine,
    new: Machine,
    state: str,
    left: Collection[str],
    *,
    moves: Mapping[str, str],
    accept: Collection[str] = (),
) -> Moving:
    """Return how a motion moves from one machine to another.

    ``state`` is where it is, ``left`` are states whose work is done; the rest is as for graphs.
    """
    problems = _wrong_names(old.states, new.states, moves, "state")
    if problems:
        return Moving(problems=tuple(problems))
    found = [
        StepMove(step=to, was=name, status="done", what="kept")
        if (to := moves.get(name, name)) in new.states
        else StepMove(was=name, status="done", what="dropped", note="its output stays")
        for name in old.states
        if name in left and name != state
    ]
    to = moves.get(state, state)
    if to not in new.states:
        found.append(StepMove(was=state, status="running", what="dropped"))
        problems.append(
            f"the motion is in state {state!r}, which the new definition does not have: say which "
            "one it is"
        )
    else:
        found.append(StepMove(step=to, was=state, status="running", what="open"))
        changed = _state_changed(old, state, new, to)
        if changed and not _accepted(to, accept):
            problems.append(f"state {to!r} was entered with another {changed}: accept it, or wait")
    known = {each.step for each in found}
    found += [
        StepMove(step=name, what="waiting" if name in old.states else "new")
        for name in new.states
        if name not in known
    ]
    return Moving(steps=tuple(found), problems=tuple(problems))


def _wrong_names(
    old: Collection[str], new: Collection[str], moves: Mapping[str, str], what: str
) -> list[str]:
    """Return what is wrong with a mapping of names."""
    wrong = [f"there was no {what} {name!r}" for name in moves if name not in old]
    wrong += [f"there is no {what} {name!r}" for name in moves.values() if name not in new]
    taken: set[str] = set()
    for name in (moves.get(each, each) for each in old):
        if name in taken and name in new:
            wrong.append(f"two {what}s would be {name!r}: say what the other one is")
        taken.add(name)
    return wrong


def _notes(old: GraphStep, new: GraphStep, late: Collection[str]) -> list[str]:
    """Return what a person should know of a step that has run; ``late`` has not."""
    notes = []
    if new.undo != old.undo:
        notes.append("it keeps the undo that it began with")
    if late:
        notes.append(f"runs before what it needs: {', '.join(late)}")
    return notes


def _accepted(name: str, accept: Collection[str]) -> bool:
    return name in accept or ALL in accept


def _changed(old: GraphStep, new: GraphStep, names: Mapping[str, str]) -> str:
    """Return which part of what a step does to the world is another one; empty: none."""
    if old.kind != new.kind:
        return "kind"
    if old.kind not in {SERVICE, "child"}:
        return ""
    for part in ("service", "operation", "child"):
        if getattr(old, part) != getattr(new, part):
            return part
    for part in ("foreach", "params"):
        if _renamed(getattr(old, part), names) != _renamed(getattr(new, part), {}):
            return part
    return ""


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a value whose references say the new names of steps."""
    if isinstance(value, str):
        return _STEP.sub(lambda found: found[1] + names.get(found[2], found[2]), value)
    if isinstance(value, Mapping):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_renamed(each, names) for each in value]
    return value


_STEP: Final = re.compile(r"(\bsteps\.)([A-Za-z0-9_-]+)")


def _state_changed(old: Machine, was: str, new: Machine, to: str) -> str:
    """Return which part of the state that a motion is in is another one; empty: none."""
    before, after = old.states[was], new.states[to]
    if before.owner != after.owner:
        return "owner"
    if before.owner and old.operation(was) != new.operation(to):
        return "operation"
    if before.parked != after.parked:
        return "way to wait"
    return "end" if before.ends != after.ends else ""
