"""RuleBook: the guardrails of one definition made ready, whatever the definition is written in.

    RuleBook({"private": Guardrail(type="data-privacy")}).of(["private"]) -> the rules of a step

A graph, a state machine and a workflow in Python each have one; what it says of a step is
evaluated by ``actors.kernel.guarding`` for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from protocols.conditions import Condition, ConditionError
from protocols.errors import ConfigurationError
from protocols.findings import Finding, Place, did_you_mean
from protocols.guardrails.evaluation import Guard
from protocols.guardrails.guardrail import GUARDRAILS_MAX, Guardrail, Rules, problems
from protocols.references import WrongReference, parse

Functions = Mapping[str, Callable[..., Any]]
"""Functions of guardrails by ``module:name``."""
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*\Z")
NAME_CHARS_MAX: Final = 48
"""Of a guardrail or a budget: it is part of the name of a step."""
NAMED: Final = f"letters, digits, '_' and '-', at most {NAME_CHARS_MAX}, a letter first"
OF_GRAPHS: Final = frozenset({"steps", "item", "index"})
"""Names that only graphs have: elsewhere a rule that looks at them could never be evaluated."""


class RuleBook:
    """The rules of a definition. Raises ConfigurationError for what none can be."""

    __slots__ = ("_every", "functions", "guards")

    def __init__(self, rules: Mapping[str, Guardrail], functions: Functions | None = None) -> None:
        self.guards: Final = {name: Guard(name, rule) for name, rule in rules.items()}
        self.functions: Final[Functions] = functions or {}
        self._every = tuple(each for each in self.guards.values() if each.rule.every)

    def beside(self, other: RuleBook) -> RuleBook:
        """Return a book with the rules of both; its own go first, but for those of every step."""
        found = RuleBook({}, {**other.functions, **self.functions})
        kept = {name: each for name, each in other.guards.items() if each.rule.every}
        found.guards.update({**other.guards, **self.guards, **kept})
        found._every = tuple(each for each in found.guards.values() if each.rule.every)
        return found

    def of(self, names: Iterable[str] = ()) -> tuple[Guard, ...]:
        """Return the rules of a step: those that it names, and those for every step.

        Raises ConfigurationError for a name that nobody has defined.
        """
        wanted = frozenset((names,) if isinstance(names, str) else names)
        if not wanted:
            return self._every
        unknown = wanted - self.guards.keys()
        if unknown:
            raise no_rules(sorted(unknown), self.guards)
        return tuple(
            each for name, each in self.guards.items() if each.rule.every or name in wanted
        )


def no_rules(names: str | Sequence[str], known: Iterable[str] = ()) -> ConfigurationError:
    """Return the error for guardrails that nobody has defined."""
    first = names if isinstance(names, str) else names[0]
    return ConfigurationError(
        f"there is no guardrail {first[:60]!r}",
        hint=did_you_mean(first, known)
        or "define it with the workflow, or share it and register the workflow anew",
    )


def wrong_rules(rules: Mapping[str, Guardrail], *, steps: bool = True) -> Iterator[Finding]:
    """Return what is wrong with rules; without ``steps`` they are not those of a graph."""
    if len(rules) > GUARDRAILS_MAX:
        yield Finding(("guardrails",), f"{len(rules)} guardrails", f"at most {GUARDRAILS_MAX}")
    for name, rule in rules.items():
        at: Place = ("guardrails", name)
        if not NAME.match(name) or len(name) > NAME_CHARS_MAX:
            yield Finding(at, f"{name[:60]!r} is no name of a guardrail", NAMED, of_key=True)
        for wrong in problems(rule):
            place = (*at, wrong.key) if wrong.number is None else (*at, wrong.key, wrong.number)
            yield Finding(place, wrong.message, wrong.hint, offset=wrong.offset)
        if not steps:
            yield from _of_graphs(rule, at)


def checked_rules(rules: Mapping[str, Guardrail]) -> Mapping[str, Guardrail]:
    """Return the rules of a workflow in Python, or raise ConfigurationError for all errors."""
    wrong = list(wrong_rules(rules, steps=False))
    if wrong:
        raise ConfigurationError(
            "; ".join(f"{each.where}: {each.message}" for each in wrong),
            hint="; ".join(each.hint for each in wrong if each.hint),
        )
    return rules


def with_shared(
    own: Rules, named: Iterable[str], shared: Mapping[str, Guardrail]
) -> dict[str, Guardrail]:
    """Return the rules of a definition: its own, and of shared ones those that it gets.

    Those that ``named`` has, those that stand alone in ``own`` (they are for every step then),
    and those that are for every step of all; a definition does not get out of one of these by
    giving its name to a rule of its own. Names that nobody has defined are left out.
    """
    for_all = frozenset(() if isinstance(own, dict) else own)
    found = dict(own) if isinstance(own, dict) else {}
    wanted = frozenset(named)
    for name, rule in shared.items():
        if name in found and not rule.every:
            continue
        if name in for_all:
            found[name] = msgspec.structs.replace(rule, every=True)
        elif name in wanted or rule.every:
            found[name] = rule
    return found


def _of_graphs(rule: Guardrail, at: Place) -> Iterator[Finding]:
    """Look for names that nothing but a graph has."""
    hint = "look at params, input, run, step, result, usage or took_s"
    for key in ("require", "deny"):
        for index, text in enumerate(getattr(rule, key)):
            try:
                names = sorted(Condition(text).names & OF_GRAPHS)
            except ConditionError:
                continue
            for name in names:
                yield Finding((*at, key, index), f"only graphs have {name!r}", hint)
    for key in ("key", "count"):
        try:
            pieces = parse(getattr(rule, key))
        except WrongReference:
            continue
        found = [each for each in pieces if not isinstance(each, str)]
        there = {str(path.parts[0]) for each in found for path in each.paths}
        for name in sorted(there & OF_GRAPHS):
            yield Finding((*at, key), f"only graphs have {name!r}", hint)
