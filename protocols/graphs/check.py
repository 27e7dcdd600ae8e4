"""What is wrong with a graph as a whole: found before it is deployed, with place and advice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Final

import msgspec

from protocols.directives import Directive, Table
from protocols.durations import shown
from protocols.error_kinds import ALIASES, KINDS
from protocols.errors import ConfigurationError
from protocols.failure import TIMEOUT
from protocols.findings import Finding, Place, bounded, did_you_mean, too_late, wrong_kind
from protocols.graphs.clashes import types
from protocols.graphs.gate_check import people
from protocols.graphs.graph import ANY_KIND, SERVICE, Graph, GraphStep
from protocols.graphs.input import problem
from protocols.graphs.kinds import ASK_NOBODY, does, kinds
from protocols.graphs.order import Order, longest, once_s
from protocols.graphs.order import chain as in_a_row
from protocols.graphs.profile import profiles
from protocols.graphs.references import references
from protocols.guardrails.check import guardrails, unresolved
from protocols.guardrails.guardrail import KINDS as GUARDED
from protocols.subjects import is_name, is_step_name

STEPS_MAX: Final = 5_000
STEP_CHARS_MAX: Final = 64
"""Of a step's name: it is part of paths and of a signal's name."""
CHAIN_MAX: Final = 8
"""Directives that follow each other by ``then``."""
CYCLE_MAX: Final = 10
"""Names of a cycle that are shown."""
AVAILABLE: Final = frozenset(
    {"retry", "fallback", "review", "continue", "compensate", "halt_and_alert"}
)
"""Directives that a step can follow: there is no state to return to."""
STEP_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*\Z")
_NAME: Final = "letters, digits, '_' and '-', in parts separated by dots"
_STEP: Final = f"letters, digits, '_' and '-', at most {STEP_CHARS_MAX}, a letter first"


def check(graph: Graph) -> list[Finding]:
    """Return what is wrong with a graph, errors and warnings, as far as it is told."""
    order = Order(graph)
    found = [_heads(graph), _steps(graph), _cycles(order), guardrails(graph)]
    if not order.cycle:  # in a cycle nothing comes before anything
        found += [references(graph, order), people(graph, order), types(graph), profiles(graph)]
        found += [_times(graph, order), _pivots(graph, order)]
    return bounded(chain.from_iterable(found))


def checked(graph: Graph) -> Graph:
    """Return the graph, or raise ConfigurationError that names every error of it.

    A guardrail that is shared has to be part of the graph by now: one that is missing is an error.
    """
    errors = [each for each in check(graph) if each.severity == "error"]
    told = {each.place for each in errors}
    errors += [each for each in unresolved(graph) if each.place not in told]
    if errors:
        raise ConfigurationError(
            f"graph {graph.name[:60]!r}: "
            + "; ".join(f"{each.where}: {each.message}" for each in errors),
            hint="; ".join(each.hint for each in errors if each.hint),
        )
    return graph


def _heads(graph: Graph) -> Iterator[Finding]:
    if not is_name(graph.name):
        yield Finding(("name",), f"{graph.name[:60]!r} is no name of a workflow", _NAME)
    if not 1 <= len(graph.steps) <= STEPS_MAX:
        yield Finding(("steps",), f"{len(graph.steps)} steps", f"1 to {STEPS_MAX} of them")
    for index, kind in enumerate(graph.kinds):
        taken = kind in {*KINDS, *GUARDED, *ALIASES, ANY_KIND}
        if taken or not is_step_name(kind):
            yield Finding(
                ("kinds", index),
                f"{kind[:60]!r} is no kind of its own",
                "list only kinds that movant does not know itself: letters, digits, '_', '-'",
            )
    yield from _directives(graph, graph.defaults.directives, ("defaults", "on_error"), None)
    for part, fields in (("input", graph.fields), ("returns", graph.result_fields)):
        for name, field in (fields or {}).items():
            wrong = problem(field, name)
            if wrong:
                at = "type" if field.default is msgspec.UNSET else "default"
                yield Finding((part, name, at), f"the field {name[:60]!r}: {wrong}")


def _steps(graph: Graph) -> Iterator[Finding]:
    for name, step in graph.steps.items():
        at: Place = ("steps", name)
        if not STEP_NAME.match(name) or len(name) > STEP_CHARS_MAX:
            yield Finding(at, f"{name[:60]!r} is no name of a step", _STEP, of_key=True)
        yield from kinds(name, step)
        if step.service:
            yield from _asked(step.service, step.operation, at)
        yield from _needs(graph, name, step)
        yield from _directives(graph, step.directives, (*at, "on_error"), step)
        undo = step.undone_by
        if undo is not None and step.kind == SERVICE:
            service = undo.service or step.service
            yield from _asked(service, undo.operation, (*at, "undo"))


def _asked(service: str, operation: str, at: Place) -> Iterator[Finding]:
    wrong = _wrong_request(service, operation)
    if wrong is not None:
        key, message, hint = wrong
        yield Finding((*at, key) if key else at, message, hint)


@lru_cache(maxsize=4_096)
def _wrong_request(service: str, operation: str) -> tuple[str, str, str] | None:
    """Return key, message and hint for what is wrong with a service and its operation."""
    if not is_name(service):
        return "service", f"{service[:60]!r} is no name of a service", _NAME
    if not operation:
        return "", "'operation' is missing", "write 'operation: …'"
    if not is_step_name(operation):
        return "operation", f"{operation[:60]!r} is no operation", _NAME
    if not is_step_name(f"{service}.{operation}"):
        return "operation", "service and operation are too long", "128 characters"
    return None


def _needs(graph: Graph, name: str, step: GraphStep) -> Iterator[Finding]:
    at: Place = ("steps", name, "needs")
    seen: set[str] = set()
    for index, each in enumerate(step.needed):
        if each not in graph.steps:
            known = graph.steps.keys() - {name}
            yield Finding(
                (*at, index), f"there is no step {each[:60]!r}", did_you_mean(each, known)
            )
        elif each == name:
            yield Finding((*at, index), f"{name} needs itself", "take it away")
        elif each in seen:
            yield Finding((*at, index), f"{each} stands twice", "take one of the two away")
        seen.add(each)
    if seen and isinstance(step.join, int) and step.join > len(seen):
        yield Finding(
            ("steps", name, "join"),
            f"{step.join} of {len(seen)} needs can never be done",
            f"write a number up to {len(seen)}, 'all' or 'any'",
        )
    elif step.join != "all" and not seen:
        yield Finding(("steps", name, "join"), "there is nothing to join", "write 'needs: [...]'")


def _cycles(order: Order) -> Iterator[Finding]:
    if not order.cycle:
        return
    first = order.cycle[0]
    if len(order.cycle) == 2:  # noqa: PLR2004 - a step that needs itself is told already
        return
    shown = order.cycle
    if len(shown) > CYCLE_MAX:
        shown = [*shown[: CYCLE_MAX - 2], f"… ({len(order.cycle) - 1} steps)", *shown[-2:]]
    yield Finding(
        ("steps", first, "needs"),
        f"the steps wait for each other: {' -> '.join(shown)}",
        "take one of these needs away",
        of_key=True,
    )


def _directives(
    graph: Graph, table: Table, at: Place, step: GraphStep | None
) -> Iterator[Finding]:
    known = (*KINDS, *GUARDED, *graph.kinds, ANY_KIND)
    for kind, first in table.items():
        place = (*at, kind)
        yield from wrong_kind(kind, known, place)
        for depth, each in enumerate(in_a_row(first)):
            if depth >= CHAIN_MAX:
                yield Finding(place, f"more than {CHAIN_MAX} directives in a row", "make it short")
                break
            yield from _directive(each, (*place, *("then",) * depth), step, kind)


def _directive(
    directive: Directive, place: Place, step: GraphStep | None, kind: str
) -> Iterator[Finding]:
    operation = "operation" if step is None else step.operation
    asks = step is None or step.kind == SERVICE
    available = AVAILABLE if asks else ASK_NOBODY
    if directive.do not in available:
        which = "of a graph" if asks or step is None else f"with {step.kind!r}"
        yield Finding(
            place,
            f"{directive.do} is nothing that a step {which} can do",
            f"one of: {', '.join(sorted(available))}",
        )
    if directive.do == "retry" and kind == ANY_KIND:
        yield Finding(place, "retry is for one kind here", "write 'retry:' beside 'on_error:'")
    if directive.to:
        yield Finding((*place, "to"), "a graph has no states to go to", "take it away")
    if directive.do == "review" and not directive.by:
        yield Finding(place, "a review needs a service that decides", "write 'by: SERVICE'")
    for service in directive.services if asks else ():
        yield from _asked(service, operation, place)
    if directive.by:
        yield from _asked(directive.by, directive.operation, place)
    if (
        available is AVAILABLE
        and directive.do == "fallback"
        and kind == TIMEOUT
        and directive.unknown == "halt"
    ):
        yield Finding(
            place,
            "after a timeout the work may have been done, and the next service would do it again",
            "write 'unknown: switch' if that does no harm",
        )


def _times(graph: Graph, order: Order) -> Iterator[Finding]:
    """Look for times that cannot be kept."""
    whole_s = None if graph.timeout is None else float(graph.timeout)
    for name, step in graph.steps.items():
        at: Place = ("steps", name)
        call_s = once_s(graph, name)
        if step.heartbeat is not None and step.kind == SERVICE and float(step.heartbeat) >= call_s:
            yield too_late(at)
        if step.kind != SERVICE:
            if whole_s is not None and call_s > whole_s:
                yield Finding(
                    (*at, step.kind if step.kind in {"sleep", "gate"} else "timeout"),
                    f"{does(step)} may take {shown(call_s)}, but the whole run only "
                    f"{shown(whole_s)}",
                    "let it take less, or the run more",
                )
        elif step.deadline is not None and float(step.deadline) < call_s:
            yield Finding(
                (*at, "deadline"),
                f"one call may take {shown(call_s)}, but the step with all its calls only "
                f"{shown(float(step.deadline))}",
                "let a call take less, or the step more",
            )
        elif whole_s is not None and step.timeout is not None and call_s > whole_s:
            yield Finding(
                (*at, "timeout"),
                f"one call may take {shown(call_s)}, but the whole run only {shown(whole_s)}",
                "let a call take less, or the run more",
            )
    if whole_s is None:
        return
    total_s, way = longest(order, {name: once_s(graph, name) for name in order.names})
    if total_s > whole_s and len(way) > 1:
        yield Finding(
            ("timeout",),
            f"cannot finish in time when services are slow: one call each of {' -> '.join(way)} "
            f"may take {shown(total_s)}, the whole run only {shown(whole_s)}",
            "let the run take more, or the calls less",
            "warning",
        )


def _pivots(graph: Graph, order: Order) -> Iterator[Finding]:
    pivots = [name for name, step in graph.steps.items() if step.pivot]
    for name, step in graph.steps.items() if pivots else ():
        behind = _first(each for each in pivots if order.comes_before(each, name))
        if step.undo and behind:
            yield Finding(
                ("steps", name, "undo"),
                f"{name} is never undone: it comes behind {behind}, the point of no return",
                "take 'undo' away, or 'pivot'",
                "warning",
            )


def _first(names: Iterable[str]) -> str:
    return next(iter(names), "")
