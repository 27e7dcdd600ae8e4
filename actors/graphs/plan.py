"""A graph made ready to run: its references and conditions read, its steps counted."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from protocols import codec
from protocols.calendars import named
from protocols.compensation import UNDO_RETRY, Undo
from protocols.conditions import Condition
from protocols.gates.gate import FILLED, Gate
from protocols.graphs.graph import SERVICE, SHOWN, Graph, GraphUndo
from protocols.graphs.kinds import done_with
from protocols.graphs.order import Order, again_at, options_of, tables_of
from protocols.guardrails.book import Functions, RuleBook
from protocols.guardrails.budgets import Budget
from protocols.guardrails.check import rules_of
from protocols.guardrails.evaluation import Guard
from protocols.mail import KERNEL
from protocols.references import Names, Template

FREE_GATES: Final = 2
"""The kernel version from which on a gate that waits takes no place of ``concurrency``."""
GUARDED: Final = frozenset({SERVICE, "signal", "child"})
"""Kinds of steps that guardrails and budgets are for."""


class StepPlan:
    """One step, ready to run."""

    __slots__ = (
        "_undo",
        "_undo_params",
        "account",
        "again",
        "artifacts",
        "auto_when",
        "budget",
        "calendar",
        "calendars",
        "conditional",
        "deadline_s",
        "fallbacks",
        "followers",
        "foreach",
        "functions",
        "guarded",
        "guards",
        "kind",
        "known",
        "name",
        "options",
        "params",
        "plain",
        "shown",
        "step",
        "tables",
        "waits",
        "wanted",
        "warn_s",
        "when",
    )

    def __init__(self, graph: Graph, name: str, order: Order) -> None:
        step = graph.steps[name]
        self.name: Final = name
        self.step: Final = step
        self.kind: Final = step.kind
        given = done_with(step)
        if step.gate is not None and not step.gate.mode:
            given["mode"] = graph.approval_mode
        self.params: Final = Template(given)
        self.known: Final = codec.is_value(self.params.value)
        """Whether nothing but values can come of the parameters, whatever they refer to."""
        gate = step.gate
        self.auto_when: Final = Condition(gate.auto_when) if gate and gate.auto_when else None
        self.again: Final = again_at(graph, order, name)
        """What the decision ``retry`` of a gate does once more, by the step that it names."""
        self.fallbacks: Final = tuple(
            Template(each.params if each.person is None else shown_at(each.person))
            for each in step.fallbacks
        )
        self.when: Final = Condition(step.condition) if step.when else None
        self.foreach: Final = Template(step.foreach) if step.each else None
        self.options: Final = options_of(graph, name)
        self.tables: Final = tables_of(graph, name)
        self.deadline_s: Final = 0.0 if step.deadline is None else float(step.deadline)
        self.warn_s: Final = 0.0 if step.warn_after is None else float(step.warn_after)
        self.calendars: Final = graph.calendars
        of = "" if step.sleep_as is None else step.sleep_as.calendar
        self.calendar: Final = named(graph.calendars, of)
        self.followers: Final = tuple(order.followers[name])
        self.waits: Final = len(order.needs[name])
        self.wanted: Final = {"all": 0, "any": 1}.get(str(step.join)) or _number(step.join)
        """How many of its needs have to be done; 0: all have to have ended."""
        self.conditional: Final = bool(self.wanted) or self.when is not None
        """Whether it may be skipped for what it says itself."""
        self.guards: tuple[Guard, ...] = ()
        """The rules that it is held to."""
        self.functions: Functions = {}
        self.account: Final = f"{graph.name}.steps.{name}"
        """The name of its own budget among those that all runs share."""
        self.budget: Final = None if step.budget is None else with_key(step.budget)
        self.guarded = False
        """Whether it is held to rules, or to budgets."""
        self.artifacts: Final = {
            name: Template(value) for name, value in (step.artifacts or {}).items()
        }
        self._undo: Final = step.undone_by
        undone = msgspec.UNSET if self._undo is None else self._undo.params
        self._undo_params: Final = None if undone is msgspec.UNSET else Template(undone)
        self.shown: Final = SHOWN + name
        """Under what a run shows what it has come to."""
        self.plain = (
            self.kind == SERVICE
            and not (self.foreach or self.deadline_s or self._undo or self.artifacts)
            and not step.pivot
        )
        """Whether all that it takes is one call, as long as that is answered."""

    def dated(self, gate: Gate) -> Gate:
        """Return a gate with the calendar that it names."""
        if not gate.works or not isinstance(gate.calendar, str):
            return gate
        calendar = named(self.calendars, gate.calendar)
        return msgspec.structs.replace(gate, calendar=calendar or gate.calendar)

    def undo(self, names: Names) -> Undo | None:
        """Return how the step is undone. Raises WrongReference."""
        if self._undo is None:
            return None
        params = self._undo_params
        return _undo(self._undo, msgspec.UNSET if params is None else params.fill(names))


class GraphPlan:
    """All steps of a graph, and what its result is made of."""

    __slots__ = (
        "budgets",
        "concurrency",
        "fallbacks",
        "first",
        "free_gates",
        "graph",
        "last",
        "order",
        "outputs",
        "steps",
        "timeout_s",
        "warn_s",
    )

    def __init__(
        self, graph: Graph, kernel: int = KERNEL, functions: Functions | None = None
    ) -> None:
        self.graph: Final = graph
        self.order: Final = Order(graph)
        order = self.order
        self.steps: Final = {name: StepPlan(graph, name, order) for name in graph.steps}
        self.first: Final = [name for name, step in self.steps.items() if not step.waits]
        self.last: Final = order.last
        self.outputs: Final = None if graph.outputs is None else Template(graph.outputs)
        self.timeout_s: Final = 0.0 if graph.timeout is None else float(graph.timeout)
        self.warn_s: Final = 0.0 if graph.warn_after is None else float(graph.warn_after)
        self.concurrency: Final = graph.concurrency
        self.fallbacks: Final = graph.fallbacks
        self.free_gates: Final = kernel >= FREE_GATES
        """Whether a gate that waits leaves its place to other steps."""
        self.budgets: Final = {name: with_key(each) for name, each in graph.budgets.items()}
        if graph.guardrails or graph.budgets or any(each.budget for each in graph.steps.values()):
            self._guard(graph, functions or {})

    @property
    def guarded(self) -> bool:
        """Whether any step is held to rules or budgets."""
        return any(each.guarded for each in self.steps.values())

    def _guard(self, graph: Graph, functions: Functions) -> None:
        """Give each step the rules that it names, and those that are for all."""
        book = RuleBook(rules_of(graph), functions)
        for step in self.steps.values():
            if step.step.kind not in GUARDED:
                continue
            step.guards = book.of(step.step.guardrails)
            step.functions = functions
            step.guarded = bool(step.guards or graph.budgets or step.budget)
            step.plain = step.plain and not step.guarded


def with_key(budget: Budget) -> tuple[Budget, Template | None]:
    """Return a budget with what says whose it is."""
    return budget, Template(budget.key) if budget.key else None


def shown_at(gate: Gate) -> dict[str, Any]:
    """Return the fields of a gate in which references stand."""
    return {key: getattr(gate, key) for key in FILLED}


def _number(join: Any) -> int:
    return join if isinstance(join, int) else 0


def _undo(undo: GraphUndo, params: Any) -> Undo:
    return Undo(
        undo.operation,
        undo.service,
        params,
        retry=undo.retry or UNDO_RETRY,
        timeout_s=None if undo.timeout is None else float(undo.timeout),
        settle_s=None if undo.settle is None else float(undo.settle),
    )
