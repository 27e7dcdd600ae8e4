"""The order of a graph's steps, and how they are tried: what its checks, plans and runs share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from protocols.directives import Directive, Table
from protocols.error_kinds import words
from protocols.failure import NO_RESPONDERS, Failure
from protocols.gates.gate import waits_s
from protocols.graphs.graph import ANY_KIND, SERVICE, Graph, GraphStep
from protocols.policy import Retry, StepOptions

_COMPENSATE: Final = Directive(do="compensate")
_CONTINUE: Final = Directive(do="continue")


class Order:
    """Which steps come before which. Unknown needs are left out; a cycle has no order.

    ``names`` has every step behind those that it needs, ``levels`` those that may run side by
    side; ``cycle`` the steps of a cycle, the first one again as the last, if there is one.
    """

    def __init__(self, graph: Graph) -> None:
        steps = graph.steps
        self.needs: Final = {
            name: tuple(dict.fromkeys(each for each in step.needed if each in steps))
            for name, step in steps.items()
        }
        self.followers: Final[dict[str, list[str]]] = {name: [] for name in steps}
        for name, needs in self.needs.items():
            for each in needs:
                self.followers[each].append(name)
        self.levels: Final[list[list[str]]] = []
        self.names: Final[list[str]] = []
        self._sort()
        self.cycle: Final = self._cycle()
        self._bits = {name: 1 << index for index, name in enumerate(self.names)}
        self._before: dict[str, int] = {}
        for name in self.names:
            before = 0
            for each in self.needs[name]:
                before |= self._before[each] | self._bits[each]
            self._before[name] = before

    def comes_before(self, earlier: str, later: str) -> bool:
        """Tell whether a step ends before another one begins."""
        return bool(self._before.get(later, 0) & self._bits.get(earlier, 0))

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """Return a step and those behind it that come before another one, in order."""
        return tuple(
            name
            for name in self.names
            if self.comes_before(name, last) and (name == first or self.comes_before(first, name))
        )

    @property
    def last(self) -> list[str]:
        """The steps that nobody needs, in the order of the graph."""
        return [name for name, followers in self.followers.items() if not followers]

    def _sort(self) -> None:
        missing = {name: len(needs) for name, needs in self.needs.items()}
        level = [name for name, count in missing.items() if not count]
        while level:
            self.levels.append(level)
            self.names.extend(level)
            following = []
            for name in level:
                for each in self.followers[name]:
                    missing[each] -= 1
                    if not missing[each]:
                        following.append(each)
            level = following

    def _cycle(self) -> list[str]:
        """Walk along needs among the steps that have no order, until one comes twice."""
        left = self.needs.keys() - set(self.names)
        walked: dict[str, None] = {}
        at = next((name for name in self.needs if name in left), None)
        while at is not None and at not in walked:
            walked[at] = None
            at = next(each for each in self.needs[at] if each in left)
        if at is None:
            return []
        way = list(walked)
        around = way[way.index(at) :]
        return [at, *reversed(around)]


def tables_of(graph: Graph, step: str) -> tuple[Table, ...]:
    """Return the directives of a step and those of all steps, the nearer ones first."""
    of = graph.steps[step]
    if not (of.on_error or graph.defaults.on_error):
        return ()
    defaults = graph.defaults.directives
    if of.kind == "gate":  # what holds for failures must not wave a rejection through
        return ()
    if of.kind != SERVICE:  # nobody is asked again, and nobody else
        last = last_of(critical=of.critical)
        defaults = {kind: _asking_nobody(each, last) for kind, each in defaults.items()}
    return tuple(each for each in (of.directives, defaults) if each)


def directive_of(failure: Failure, tables: tuple[Table, ...], *, critical: bool) -> Directive:
    """Return what a failure leads to, when the calls of the step are used up.

    Without a word a critical step fails the run, and the run goes on without another one.
    """
    for table in tables:
        for word in (*words(failure), ANY_KIND):
            if word in table:
                return table[word]
    return last_of(critical=critical)


def last_of(*, critical: bool) -> Directive:
    """Return what happens at the end of a chain of directives that nobody has ended."""
    return _COMPENSATE if critical else _CONTINUE


def options_of(graph: Graph, step: str) -> StepOptions:
    """Return how a step is tried: what ``retry`` says, and the directives by the same word."""
    of = graph.steps[step]
    tables = tables_of(graph, step)
    policies: dict[str, Retry] = {}
    for table in reversed(tables):
        if ANY_KIND in table:
            policies.clear()
        for kind, each in table.items():
            if each.do == "retry":
                policies[kind] = each.policy
            else:
                policies.pop(kind, None)
    named = any(NO_RESPONDERS in table for table in tables)
    return StepOptions(
        retry=graph.retry(step) or Retry(),
        timeout_s=graph.timeout_s(step),
        heartbeat_s=None if of.heartbeat is None else float(of.heartbeat),
        absent="fail" if named else "wait",
        idempotent=of.idempotent,
        retries=tuple(policies.items()) or None,
        others=bool(policies),
    )


def once_s(graph: Graph, step: str) -> float:
    """Return how long a step may take when nothing goes wrong, in seconds; one item of it.

    0 where that is not known: see ``unbounded``.
    """
    of = graph.steps[step]
    if of.kind == SERVICE:
        return graph.timeout_s(step)
    if of.gate is not None:
        return waits_s(of.gate)
    wait = of.sleep_as
    if wait is not None:
        return wait.duration if isinstance(wait.duration, float) else 0.0
    return 0.0 if of.timeout is None else float(of.timeout)


def unbounded(step: GraphStep) -> bool:
    """Tell whether a step waits for what may never come, or for how long is told by its input."""
    if step.gate is not None:
        return not waits_s(step.gate)
    if step.sleep_as is not None:
        return not isinstance(step.sleep_as.duration, float)
    return step.kind in {"signal", "child"} and step.timeout is None


def worst_s(graph: Graph, step: str, options: StepOptions) -> float:
    """Return how long a step may take when everything goes wrong, in seconds; one item of it.

    ``options`` are how it is tried. As long as somebody serves what it asks for: an absent
    service is waited for, without a bound but the deadline's.
    """
    of = graph.steps[step]
    if of.kind != SERVICE:
        return once_s(graph, step)
    policies = [options.retry, *(policy for _, policy in options.retries or ())]
    calls_s = max(_calls_s(policy, options.timeout_s) for policy in policies)
    others = max(
        (
            sum(len(each.services) for each in chain(directive))
            for table in tables_of(graph, step)
            for directive in table.values()
        ),
        default=0,
    )
    total_s = calls_s * (1 + others) + sum(
        _calls_s(each.tried or options.retry, options.timeout_s)
        for each in of.fallbacks
        if each.asks
    )
    return total_s if of.deadline is None else min(total_s, float(of.deadline))


def again_at(graph: Graph, order: Order, gate: str) -> dict[str, tuple[str, ...]]:
    """Return what a gate's decision ``retry`` does once more, by the step that it names."""
    of = graph.steps[gate].gate
    if of is None or "retry" not in of.decisions:
        return {}
    named = of.retry or tuple(
        each for each in order.needs[gate] if graph.steps[each].kind in {SERVICE, "child"}
    )
    return {each: order.between(each, gate) for each in named if each in graph.steps}


def longest(order: Order, seconds: dict[str, float]) -> tuple[float, list[str]]:
    """Return the way through a graph that takes longest, and how long it takes."""
    ends: dict[str, float] = {}
    came_from: dict[str, str] = {}
    for name in order.names:
        before = max(order.needs[name], key=lambda each: ends[each], default="")
        ends[name] = seconds[name] + (ends[before] if before else 0.0)
        came_from[name] = before
    at = max(order.names, key=lambda each: ends[each], default="")
    total_s = ends.get(at, 0.0)
    way = []
    while at:
        way.append(at)
        at = came_from[at]
    return total_s, way[::-1]


def chain(directive: Directive) -> Iterator[Directive]:
    """Yield a directive and those behind it."""
    each: Directive | None = directive
    while each is not None:
        yield each
        each = each.then if isinstance(each.then, Directive) else None


def _asking_nobody(directive: Directive, last: Directive) -> Directive:
    """Return a directive, and those behind it, without what only a step with a service can do."""
    kept = [each for each in chain(directive) if each.do not in {"retry", "fallback"}]
    then: Directive | None = None
    for each in reversed(kept):
        then = msgspec.structs.replace(each, then=then)
    return last if then is None else then


@lru_cache(maxsize=1_024)
def _calls_s(policy: Retry, timeout_s: float) -> float:
    plain = msgspec.structs.replace(policy, jitter=0.0)
    delays = [plain.delay_before(each, "") for each in range(2, policy.attempts + 1)]
    return timeout_s * policy.attempts + sum(delays)
