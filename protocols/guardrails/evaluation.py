"""Guarding: guardrails evaluated. A pure function of the rule and of what the run has recorded.

    Guard(name, rule).check("after", {"params": …, "result": …}) -> violations

So every fold finds the same. What cannot be evaluated is a violation too, and blocks whatever the
severity says: a rule that is broken lets nothing through. What a violation tells never holds the
value that was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from protocols import codec
from protocols.conditions import Condition, ConditionError
from protocols.durations import shown
from protocols.graphs.input import input_type
from protocols.guardrails.budgets import UNITS, usage_of
from protocols.guardrails.guardrail import ACTIONS, Action, Allowed, Guardrail, Severity
from protocols.guardrails.sensitive import Found, found
from protocols.references import Template

When = Literal["before", "after"]

PLACES_MAX: Final = 5
"""Places that a violation names; there may be thousands."""
_HOST: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^\s/@]*@)?([^\s/:?#\"']+)", re.IGNORECASE)
_AFTER: Final = frozenset({"result", "took_s", "usage"})
_TEXTS_MAX: Final = 10_000
_BY_KEY: Final = 0.95
_CHECKED: Final = frozenset({"card", "iban", "private_key"})
_BY_SHAPE: Final = 0.9


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that does not hold: which one, how bad that is, and why.

    ``broken``: it could not be evaluated, and blocks for that. ``confidence`` is 1 where it is a
    matter of fact, and less where a pattern has found it.
    """

    guardrail: str
    type: str
    severity: Severity
    reason: str
    when: When
    confidence: float = 1.0
    broken: bool = False

    @property
    def action(self) -> Action:
        """What it leads to."""
        return "block" if self.broken else ACTIONS[self.severity]

    @property
    def text(self) -> str:
        """What people read."""
        return f"{self.guardrail} ({self.severity}): {self.reason}"


class Guard:
    """A rule made ready: its conditions read, its types built. Raises what a wrong one raises."""

    __slots__ = ("_after", "_before", "_count", "_result", "key", "name", "rule")

    def __init__(self, name: str, rule: Guardrail) -> None:
        self.name: Final = name
        self.rule: Final = rule
        self.key: Final = Template(rule.key) if rule.key else None
        self._count: Final = Template(rule.count) if rule.count else None
        told = [(Condition(text), True) for text in rule.require]
        told += [(Condition(text), False) for text in rule.deny]
        self._before: Final = [each for each in told if not each[0].names & _AFTER]
        self._after: Final = [each for each in told if each[0].names & _AFTER]
        field = rule.result_as
        kind = None if field is None else input_type({"result": field}, "Result")
        self._result: Final[Any] = kind

    def looks(self, when: When) -> bool:
        """Tell whether it looks at anything then."""
        return when in self.rule.moments or bool(self._before if when == "before" else self._after)

    def check(self, when: When, facts: Mapping[str, Any]) -> list[Violation]:
        """Return what the rule finds, before or after a step.

        ``facts`` has ``params``, ``service``, ``operation`` and the names of references; after the
        step ``result`` and ``took_s``.
        """
        try:
            return [
                self.violation(when, reason, confidence)
                for reason, confidence in self._look(when, facts)
            ]
        except ConditionError as error:
            return [self.broken(when, error.message)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return [self.broken(when, type(error).__name__)]

    def counted(self, facts: Mapping[str, Any]) -> int:
        """Return for how many calls one call counts. Raises WrongReference, ValueError."""
        if self._count is None:
            return 1
        value = self._count.fill(facts)
        if isinstance(value, list | tuple):
            return len(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{type(value).__name__} is nothing to count")
        return value

    def violation(self, when: When, reason: str, confidence: float = 1.0) -> Violation:
        """Return that the rule does not hold."""
        rule = self.rule
        return Violation(
            guardrail=self.name,
            type=rule.type,
            severity=rule.severity,
            reason=f"{rule.description}: {reason}" if rule.description else reason,
            when=when,
            confidence=confidence,
        )

    def broken(self, when: When, reason: str) -> Violation:
        """Return that the rule cannot be evaluated."""
        text = f"it cannot be evaluated: {reason}"
        return msgspec.structs.replace(self.violation(when, text), broken=True)

    def _look(self, when: When, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        rule = self.rule
        if when in rule.moments:
            yield from self._by_type(when, facts)
        if rule.type == "output":
            yield from self._valid(facts) if when == "after" else ()
            return
        names = {**facts, "usage": usage_of(facts["result"])} if when == "after" else facts
        for condition, wanted in self._before if when == "before" else self._after:
            if condition.holds(names) is not wanted:
                yield f"{condition.text} is {str(not wanted).lower()}", 1.0

    def _by_type(self, when: When, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        """Look at what belongs to the type of the rule."""
        rule = self.rule
        if rule.sorts or rule.keys:
            yield from self._sensitive(facts["params" if when == "before" else "result"])
        match rule.type:
            case "allowlist":
                yield from _allowed(rule, facts)
            case "performance":
                yield from _performance(rule, facts)
            case "cost":
                yield from _cost(rule, facts)
            case "output":
                yield from self._typed(facts["result"])
            case _:
                return

    def _valid(self, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        """Hold a result to the conditions; one that they cannot be asked about is not valid."""
        names = {**facts, "usage": usage_of(facts["result"])}
        for condition, wanted in (*self._before, *self._after):
            try:
                holds = condition.holds(names)
            except ConditionError as error:
                yield f"{condition.text}: {error.message}", 1.0
                continue
            if holds is not wanted:
                yield f"{condition.text} is {str(holds).lower()}", 1.0

    def _sensitive(self, value: Any) -> Iterator[tuple[str, float]]:
        rule = self.rule
        places: dict[str, list[Found]] = {}
        for each in found(value, rule.sorts):
            places.setdefault(each.sort, []).append(each)
        for sort, there in places.items():
            sure = max(map(_confidence, there))
            yield f"{sort} at {_listed([each.path or 'the value' for each in there])}", sure
        named = list(_keys(value, frozenset(map(str.lower, rule.keys)), "", 0))
        if named:
            yield f"field {_listed(named)}", 1.0

    def _typed(self, result: Any) -> Iterator[tuple[str, float]]:
        if self._result is None:
            return
        try:
            msgspec.convert({"result": result}, self._result)
        except msgspec.ValidationError as error:
            # What msgspec says names types and places, and never a value.
            yield str(error).replace("$.result", "result"), 1.0


def _confidence(each: Found) -> float:
    if each.by_key:
        return _BY_KEY
    return 1.0 if each.sort in _CHECKED else _BY_SHAPE


def _keys(value: Any, wanted: frozenset[str], where: str, depth: int) -> Iterator[str]:
    """Yield the places of fields with one of these names that hold something."""
    if not wanted or depth > codec.DEPTH_MAX:
        return
    if isinstance(value, Mapping):
        for name, each in value.items():
            path = f"{where}.{name}" if where else str(name)
            if str(name).lower() in wanted and each not in (None, ""):
                yield path
            yield from _keys(each, wanted, path, depth + 1)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _keys(each, wanted, f"{where}[{index}]", depth + 1)


def _performance(rule: Guardrail, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    if rule.max_time is not None and facts["took_s"] > float(rule.max_time):
        yield f"it took {facts['took_s']:g} s, at most {shown(float(rule.max_time))}", 1.0
    if rule.max_bytes is not None:
        size = len(codec.encode(facts["result"]))
        if size > rule.max_bytes:
            yield f"the result has {size:,} bytes, at most {rule.max_bytes:,}", 1.0


def _cost(rule: Guardrail, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    used = {"calls": float(facts.get("calls", 1)), **usage_of(facts["result"])}
    for unit in UNITS:
        limit = getattr(rule, f"max_{unit}", None) if unit != "time" else None
        if limit is not None and used.get(unit, 0.0) > limit:
            yield f"it used {used[unit]:g} {unit}, at most {limit:g}", 1.0


def _allowed(rule: Guardrail, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    profile = str((facts.get("run") or {}).get("profile") or "")
    allowed = rule.profiles.get(profile, rule.allow)
    if allowed is None:
        yield f"profile {profile!r} may ask nobody", 1.0
        return
    where = f" for profile {profile}" if profile in rule.profiles else ""
    for what, given in _asked(facts):
        words = getattr(allowed, f"{what}s")
        for each in given:
            if words and not is_allowed(each, words):
                yield f"{what} {each} is not allowed{where}", 1.0
    service, operation = facts["step"]["service"], facts["step"]["operation"]
    words = allowed.operations
    if operation and words and not operation_is_allowed(service, operation, words):
        yield f"operation {service}.{operation} is not allowed{where}", 1.0


def not_allowed(allowed: Allowed, service: str, operation: str) -> str:
    """Return which word of a step an allowlist does not have: a key of the step, or nothing."""
    if allowed.services and not is_allowed(service, allowed.services):
        return "service"
    if allowed.operations and not operation_is_allowed(service, operation, allowed.operations):
        return "operation"
    return ""


def is_allowed(word: str, words: tuple[str, ...] | str) -> bool:
    """Tell whether a word is one of those of a list; case does not matter."""
    low = word.lower()
    return any(fnmatchcase(low, each.lower()) for each in words)


def operation_is_allowed(service: str, operation: str, words: tuple[str, ...] | str) -> bool:
    """Tell whether an operation is one of a list, where it may stand alone or with its service."""
    return is_allowed(operation, words) or is_allowed(f"{service}.{operation}", words)


def _asked(facts: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield whom a step asks, and which hosts and tools its params name."""
    service = facts["step"]["service"]
    yield "service", [service] if service else []
    params = facts["params"]
    texts = list(_texts(params, 0))
    if len(texts) > _TEXTS_MAX:
        raise ValueError("too many texts")
    hosts = [host.lower() for text in texts if "://" in text for host in _HOST.findall(text)]
    yield "host", list(dict.fromkeys(hosts))
    tools: list[str] = []
    if isinstance(params, Mapping):
        for name in ("tool", "tools"):
            given = params.get(name)
            many = given if isinstance(given, list | tuple) else [given]
            for each in many:
                named = each.get("name") if isinstance(each, Mapping) else each
                tools += [named] if isinstance(named, str) else []
    yield "tool", tools


def _texts(value: Any, depth: int) -> Iterator[str]:
    if depth > codec.DEPTH_MAX:
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, depth + 1)


def _listed(places: list[str]) -> str:
    more = len(places) - PLACES_MAX
    return ", ".join(places[:PLACES_MAX]) + (f" and {more} more" if more > 0 else "")
