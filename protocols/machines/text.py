"""A machine for people to read: as text, and as a Mermaid state diagram."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocols.directives import Directive, Table
from protocols.durations import shown
from protocols.guardrails.check import rules_of
from protocols.machines.machine import Hook, Machine, Next, State, StateUndo

_RESERVED: Final = frozenset({"end", "state", "note", "direction", "class", "classdef", "style"})
"""Words of Mermaid that no state may be called in a diagram."""


def as_text(machine: Machine) -> str:
    """Return a machine as lines of text: each state, and below it where it leads."""
    head = f"{machine.name}: begins with {machine.initial}"
    lines = [head, *([machine.description] if machine.description else []), ""]
    lines += [f"before each transition: {_hook(hook)}" for hook in machine.on_transition]
    if machine.witness is not None:
        lines.append(f"each transition is witnessed: {_hook(machine.witness)}")
    every = [name for name, rule in rules_of(machine).items() if rule.every]
    lines += [f"each state is held to: {', '.join(every)}"] if every else []
    lines += _directives(machine.directives)
    for name, state in machine.states.items():
        lines.append(f"{name}  {_role(machine, name)}")
        lines += [f"    {line}" for line in _lines(state)]
    return "\n".join(lines) + "\n"


def as_mermaid(machine: Machine) -> str:
    """Return a machine as the text of a Mermaid diagram."""
    names = {name: _id(name, index) for index, name in enumerate(machine.states)}
    lines = ["stateDiagram-v2"]
    lines += [
        f'state "{_label(f"{name} {_role(machine, name)}")}" as {names[name]}'
        for name in machine.states
    ]
    lines.append(f"[*] --> {names[machine.initial]}")
    for name, state in machine.states.items():
        lines += [_arrow(names[name], names[each.to], each.when) for each in state.nexts]
        lines += [
            _arrow(names[name], names[each.to], f"signal {signal}", each.when)
            for signal, each in state.signalled.items()
        ]
        if state.ends:
            lines.append(_arrow(names[name], "[*]", state.ends))
        notes = [*_undo(state)]
        if notes:
            lines.append(f"note right of {names[name]} : {_label(', '.join(notes))}")
    return "\n    ".join(lines) + "\n"


def _role(machine: Machine, name: str) -> str:
    state = machine.states[name]
    told = []
    if state.owner:
        told.append(f"{state.owner}.{machine.operation(name)}")
    if state.parked:
        told.append("parked")
    if state.ends is not None:
        told.append(f"ends as {state.ends}")
    timeout_s = machine.timeout_s(name)
    if timeout_s and (state.owner or state.parked):
        told.append(f"within {shown(timeout_s)}")
    return ", ".join(told)


def _lines(state: State) -> Iterator[str]:
    if state.description:
        yield state.description
    for hook in state.on_entry:
        yield f"on entry: {_hook(hook)}"
    for each in state.nexts:
        yield f"-> {_next(each)}"
    for signal, each in state.signalled.items():
        yield f"-> {_next(each)}, by the signal {signal}"
    for hook in state.on_exit:
        yield f"on exit: {_hook(hook)}"
    if state.rules:
        yield f"held to: {', '.join(state.rules)}"
    yield from _undo(state)
    yield from _directives(state.directives)


def _undo(state: State) -> Iterator[str]:
    if isinstance(state.undo, StateUndo):
        yield f"undone by {state.undo.service or state.owner}.{state.undo.operation}"
    if state.pivot:
        yield "nothing is undone any more when it is done"


def _next(each: Next) -> str:
    return f"{each.to} if {each.when}" if each.when else each.to


def _hook(hook: Hook) -> str:
    return f"{hook.service}.{hook.operation}" + ("" if hook.critical else ", not critical")


def _directives(table: Table) -> list[str]:
    return [f"on {kind}: {_chain(each)}" for kind, each in table.items()]


def _chain(directive: Directive) -> str:
    told: str = directive.do
    detail = ", ".join(filter(None, (*directive.services, directive.by, directive.to)))
    told += f" ({detail})" if detail else ""
    if isinstance(directive.then, Directive):
        told += f", then {_chain(directive.then)}"
    return told


def _id(name: str, index: int) -> str:
    plain = name.replace("_", "").isalnum() and name.lower() not in _RESERVED
    return name if plain else f"state{index}"


def _arrow(begin: str, end: str, label: str, when: str = "") -> str:
    label = f"{label} if {when}" if label and when else label
    return f"{begin} --> {end}" + (f" : {_label(label)}" if label else "")


def _label(text: str) -> str:
    return " ".join(text.split()).replace('"', "'").replace(";", ",").replace(":", " -")
