"""What is wrong with the guardrails and budgets of a graph, and with a set that graphs share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocols.conditions import Condition, ConditionError
from protocols.durations import shown
from protocols.errors import ConfigurationError
from protocols.findings import Finding, Place, did_you_mean
from protocols.graphs.field import Part
from protocols.graphs.graph import SERVICE, Graph, GraphStep
from protocols.guardrails.budgets import UNITS, WINDOW_S_MAX, Budget
from protocols.guardrails.evaluation import not_allowed
from protocols.guardrails.guardrail import GUARDRAILS_MAX, Guardrail, problems

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*\Z")
NAME_CHARS_MAX: Final = 48
"""Of a guardrail or a budget: it is part of the name of a step."""
_NAME: Final = f"letters, digits, '_' and '-', at most {NAME_CHARS_MAX}, a letter first"


class RuleSet(Part, frozen=True, kw_only=True):
    """Guardrails that graphs share, in a file of their own."""

    guardrails: Annotated[
        dict[str, Guardrail],
        Meta(description="Rules by name; those with `every` are for every step of every graph."),
    ]
    description: Annotated[str, Meta(description="What they are for, for people.")] = ""

    @classmethod
    def of(cls, data: bytes) -> RuleSet:
        """Return a set as it was stored. Raises msgspec.ValidationError."""
        return msgspec.json.decode(data, type=cls)


def check_set(rules: RuleSet) -> list[Finding]:
    """Return everything that is wrong with a set."""
    found = list(_rules(rules.guardrails))
    found += [
        Finding(("guardrails", name, "function"), "a set has no modules", "put it into the graph")
        for name, rule in rules.guardrails.items()
        if rule.function
    ]
    return found


def checked_set(rules: RuleSet) -> RuleSet:
    """Return a set, or raise ConfigurationError that names every error of it."""
    wrong = [each for each in check_set(rules) if each.severity == "error"]
    if wrong:
        raise ConfigurationError(
            "guardrails: " + "; ".join(f"{each.where}: {each.message}" for each in wrong),
            hint="; ".join(each.hint for each in wrong if each.hint),
        )
    return rules


def guardrails(graph: Graph) -> Iterator[Finding]:
    """Return what is wrong with the guardrails and budgets of a graph."""
    own = rules_of(graph)
    yield from _rules(own)
    for name, rule in own.items():
        yield from _steps_of(graph, name, rule)
    for each in unresolved(graph):
        near = each.hint.startswith("did you mean")
        yield each if near else msgspec.structs.replace(each, severity="warning")
    for name, step in graph.steps.items():
        yield from _step(graph, name, step, own)
    yield from _budgets(graph)


def unresolved(graph: Graph) -> list[Finding]:
    """Return the names of guardrails that the graph does not define: shared ones, or mistakes."""
    own = rules_of(graph)
    places: list[tuple[Place, str]] = []
    if not isinstance(graph.guardrails, dict):
        places += [(("guardrails", index), name) for index, name in enumerate(graph.guardrails)]
    for step, of in graph.steps.items():
        places += [
            (("steps", step, "guardrails", index), name)
            for index, name in enumerate(of.guardrails)
        ]
    found = []
    for place, name in places:
        if name in own:
            continue
        near = did_you_mean(name, own)
        hint = near if near.startswith("did") else "define it, or 'movant guardrail register' it"
        found.append(Finding(place, f"there is no guardrail {name[:60]!r}", hint))
    return found


def rules_of(graph: Graph) -> dict[str, Guardrail]:
    """Return the guardrails that a graph defines."""
    return graph.guardrails if isinstance(graph.guardrails, dict) else {}


def resolved(graph: Graph, shared: dict[str, Guardrail]) -> Graph:
    """Return the graph with the shared guardrails that it names, and those that are for all.

    From then on they are part of the definition, and of its hash: a set that changes later
    changes nothing of what is registered. What the graph defines itself stays as it is.
    """
    own = rules_of(graph)
    named = {name for step in graph.steps.values() for name in step.guardrails}
    for_all = frozenset(() if isinstance(graph.guardrails, dict) else graph.guardrails)
    found = dict(own)
    for name, rule in shared.items():
        if name in own and not rule.every:
            continue
        if name in for_all:
            found[name] = msgspec.structs.replace(rule, every=True)
        elif name in named or rule.every:
            found[name] = rule  # a graph does not get out of a rule for all by its name
    missing = sorted(for_all - found.keys())
    if missing or found == graph.guardrails:
        return graph  # who checks it names what is missing
    return msgspec.structs.replace(graph, guardrails=found)


def _rules(rules: dict[str, Guardrail]) -> Iterator[Finding]:
    if len(rules) > GUARDRAILS_MAX:
        yield Finding(("guardrails",), f"{len(rules)} guardrails", f"at most {GUARDRAILS_MAX}")
    for name, rule in rules.items():
        at: Place = ("guardrails", name)
        if not NAME.match(name) or len(name) > NAME_CHARS_MAX:
            message = f"{name[:60]!r} is no name of a guardrail"
            yield Finding(at, message, _NAME, of_key=True)
        for wrong in problems(rule):
            place = (*at, wrong.key) if wrong.number is None else (*at, wrong.key, wrong.number)
            yield Finding(place, wrong.message, wrong.hint, offset=wrong.offset)


def _steps_of(graph: Graph, name: str, rule: Guardrail) -> Iterator[Finding]:
    """Look at the steps that conditions name."""
    for key in ("require", "deny"):
        for index, text in enumerate(getattr(rule, key)):
            try:
                condition = Condition(text)
            except ConditionError:
                continue
            for path in condition.paths:
                step = path.parts[1] if path.parts[0] == "steps" and len(path.parts) > 1 else ""
                if step and step not in graph.steps:
                    yield Finding(
                        ("guardrails", name, key, index),
                        f"there is no step {step[:60]!r}",
                        did_you_mean(step, graph.steps),
                        offset=path.column,
                        width=path.width,
                    )


def _step(
    graph: Graph, name: str, step: GraphStep, own: dict[str, Guardrail]
) -> Iterator[Finding]:
    at: Place = ("steps", name)
    twice = {each for each in step.guardrails if step.guardrails.count(each) > 1}
    for each in sorted(twice):
        yield Finding((*at, "guardrails"), f"{each} stands twice", "take one of the two away")
    if step.kind != SERVICE:
        return
    for called, rule in own.items():
        if rule.allow is None or rule.profiles or not (rule.every or called in step.guardrails):
            continue
        key = not_allowed(rule.allow, step.service, step.operation)
        if key:
            words = rule.allow.services if key == "service" else rule.allow.operations
            yield Finding(
                (*at, key),
                f"{called} does not allow {getattr(step, key)[:60]!r}",
                did_you_mean(getattr(step, key), words),
                "error" if rule.severity == "critical" else "warning",
            )
    yield from _estimates(graph, step, at)


def _estimates(graph: Graph, step: GraphStep, at: Place) -> Iterator[Finding]:
    """Warn where a step takes more than a budget has."""
    if step.estimate is None:
        return
    budgets = dict(graph.budgets)
    if step.budget is not None:
        budgets["of the step"] = step.budget
    for called, budget in budgets.items():
        for unit in UNITS:
            limit, want = budget.of(unit), step.estimate.of(unit)
            if limit is not None and want is not None and want > limit:
                yield Finding(
                    (*at, "estimate", unit),
                    f"the budget {called} has only {limit:g}",
                    "the step could never be done",
                    "warning",
                )


def budgets_of(graph: Graph) -> Iterator[tuple[Place, Budget]]:
    """Return all budgets of a graph and of its steps, each with where it stands."""
    for name, each in graph.budgets.items():
        yield ("budgets", name), each
    for name, step in graph.steps.items():
        if step.budget is not None:
            yield ("steps", name, "budget"), step.budget


def _budgets(graph: Graph) -> Iterator[Finding]:
    for name in graph.budgets:
        if not NAME.match(name) or len(name) > NAME_CHARS_MAX:
            message = f"{name[:60]!r} is no name of a budget"
            yield Finding(("budgets", name), message, _NAME, of_key=True)
    for at, budget in budgets_of(graph):
        if not budget.limits:
            words = ", ".join(repr(unit) for unit in UNITS)
            yield Finding(at, "it bounds nothing", f"write one of {words}", of_key=True)
        if budget.key and budget.window is None:
            message = "a budget of the run is the run's alone"
            yield Finding((*at, "key"), message, "write 'window: 1d'", of_key=True)
        if budget.roles and budget.then != "ask":
            yield Finding((*at, "roles"), "nobody is asked", "write 'then: ask'", of_key=True)
        if budget.window is not None and float(budget.window) > WINDOW_S_MAX:
            yield Finding((*at, "window"), f"at most {shown(WINDOW_S_MAX)}")


def missing(findings: Iterable[Finding]) -> ConfigurationError:
    """Return the error for guardrails that nobody has defined."""
    told = list(findings)
    return ConfigurationError(
        "; ".join(f"{each.where}: {each.message}" for each in told), hint=told[0].hint
    )
