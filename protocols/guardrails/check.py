"""What is wrong with the guardrails and budgets of a definition, and with a shared set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from protocols.conditions import Condition, ConditionError
from protocols.durations import shown
from protocols.errors import ConfigurationError
from protocols.findings import Finding, Place, did_you_mean
from protocols.graphs.field import Part
from protocols.graphs.graph import SERVICE, Graph, GraphStep
from protocols.guardrails.book import NAME, NAME_CHARS_MAX, NAMED, with_shared, wrong_rules
from protocols.guardrails.budgets import UNITS, WINDOW_S_MAX, Budget
from protocols.guardrails.evaluation import not_allowed
from protocols.guardrails.guardrail import Guardrail
from protocols.machines.machine import Machine

Held = Graph | Machine
"""A definition that is data: what its steps are held to can be told before it runs."""
HeldT = TypeVar("HeldT", bound=Held)


class _Asked(NamedTuple):
    """Whom a state asks for what."""

    service: str
    operation: str


class RuleSet(Part, frozen=True, kw_only=True):
    """Guardrails that definitions share, in a file of their own."""

    guardrails: Annotated[
        dict[str, Guardrail],
        Meta(description="Rules by name; those with `every` are for every step of all."),
    ]
    description: Annotated[str, Meta(description="What they are for, for people.")] = ""

    @classmethod
    def of(cls, data: bytes) -> RuleSet:
        """Return a set as it was stored. Raises msgspec.ValidationError."""
        return msgspec.json.decode(data, type=cls)


def check_set(rules: RuleSet) -> list[Finding]:
    """Return everything that is wrong with a set."""
    found = list(wrong_rules(rules.guardrails))
    found += [
        Finding(
            ("guardrails", name, "function"), "a set has no modules", "put it into the definition"
        )
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
    yield from wrong_rules(own)
    for name, rule in own.items():
        yield from _steps_of(graph, name, rule)
    yield from _named(graph)
    for name, step in graph.steps.items():
        if step.kind == SERVICE:
            yield from _allows(own, step.guardrails, step, ("steps", name))
            yield from _estimates(graph, step, ("steps", name))
    yield from _budgets(graph)


def of_states(machine: Machine) -> Iterator[Finding]:
    """Return what is wrong with the guardrails of a state machine."""
    own = rules_of(machine)
    yield from wrong_rules(own, steps=False)
    yield from _named(machine)
    for name, state in machine.states.items():
        at: Place = ("states", name)
        if state.owner:
            asked = _Asked(state.owner, machine.operation(name))
            yield from _allows(own, state.rules, asked, at)
        elif state.rules:
            message = f"{name} has no owner, whose work could be held to them"
            yield Finding((*at, "guardrails"), message, "take them away", of_key=True)


def unresolved(definition: Held) -> list[Finding]:
    """Return the names of guardrails that it does not define: shared ones, or mistakes."""
    own = rules_of(definition)
    places: list[tuple[Place, str]] = []
    if not isinstance(definition.guardrails, dict):
        places += [
            (("guardrails", index), name) for index, name in enumerate(definition.guardrails)
        ]
    for at, names in _holding(definition):
        places += [((*at, "guardrails", index), name) for index, name in enumerate(names)]
    found = []
    for place, name in places:
        if name in own:
            continue
        near = did_you_mean(name, own)
        hint = near if near.startswith("did") else "define it, or 'movant guardrail register' it"
        found.append(Finding(place, f"there is no guardrail {name[:60]!r}", hint))
    return found


def rules_of(definition: Held) -> dict[str, Guardrail]:
    """Return the guardrails that a definition has."""
    return definition.guardrails if isinstance(definition.guardrails, dict) else {}


def resolved(definition: HeldT, shared: Mapping[str, Guardrail]) -> HeldT:
    """Return the definition with the shared guardrails that it names, and those for all.

    From then on they are part of the definition, and of its hash: a set that changes later
    changes nothing of what is registered. What it defines itself stays as it is.
    """
    named = {name for _, names in _holding(definition) for name in names}
    found = with_shared(definition.guardrails, named, shared)
    for_all = () if isinstance(definition.guardrails, dict) else definition.guardrails
    if not frozenset(for_all) <= found.keys() or found == definition.guardrails:
        return definition  # who checks it names what is missing
    if not found and not definition.guardrails:
        return definition
    return msgspec.structs.replace(definition, guardrails=found)


def _holding(definition: Held) -> Iterator[tuple[Place, tuple[str, ...]]]:
    """Yield what names guardrails, and which."""
    if isinstance(definition, Graph):
        for name, step in definition.steps.items():
            yield ("steps", name), tuple(step.guardrails)
    else:
        for name, state in definition.states.items():
            yield ("states", name), state.rules


def _named(definition: Held) -> Iterator[Finding]:
    """Look at the names of guardrails: one that is not near to any may be that of a shared one."""
    for each in unresolved(definition):
        near = each.hint.startswith("did you mean")
        yield each if near else msgspec.structs.replace(each, severity="warning")
    for at, names in _holding(definition):
        for twice in sorted({name for name in names if names.count(name) > 1}):
            yield Finding((*at, "guardrails"), f"{twice} stands twice", "take one of the two away")


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


def _allows(
    own: dict[str, Guardrail], names: Sequence[str], asked: GraphStep | _Asked, at: Place
) -> Iterator[Finding]:
    """Hold what is asked of whom to the allowlists that count for every profile."""
    for called, rule in own.items():
        if rule.allow is None or rule.profiles or not (rule.every or called in names):
            continue
        key = not_allowed(rule.allow, asked.service, asked.operation)
        if key:
            words = rule.allow.services if key == "service" else rule.allow.operations
            word = getattr(asked, key)
            place = "owner" if key == "service" and isinstance(asked, _Asked) else key
            yield Finding(
                (*at, place),
                f"{called} does not allow {word[:60]!r}",
                did_you_mean(word, words),
                "error" if rule.severity == "critical" else "warning",
            )


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
            yield Finding(("budgets", name), message, NAMED, of_key=True)
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
