"""A graph made ready to run: its references and conditions read, its steps counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from protocols.compensation import UNDO_RETRY, Undo
from protocols.conditions import Condition
from protocols.graph import SERVICE, Graph, GraphUndo
from protocols.graph_kinds import done_with
from protocols.graph_order import Order, options_of, tables_of
from protocols.guarding import Guard
from protocols.guardrails import Guardrail
from protocols.references import Names, Template

Functions = Mapping[str, Callable[..., Any]]
"""Functions of guardrails by ``module:name``."""
GUARDED: Final = frozenset({SERVICE, "signal", "child"})
"""Kinds of steps that guardrails and budgets are for."""


class StepPlan:
    """One step, ready to run."""

    __slots__ = (
        "_undo",
        "_undo_params",
        "deadline_s",
        "followers",
        "foreach",
        "functions",
        "guarded",
        "guards",
        "name",
        "options",
        "params",
        "step",
        "tables",
        "waits",
        "wanted",
        "when",
    )

    def __init__(self, graph: Graph, name: str, order: Order) -> None:
        step = graph.steps[name]
        self.name: Final = name
        self.step: Final = step
        self.params: Final = Template(done_with(step))
        self.when: Final = Condition(step.condition) if step.when else None
        self.foreach: Final = Template(step.foreach) if step.each else None
        self.options: Final = options_of(graph, name)
        self.tables: Final = tables_of(graph, name)
        self.deadline_s: Final = 0.0 if step.deadline is None else float(step.deadline)
        self.followers: Final = tuple(order.followers[name])
        self.waits: Final = len(order.needs[name])
        self.wanted: Final = {"all": 0, "any": 1}.get(str(step.join)) or _number(step.join)
        """How many of its needs have to be done; 0: all have to have ended."""
        self.guards: tuple[Guard, ...] = ()
        """The rules that it is held to."""
        self.functions: Functions = {}
        self.guarded = False
        """Whether it is held to rules, or to budgets."""
        self._undo: Final = step.undone_by
        given = msgspec.UNSET if self._undo is None else self._undo.params
        self._undo_params: Final = None if given is msgspec.UNSET else Template(given)

    def undo(self, names: Names) -> Undo | None:
        """Return how the step is undone. Raises WrongReference."""
        if self._undo is None:
            return None
        params = self._undo_params
        return _undo(self._undo, msgspec.UNSET if params is None else params.fill(names))


class GraphPlan:
    """All steps of a graph, and what its result is made of."""

    __slots__ = ("budgets", "concurrency", "first", "last", "outputs", "steps", "timeout_s")

    def __init__(self, graph: Graph, functions: Functions | None = None) -> None:
        order = Order(graph)
        self.steps: Final = {name: StepPlan(graph, name, order) for name in graph.steps}
        self.first: Final = [name for name, step in self.steps.items() if not step.waits]
        self.last: Final = order.last
        self.outputs: Final = None if graph.outputs is None else Template(graph.outputs)
        self.timeout_s: Final = 0.0 if graph.timeout is None else float(graph.timeout)
        self.concurrency: Final = graph.concurrency
        self.budgets: Final = {
            name: (each, Template(each.key) if each.key else None)
            for name, each in graph.budgets.items()
        }
        if graph.guardrails or graph.budgets:
            self._guard(graph, functions or {})

    @property
    def guarded(self) -> bool:
        """Whether any step is held to rules or budgets."""
        return any(each.guarded for each in self.steps.values())

    def _guard(self, graph: Graph, functions: Functions) -> None:
        """Give each step the rules that it names, and those that are for all."""
        rules: Mapping[str, Guardrail] = (
            graph.guardrails if isinstance(graph.guardrails, dict) else {}
        )
        guards = {name: Guard(name, rule) for name, rule in rules.items()}
        for step in self.steps.values():
            if step.step.kind not in GUARDED:
                continue
            step.guards = tuple(
                guard
                for name, guard in guards.items()
                if guard.rule.every or name in step.step.guardrails
            )
            step.functions = functions
            step.guarded = bool(step.guards or graph.budgets)


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
