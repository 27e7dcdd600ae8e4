"""Pictures: a graph or a machine as SVG. How it is laid out is told in ``protocols.drawing``."""

from __future__ import annotations

from protocols.drawing import Box, Line, svg
from protocols.durations import shown
from protocols.graphs.graph import Graph, GraphStep
from protocols.graphs.kinds import does
from protocols.machines.machine import Machine, State, StateUndo


def graph_svg(graph: Graph) -> str:
    """Return a graph as a picture: what may be left out has a dashed line."""
    boxes = [
        Box(
            name=name,
            lines=tuple(_step_lines(step)),
            kind=step.kind,
            dashed=not step.critical,
        )
        for name, step in graph.steps.items()
    ]
    lines = [
        Line(begin=each, end=name, dashed=step.join != "all")
        for name, step in graph.steps.items()
        for each in step.needed
    ]
    return svg(graph.name, boxes, lines)


def machine_svg(machine: Machine) -> str:
    """Return a machine as a picture: ways that a signal opens have a dashed line."""
    boxes = [
        Box(name=name, lines=tuple(_state_lines(machine, name, state)), kind=_kind(state))
        for name, state in machine.states.items()
    ]
    lines: list[Line] = []
    for name, state in machine.states.items():
        lines += [Line(begin=name, end=each.to, text=each.when) for each in state.nexts]
        lines += [
            Line(begin=name, end=each.to, text=f"signal {signal}", dashed=True)
            for signal, each in state.signalled.items()
        ]
    return svg(machine.name, boxes, lines)


def _step_lines(step: GraphStep) -> list[str]:
    found = [does(step)]
    if step.when:
        found.append(f"if {step.condition}")
    if step.each:
        found.append("for each item")
    undo = step.undone_by
    if undo is not None:
        found.append(f"undo: {undo.operation}")
    if step.pivot:
        found.append("no return behind it")
    return found


def _state_lines(machine: Machine, name: str, state: State) -> list[str]:
    found = []
    if state.owner:
        found.append(f"{state.owner}.{machine.operation(name)}")
    if state.parked:
        found.append("parked")
    if state.ends is not None:
        found.append(f"ends as {state.ends}")
    timeout_s = machine.timeout_s(name)
    if timeout_s and (state.owner or state.parked):
        found.append(f"within {shown(timeout_s)}")
    if isinstance(state.undo, StateUndo):
        found.append(f"undo: {state.undo.operation}")
    return found


def _kind(state: State) -> str:
    if state.ends is not None:
        return "failed" if state.ends == "failed" else "end"
    return "parked" if state.parked else "service"
