"""A graph made ready to run: its references and conditions read, its steps counted."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from protocols import codec
from protocols.compensation import UNDO_RETRY, Undo
from protocols.conditions import Condition
from protocols.graph import Graph, GraphUndo
from protocols.graph_kinds import done_with
from protocols.graph_order import Order, options_of, tables_of
from protocols.references import Names, Template


class StepPlan:
    """One step, ready to run."""

    __slots__ = (
        "_undo",
        "_undo_params",
        "deadline_s",
        "followers",
        "foreach",
        "kind",
        "known",
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
        self.kind: Final = step.kind
        self.params: Final = Template(done_with(step))
        self.known: Final = codec.is_value(self.params.value)
        """Whether nothing but values can come of the parameters, whatever they refer to."""
        self.when: Final = Condition(step.condition) if step.when else None
        self.foreach: Final = Template(step.foreach) if step.each else None
        self.options: Final = options_of(graph, name)
        self.tables: Final = tables_of(graph, name)
        self.deadline_s: Final = 0.0 if step.deadline is None else float(step.deadline)
        self.followers: Final = tuple(order.followers[name])
        self.waits: Final = len(order.needs[name])
        self.wanted: Final = {"all": 0, "any": 1}.get(str(step.join)) or _number(step.join)
        """How many of its needs have to be done; 0: all have to have ended."""
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

    __slots__ = ("concurrency", "first", "graph", "last", "needs", "outputs", "steps", "timeout_s")

    def __init__(self, graph: Graph) -> None:
        order = Order(graph)
        self.graph: Final = graph
        self.steps: Final = {name: StepPlan(graph, name, order) for name in graph.steps}
        self.first: Final = [name for name, step in self.steps.items() if not step.waits]
        self.last: Final = order.last
        self.needs: Final = order.needs
        self.outputs: Final = None if graph.outputs is None else Template(graph.outputs)
        self.timeout_s: Final = 0.0 if graph.timeout is None else float(graph.timeout)
        self.concurrency: Final = graph.concurrency


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
