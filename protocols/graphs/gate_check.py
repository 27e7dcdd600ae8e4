"""What is wrong with gates and fallbacks among the other steps of a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocols.findings import Finding, Place, did_you_mean
from protocols.found_references import found_in
from protocols.gates.gate import MODES, problems
from protocols.graphs.fallback import FALLBACKS_MAX, Fallback
from protocols.graphs.graph import Graph, GraphStep
from protocols.graphs.order import Order, again_at
from protocols.references import WrongReference
from protocols.subjects import is_name, is_step_name

_ROOTS: Final = ("input", "run")


def people(graph: Graph, order: Order) -> Iterator[Finding]:
    """Return what is wrong with gates and fallbacks, as far as other steps matter."""
    yield from _mode(graph.approval_mode)
    yield from _fallbacks(graph, order, graph.fallbacks, ("fallbacks",), None)
    for name, step in graph.steps.items():
        at: Place = ("steps", name)
        yield from _fallbacks(graph, order, step.fallbacks, (*at, "fallbacks"), name)
        if step.gate is not None and "retry" in step.gate.decisions:
            yield from _again(graph, order, name, step)


def _mode(mode: str) -> Iterator[Finding]:
    at: Place = ("approval_mode",)
    if not mode or mode in MODES:
        return
    if "{{" not in mode:
        yield Finding(at, f"{mode[:60]!r} is no mode of gates", did_you_mean(mode, MODES))
        return
    try:
        found = found_in(mode)
    except WrongReference as error:
        yield Finding(at, error.message, "such as: {{input.approval_mode ?? 'interactive'}}")
        return
    for _, reference in found:
        for path in reference.paths:
            if path.parts[0] not in _ROOTS:
                message = f"{path}: the mode of all gates is known when the run begins"
                yield Finding(at, message, "refer to the input")


def _again(graph: Graph, order: Order, name: str, step: GraphStep) -> Iterator[Finding]:
    """Look at what the decision ``retry`` of a gate does once more."""
    at: Place = ("steps", name, "gate", "retry")
    assert step.gate is not None
    if step.each:
        message = "a gate for each item sends no work back"
        yield Finding((*at[:3], "decisions"), message, "take 'retry' away, or 'foreach'")
        return
    for each in step.gate.retry:
        if each not in graph.steps:
            yield Finding(at, f"there is no step {each[:60]!r}", did_you_mean(each, graph.steps))
        elif not order.comes_before(each, name):
            message = f"{name} does not wait for {each}"
            yield Finding(at, message, "name a step that comes before the gate")
    again = again_at(graph, order, name)
    if not again:
        hint = "write 'needs', or 'retry: STEP' under 'gate'"
        yield Finding((*at[:3], "decisions"), "there is no work before it to do once more", hint)
    waits = _behind(graph, order, name)
    for first, steps in again.items():
        for each in graph.steps:
            apart = each != name and each not in steps and each not in waits
            if apart and any(order.comes_before(one, each) for one in steps):
                yield Finding(
                    at,
                    f"{each} may begin before {name} is decided, with what {first} has done "
                    "until then",
                    f"let {each} need {name} as well",
                )
                break


def _behind(graph: Graph, order: Order, gate: str) -> set[str]:
    """Return the steps that begin only behind a gate, whatever else happens."""
    found = {gate}
    for name in order.names:
        if graph.steps[name].join == "all" and found.intersection(order.needs[name]):
            found.add(name)
    return found - {gate}


def _fallbacks(
    graph: Graph, order: Order, fallbacks: tuple[Fallback, ...], at: Place, step: str | None
) -> Iterator[Finding]:
    if len(fallbacks) > FALLBACKS_MAX:
        yield Finding(at, f"{len(fallbacks)} fallbacks", f"at most {FALLBACKS_MAX}")
    for index, each in enumerate(fallbacks):
        place: Place = (*at, index)
        if step is None:
            yield from _of_all(each, place)
        yield from _asked(each, place)
        for name in each.skipped:
            if name not in graph.steps:
                message = f"there is no step {name[:60]!r}"
                yield Finding((*place, "skip"), message, did_you_mean(name, graph.steps))
            elif step is not None and order.comes_before(name, step):
                message = f"{name} has ended when {step} fails"
                yield Finding((*place, "skip"), message, "name steps that have not begun then")
        if step is not None and not each.asks and index + 1 < len(fallbacks):
            message = "nothing comes behind going on without the step, or behind a person"
            yield Finding((*at, index + 1), message, "put it before")
            return


def _of_all(each: Fallback, place: Place) -> Iterator[Finding]:
    """Look at a fallback of the graph as a whole."""
    if each.asks:
        message = "a graph as a whole asks nobody"
        yield Finding(place, message, "write 'skip' or 'gate', or a fallback of the step")
    elif each.goes_on and not each.skip:
        yield Finding(place, "which steps can be left out?", "name them under 'skip'")


def _asked(each: Fallback, place: Place) -> Iterator[Finding]:
    if each.service and not is_name(each.service):
        message = f"{each.service[:60]!r} is no name of a service"
        yield Finding((*place, "service"), message, "letters, digits, '_', '-' and '.'")
    if each.operation and not is_step_name(each.operation):
        yield Finding((*place, "operation"), f"{each.operation[:60]!r} is no operation")
    for wrong in problems(each.person) if each.person is not None else ():
        if wrong.key != "retry":
            yield Finding((*place, "gate", wrong.key), wrong.message, wrong.hint)
