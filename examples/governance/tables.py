"""Who works in a state, and who gets the motion next: one table, and one derived from it.

``worker`` is data: the owners in the machine. ``handoff`` follows from it, because a motion whose
work in a state is done goes to whoever works in the state behind it:

    handoff[s] == worker[next[s]]

So a motion that is handed on goes to ``handoff[s]``; one that goes on where it is (a retry, a
return, a restart) goes to ``worker[s]``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

import movant
from protocols.directives import Directive
from protocols.events import Event

MOTION_ROUTED: Final = "MOTION_ROUTED"
BRANCH_COMPLETED: Final = "BRANCH_COMPLETED"
ORCHESTRATOR_ERROR: Final = "ORCHESTRATOR_ERROR"

Table = Literal["handoff", "worker", "review"]


class Told(msgspec.Struct, frozen=True):
    """An event of the flow orchestrator. It follows from movant's own event with the same id."""

    id: str
    kind: str
    motion_id: str
    at: int
    """Nanoseconds since 1970."""
    data: dict[str, Any]


def worker(machine: movant.Machine) -> dict[str, str]:
    """Return who works in each state where somebody does."""
    return {name: state.owner for name, state in machine.states.items() if state.owner}


def following(machine: movant.Machine) -> dict[str, str]:
    """Return the state behind each one, when all goes well: the first that is allowed."""
    return {name: state.nexts[0].to for name, state in machine.states.items() if state.nexts}


def handoff(machine: movant.Machine) -> dict[str, str]:
    """Return who gets a motion whose work in a state is done."""
    owners = worker(machine)
    return {name: owners[to] for name, to in following(machine).items() if to in owners}


def told(event: Event, machine: movant.Machine) -> list[Told]:
    """Return what the flow orchestrator says about an event of a motion."""
    data = event.data if isinstance(event.data, dict) else {}
    match event.kind:
        case "transition":
            made = _of_transition(data)
        case "directive":
            made = _of_directive(data, machine)
        case "incident" | "transition_refused" | "stale" | "blocked":
            made = [(ORCHESTRATOR_ERROR, {"what": event.kind, **data})]
        case _:
            made = []
    return [Told(event.id, kind, event.instance, event.at, facts) for kind, facts in made]


def _of_transition(data: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    made: list[tuple[str, dict[str, Any]]] = []
    cause, came = data["cause"], data["from"]
    if came and data["output"]:
        done = {
            "branch": data["owner"],
            "success": True,
            "state": came,
            "next_state": data["to"],
            "output": data["output"],
            "statement": data.get("statement"),
        }
        made.append((BRANCH_COMPLETED, done))
    # Work that was done before the motion came is not asked for again: the next one is routed to.
    if not data["work_done"]:
        table: Table = "handoff" if cause == "completed" else "worker"
        made.append((MOTION_ROUTED, _routed(data, table, data["next_owner"], came)))
    return made


def _of_directive(
    data: dict[str, Any], machine: movant.Machine
) -> list[tuple[str, dict[str, Any]]]:
    state, do, error = data["state"], data["directive"], data["error"]
    failed = {
        "what": "failure",
        "state": state,
        "directive": do,
        "kind": error["class"],
        "message": error["message"],
    }
    made: list[tuple[str, dict[str, Any]]] = [(ORCHESTRATOR_ERROR, failed)]
    cause = {"cause": error["class"], "to": state}
    if do == "review":
        made.append((MOTION_ROUTED, _routed(cause, "review", machine.reviewer, state)))
    elif do == "fallback":
        others = _others(machine, state, error["class"])
        made += [(MOTION_ROUTED, _routed(cause, "worker", each, state)) for each in others[:1]]
    return made


def _others(machine: movant.Machine, state: str, kind: str) -> tuple[str, ...]:
    """Return who works in a state when its owner cannot, after a failure of a kind."""
    table = {**machine.directives, **machine.states[state].directives}
    directive = table.get(kind)
    while directive is not None and directive.do != "fallback":
        directive = directive.then if isinstance(directive.then, Directive) else None
    return directive.services if directive is not None else ()


def _routed(data: dict[str, Any], table: Table, to: str, came: str) -> dict[str, Any]:
    reasons = {
        "handoff": f"the work of {came} is done",
        "worker": f"{data['to']} is worked on",
        "review": f"{came} failed, and stays what it is",
    }
    return {
        "cause": data["cause"],
        "table": table,
        "from_state": came,
        "to_state": data["to"],
        "to_service": to,
        "reason": reasons[table] if to else f"nobody works in {data['to']}",
    }
