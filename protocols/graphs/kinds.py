"""What a step of a graph does: its one kind, and the keys that belong to it.

    charge: {service: bank, operation: charge}     a service is asked
    cool:   {sleep: 2h}                            time passes
    paid:   {signal: paid, timeout: 3d}            somebody tells it
    pack:   {child: packing, params: …}            another workflow runs
    note:   {set: {total: "{{…}}"}}                facts of the run are shown
    allow:  {gate: {title: "Pay?"}}                a person decides

A key that means nothing to a kind is refused, so that nobody waits for what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from protocols.durations import shown
from protocols.findings import Finding, Place
from protocols.gates.gate import FILLED, problems
from protocols.graphs.graph import KINDS, RESUME, SERVICE, SHOWN, GraphStep
from protocols.graphs.sleep import has_references
from protocols.subjects import is_name

_OF_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "operation": (SERVICE,),
    "params": (SERVICE, "child"),
    "foreach": (SERVICE, "signal", "child", "gate"),
    "retry": (SERVICE,),
    "timeout": (SERVICE, "signal", "child"),
    "deadline": (SERVICE,),
    "heartbeat": (SERVICE,),
    "idempotent": (SERVICE,),
    "on_error": (SERVICE, "signal", "child"),
    "fallbacks": (SERVICE,),
    "undo": (SERVICE, "child"),
    "guardrails": (SERVICE, "signal", "child"),
    "estimate": (SERVICE, "child"),
    "budget": (SERVICE, "child"),
}
"""Keys that not every kind of step takes. What all take: needs, join, when, critical, pivot."""
_INSTEAD: Final[Mapping[tuple[str, str], str]] = {
    ("deadline", "signal"): "write 'timeout': how long it waits",
    ("deadline", "child"): "write 'timeout': how long the child may take",
    ("retry", "child"): "the steps of the child have their own; 'on_error' says what comes then",
    ("timeout", "sleep"): "it takes as long as it says",
    ("timeout", "gate"): "write 'expires' under 'gate'",
    ("deadline", "gate"): "write 'expires' under 'gate'",
    ("params", "gate"): "write 'values' under 'gate'",
    ("on_error", "gate"): "one that is rejected fails the run, or with 'critical: false' skips "
    "the steps that need it",
}
ASK_NOBODY: Final = frozenset({"review", "continue", "compensate", "halt_and_alert"})
"""Directives of a step that asks no service: there is none to ask again, and no other one."""
_FACTS_MAX: Final = 100


def kinds(name: str, step: GraphStep) -> Iterator[Finding]:
    """Return what is wrong with what a step does."""
    at: Place = ("steps", name)
    found = step.kinds
    if not found:
        words = ", ".join(repr(each) for each in KINDS)
        yield Finding(at, f"{name[:60]} does nothing", f"write one of {words}", of_key=True)
        return
    for other in found[1:]:
        yield Finding(
            (*at, other),
            f"{other!r} stands beside {found[0]!r}, and a step does one thing",
            "make two steps of it",
            of_key=True,
        )
    kind = found[0]
    if kind == SERVICE:
        if step.undo is True:
            yield Finding((*at, "undo"), "a service has no undo of itself", "write its operation")
        return
    for key, owners in _OF_KINDS.items():
        if kind not in owners and _given(step, key):
            yield Finding(
                (*at, key),
                f"a step with {kind!r} takes no {key!r}",
                _INSTEAD.get((key, kind), f"it belongs to a step with {_either(owners)}"),
                of_key=True,
            )
    yield from _own(kind, step, at)


def _own(kind: str, step: GraphStep, at: Place) -> Iterator[Finding]:
    """Look at what only this kind has."""
    match kind:
        case "signal" if not has_references(step.signal):
            yield from _signal(step.signal, (*at, "signal"))
        case "child":
            if not is_name(step.child):
                yield Finding((*at, "child"), f"{step.child[:60]!r} is no name of a workflow")
            if step.undone_by is not None:
                message = "a child is undone by the undos of its own steps"
                yield Finding((*at, "undo"), message, "write 'undo: true'")
        case "set":
            yield from _facts(step.set or {}, (*at, "set"))
        case "gate" if step.gate is not None:
            for wrong in problems(step.gate):
                yield Finding((*at, "gate", wrong.key), wrong.message, wrong.hint)
        case _:
            return


def _signal(name: str, at: Place) -> Iterator[Finding]:
    if not is_name(name):
        hint = "letters, digits, '_' and '-', in parts separated by dots"
        yield Finding(at, f"{name[:60]!r} is no name of a signal", hint)
    elif name.startswith(RESUME):
        yield Finding(at, f"{RESUME}* are the signals of halted steps", "choose another name")


def _facts(facts: Mapping[str, Any], at: Place) -> Iterator[Finding]:
    if not 1 <= len(facts) <= _FACTS_MAX:
        yield Finding(at, f"{len(facts)} facts", f"1 to {_FACTS_MAX} of them")
    for fact in facts:
        if fact.startswith(SHOWN) or not fact:
            message = f"{fact[:60]!r}: facts that begin with {SHOWN!r} tell of steps"
            yield Finding((*at, fact), message, "choose another name", of_key=True)


def done_with(step: GraphStep) -> Any:
    """Return the value of a step in which references stand, whatever it does."""
    match step.kind:
        case "sleep" if step.sleep_as is not None:
            return {"duration": step.sleep_as.duration, "until": step.sleep_as.until}
        case "signal":
            return step.signal
        case "set":
            return step.set
        case "gate" if step.gate is not None:
            return {key: getattr(step.gate, key) for key in FILLED}
        case _:
            return step.params


def place_of(step: GraphStep) -> Place:
    """Return where the value of ``done_with`` stands in a step."""
    return (step.kind if step.kind in {"sleep", "signal", "set", "gate"} else "params",)


def does(step: GraphStep) -> str:
    """Return what a step does, in a few words."""
    match step.kind:
        case "sleep" if step.sleep_as is not None:
            wait = step.sleep_as
            if wait.duration is None:
                return f"sleep until {wait.until}"
            told = wait.duration
            return f"sleep {told if isinstance(told, str) else shown(told)}"
        case "signal":
            return f"signal {step.signal}"
        case "child":
            return f"child {step.child}"
        case "set":
            return f"set {', '.join(step.set or {})}"
        case "gate" if step.gate is not None:
            return f"gate: {', '.join(step.gate.decisions)}"
        case _:
            return f"{step.service}.{step.operation}"


def _given(step: GraphStep, key: str) -> bool:
    value = getattr(step, key)
    return value is False if key == "idempotent" else value not in (None, "", False, {}, ())


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(repr(each) for each in words)
