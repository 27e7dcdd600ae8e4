"""A graph for people to read: as text, as a Mermaid flowchart, and as a plan of a run.

A plan runs nothing. Its times are those of services that are there and always use all the time
they have, with one item of each ``foreach``; waiting for an operator has no bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import ceil
from typing import Final

import msgspec

from protocols.directives import Directive, Table
from protocols.durations import shown
from protocols.graphs.fallback import in_words
from protocols.graphs.graph import SERVICE, Graph, GraphStep
from protocols.graphs.kinds import does
from protocols.graphs.order import (
    Order,
    again_at,
    chain,
    longest,
    options_of,
    tables_of,
    unbounded,
    worst_s,
)

SHAPES: Final = {
    SERVICE: ("[", "]"),
    "sleep": ("([", "])"),
    "signal": ("{{", "}}"),
    "child": ("[[", "]]"),
    "set": ("(", ")"),
    "gate": ("{", "}"),
}
"""How a diagram draws each kind of step."""


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a plan. ``level`` begins at 1; ``worst_s`` is in seconds, of one item."""

    name: str
    level: int
    asks: str
    needs: tuple[str, ...] = ()
    when: str = ""
    foreach: str = ""
    critical: bool = True
    calls: int
    worst_s: float
    undo: str = ""
    halts: bool = False
    """Whether it may wait for an operator."""
    unbounded: bool = False
    """Whether nothing bounds what it waits for."""
    kept: bool = False
    """Whether it comes at or behind the point of no return."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a graph would do: its steps in order, what stays done, and how long it may take."""

    workflow: str
    steps: tuple[PlannedStep, ...]
    levels: int
    no_undo: tuple[str, ...]
    """Steps whose effect cannot be undone: they ask for work and say no ``undo``."""
    longest: tuple[str, ...]
    """The steps along which it takes longest."""
    worst_s: float
    limit_s: float | None
    """How long a run may take; what takes longer is cut short."""
    gates: dict[str, tuple[str, ...]] = {}
    """The gates, each with the steps that have asked for work before a person decides there."""
    again: dict[str, tuple[str, ...]] = {}
    """Gates that send work back, each with the steps that are then done again and have no undo."""


def plan(graph: Graph) -> Plan:
    """Return the plan of a graph that has been checked."""
    order = Order(graph)
    level_of = {name: level for level, names in enumerate(order.levels, 1) for name in names}
    pivots = [name for name, step in graph.steps.items() if step.pivot]
    seconds: dict[str, float] = {}
    steps = tuple(
        _planned(
            graph,
            name,
            level=level_of[name],
            seconds=seconds,
            kept=name in pivots or any(order.comes_before(each, name) for each in pivots),
        )
        for name in order.names
    )
    total_s, way = longest(order, seconds)
    return Plan(
        workflow=graph.name,
        steps=steps,
        levels=len(order.levels),
        no_undo=tuple(
            each.name
            for each in steps
            if not each.undo and graph.steps[each.name].kind in {SERVICE, "child"}
        ),
        longest=tuple(way),
        worst_s=total_s,
        limit_s=None if graph.timeout is None else float(graph.timeout),
        gates={
            gate: tuple(
                name
                for name in order.names
                if order.comes_before(name, gate) and graph.steps[name].kind in {SERVICE, "child"}
            )
            for gate in order.names
            if graph.steps[gate].gate is not None
        },
        again={gate: back for gate in order.names if (back := _again(graph, order, gate))},
    )


def plan_text(plan: Plan) -> str:
    """Return a plan as lines of text."""
    width = max(len(each.name) for each in plan.steps)
    lines = [f"{plan.workflow}: {_count(len(plan.steps), 'step')}, nothing is run"]
    for level, steps in groupby(plan.steps, key=lambda each: each.level):
        lines.append(f"level {level}")
        lines += [f"  {each.name:{width}}  {'; '.join(_told(each))}" for each in steps]
    lines.append(f"cannot be undone: {', '.join(plan.no_undo) or 'nothing'}")
    lasting = set(plan.no_undo)
    for gate, before in plan.gates.items():
        undone = [each for each in before if each not in lasting]
        lines.append(
            f"before gate {gate}: {', '.join(before) or 'nothing'}"
            + (f"; a rejection undoes {', '.join(undone)}" if undone else "")
        )
    lines += [
        f"sent back at gate {gate}, done again without an undo: {', '.join(steps)}"
        for gate, steps in plan.again.items()
    ]
    kept = [each.name for each in plan.steps if each.kept]
    if kept:
        lines.append(f"at or behind the point of no return: {', '.join(kept)}")
    way = " -> ".join(plan.longest)
    lines.append(f"worst case: {_time(plan.worst_s)}, along {way}")
    if plan.limit_s is not None:
        cut = ", then it is cut short and undone" if plan.worst_s > plan.limit_s else ""
        lines.append(f"limit: {shown(plan.limit_s)}{cut}")
    halts = [each.name for each in plan.steps if each.halts]
    if halts:
        lines.append(f"may wait for an operator, without a limit: {', '.join(halts)}")
    waits = [each.name for each in plan.steps if each.unbounded]
    if waits:
        lines.append(f"not counted, for nobody can tell how long they wait: {', '.join(waits)}")
    return "\n".join(lines) + "\n"


def as_text(graph: Graph) -> str:
    """Return a graph as lines of text: each step, and below it what it needs and leads to."""
    lines = [f"{graph.name}: {_count(len(graph.steps), 'step')}"]
    lines += [graph.description] if graph.description else []
    if graph.fields is not None:
        told = (f"{name}: {field.type}" for name, field in graph.fields.items())
        lines.append(f"input: {', '.join(told)}")
    if graph.timeout is not None:
        lines.append(f"within {shown(float(graph.timeout))}")
    lines += _whole(graph)
    lines += [f"starts by {each.kind}: {each.text}" for each in graph.triggers]
    if graph.fallbacks:
        lines.append(f"before it fails: {', then '.join(in_words(graph.fallbacks))}")
    lines += ["", *_directives(graph.defaults.directives)]
    for name, step in graph.steps.items():
        lines.append(f"{name}  {does(step)}")
        lines += [f"    {line}" for line in _lines(graph, name, step)]
    return "\n".join(lines) + "\n"


def _whole(graph: Graph) -> Iterator[str]:
    """Tell what is said of the graph as a whole."""
    if graph.result_fields is not None:
        told = (f"{name}: {field.type}" for name, field in graph.result_fields.items())
        yield f"returns: {', '.join(told)}"
    if graph.limits is not None and graph.limits.max_active:
        per = f" per {graph.limits.per}" if graph.limits.per else ""
        yield f"at most {graph.limits.max_active} active runs{per}"
    if graph.approval_mode:
        yield f"gates are {graph.approval_mode}"
    for name, each in graph.profiles.items():
        put = ", ".join(f"{other} for {service}" for service, other in each.services.items())
        mode = f"gates are {each.approval_mode}" if each.approval_mode else ""
        yield f"profile {name}: {'; '.join(filter(None, (put, mode))) or 'as it stands'}"


def as_mermaid(graph: Graph) -> str:
    """Return a graph as the text of a Mermaid flowchart."""
    names = {name: f"s{index}" for index, name in enumerate(graph.steps)}
    lines = ["flowchart TD"]
    for name, step in graph.steps.items():
        label = f"{name}<br/>{_label(does(step))}"
        begin, end = SHAPES["child" if step.each else step.kind]
        lines.append(f'{names[name]}{begin}"{label}"{end}')
    for name, step in graph.steps.items():
        label = f'|"{_label(step.condition)}"|' if step.when else ""
        dashed = "-.->" if step.join != "all" else "-->"
        lines += [f"{names[each]} {dashed}{label} {names[name]}" for each in step.needed]
    return "\n    ".join(lines) + "\n"


def _planned(
    graph: Graph, name: str, *, level: int, seconds: dict[str, float], kept: bool
) -> PlannedStep:
    step = graph.steps[name]
    options = options_of(graph, name)
    asks = step.kind == SERVICE
    directives = [each for table in tables_of(graph, name) for each in table.values()]
    seconds[name] = worst_s(graph, name, options)
    return PlannedStep(
        name=name,
        level=level,
        asks=does(step),
        needs=step.needed,
        when=step.condition,
        foreach=step.foreach if isinstance(step.foreach, str) else f"{len(step.foreach)} items",
        critical=step.critical,
        calls=max(options.retry.attempts, *(each.attempts for _, each in options.retries or ()), 0)
        if asks
        else 0,
        worst_s=seconds[name],
        undo=_undone_by(step),
        halts=any(each.do == "halt_and_alert" for each in _all(directives)),
        unbounded=unbounded(step),
        kept=kept,
    )


def _again(graph: Graph, order: Order, gate: str) -> tuple[str, ...]:
    """Return the steps whose work is repeated when a gate sends it back, for want of an undo."""
    back = {name for steps in again_at(graph, order, gate).values() for name in steps}
    if not back:  # as with every step that is no gate
        return ()
    return tuple(
        name
        for name in order.names
        if name in back
        and graph.steps[name].kind in {SERVICE, "child"}
        and not _undone_by(graph.steps[name])
    )


def _undone_by(step: GraphStep) -> str:
    """Return what undoes a step; empty when nothing does."""
    undo = step.undone_by
    if undo is not None:
        return f"{undo.service or step.service}.{undo.operation}"
    return f"the steps of {step.child}" if step.undo and step.child else ""


def _all(directives: list[Directive]) -> Iterator[Directive]:
    for first in directives:
        yield from chain(first)


def _told(each: PlannedStep) -> Iterator[str]:
    yield each.asks
    if each.when:
        yield f"if {each.when}"
    if each.foreach:
        yield f"for each of {each.foreach}"
    if each.worst_s:
        yield f"up to {_time(each.worst_s)}" + (" each" if each.foreach else "")
    elif each.unbounded:
        yield "nobody can tell how long"
    if each.undo:
        yield f"undone by {each.undo}"
    if not each.critical:
        yield "not critical"


def _lines(graph: Graph, name: str, step: GraphStep) -> Iterator[str]:
    if step.description:
        yield step.description
    if step.gate is not None and step.gate.title:
        yield f"decided by a person: {step.gate.title}"
    if step.needed:
        join = "" if step.join == "all" else f"{step.join} of "
        yield f"after {join}{', '.join(step.needed)}"
    if step.when:
        yield f"if {step.condition}"
    if step.each:
        yield f"for each of {step.foreach}, {step.concurrency} at a time"
    given = step.set if step.kind == "set" else step.params
    if given is not None:
        yield f"with {msgspec.json.encode(given).decode()}"
    yield from _times(graph, name, step)
    yield from _ends(step)


def _ends(step: GraphStep) -> Iterator[str]:
    """Tell what its end and its failures lead to."""
    if step.fallbacks:
        yield f"else: {', then '.join(in_words(step.fallbacks))}"
    undo = _undone_by(step)
    if undo:
        yield f"undone by {undo}"
    if step.pivot:
        yield "the point of no return"
    if not step.critical:
        yield "not critical"
    yield from _directives(step.directives)


def _times(graph: Graph, name: str, step: GraphStep) -> Iterator[str]:
    if step.kind == SERVICE:
        retry = graph.retry(name)
        most = "" if retry is None else f", at most {retry.attempts} of them"
        yield f"a call within {shown(graph.timeout_s(name))}{most}"
    elif step.timeout is not None:
        yield f"within {shown(float(step.timeout))}"
    if step.deadline is not None:
        yield f"all calls within {shown(float(step.deadline))}"


def _directives(table: Table) -> list[str]:
    return [f"on {kind}: {_chain(each)}" for kind, each in table.items()]


def _chain(directive: Directive) -> str:
    told = []
    for each in chain(directive):
        detail = ", ".join(filter(None, (*each.services, each.by)))
        told.append(f"{each.do} ({detail})" if detail else each.do)
    return ", then ".join(told)


def _label(text: str) -> str:
    return " ".join(text.split()).replace('"', "'")


def _time(worst_s: float) -> str:
    """Return a duration in whole seconds: a bound is no measurement."""
    return shown(float(ceil(worst_s)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
