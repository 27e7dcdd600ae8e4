"""run_graph: one interpreter for every graph, on the kernel's public operations.

    steps that need nothing ──> each in a task of its own ──> whoever waited for it begins
                                   └─ skipped: its condition does not hold
                                   └─ failed: its directive, or the run fails and is undone

There is a task only for a step that is under way; one that waits is a number. What ends a step
begins the next ones, in the order of the graph, so a fold always goes the same way.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from actors.directed import told
from actors.graph_budgets import RunGuards
from actors.graph_kinds import work_of
from actors.graph_plan import Functions, GraphPlan, StepPlan
from actors.graph_step import TEXT_CHARS_MAX
from protocols.conditions import ConditionError
from protocols.definition import Workflow, WorkflowOptions
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import ConfigurationError, StepFailedError
from protocols.failure import VALIDATION, Failure
from protocols.graph import SHOWN, Graph
from protocols.graph_check import checked
from protocols.graph_input import input_type
from protocols.references import WrongReference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.kernel.context import Context

ITEMS_MAX: Final = 10_000
"""Of one ``foreach``; each is a step with messages of its own."""
FAILED_MAX: Final = 20
"""Failed items that a failure tells of; all of them are in the history."""
_WAITING: Final = {"status": "waiting", "result": None, "error": None, "items": None}
_RUNNING: Final = {**_WAITING, "status": "running"}


class _Item(NamedTuple):
    """What one item of a ``foreach`` has come to; a ``fatal`` failure fails the run."""

    status: str = "waiting"
    result: Any = None
    error: dict[str, Any] | None = None
    fatal: bool = False


class GraphWorkflow(Workflow[Any]):
    """A graph as a workflow: registered, pinned and run like one in Python.

    Raises ConfigurationError for a graph whose parts do not fit each other.
    """

    def __init__(self, graph: Graph, functions: Functions | None = None) -> None:
        self.graph: Final = checked(graph)
        plan = GraphPlan(graph, functions)

        async def any_input(ctx: Context, input: Any = None) -> Any:  # noqa: A002 - as authors say
            return await run_graph(ctx, plan, input)

        async def typed_input(ctx: Context, input: Any) -> Any:  # noqa: A002 - as authors say
            return await run_graph(ctx, plan, msgspec.to_builtins(input))

        function = any_input if graph.fields is None else typed_input
        kind = Any if graph.fields is None else input_type(graph.fields)
        function.__annotations__ = {"input": kind, "return": Any}
        super().__init__(graph.name, function, WorkflowOptions(description=graph.description))

    def check_input(self, value: Any) -> Any:
        """Return the input as its type; none at all is one without fields."""
        return super().check_input({} if value is None and self.graph.fields else value)


async def run_graph(ctx: Context, plan: GraphPlan, given: Any = None) -> Any:
    """Run all steps and return the outputs.

    Raises StepFailedError when a critical step fails, TimedOutError when the whole takes too
    long: then what can be undone is undone.
    """
    return await _Run(ctx, plan, given).run()


class _Run:
    """One run of a graph: what its steps have come to, and which may begin."""

    def __init__(self, ctx: Context, plan: GraphPlan, given: Any) -> None:
        self._ctx = ctx
        self._plan = plan
        self._steps: dict[str, dict[str, Any]] = dict.fromkeys(plan.steps, _WAITING)
        self._names = {
            "input": given,
            "steps": self._steps,
            "run": {"id": ctx.id, "started_at": ctx.now().isoformat()},
        }
        self._open = {name: step.waits for name, step in plan.steps.items()}
        """How many needs of each step have not ended."""
        self._done = dict.fromkeys(plan.steps, 0)
        """How many needs of each step are done."""
        self._ready: deque[str] = deque()
        self._running = 0
        self._guards = RunGuards(ctx, plan) if plan.guarded else None
        self._barred: dict[str, str] = {}
        """Gates that let nobody through, and why."""

    async def run(self) -> Any:
        """Run from the first steps to the outputs."""
        timeout_s = self._plan.timeout_s
        if timeout_s:
            with self._ctx.timeout(timeout_s):
                await self._all()
        else:
            await self._all()
        outputs = self._plan.outputs
        if outputs is None:
            return {name: self._steps[name]["result"] for name in self._plan.last}
        try:
            return outputs.fill(self._names)
        except WrongReference as error:
            # All is done: only other code can tell the result. So the run is blocked, not undone.
            raise ConfigurationError(f"outputs: {error.message}") from error

    async def _all(self) -> None:
        async with self._ctx.scope(name="steps") as self._scope:
            self._begin(self._plan.first)

    def _begin(self, names: Iterable[str]) -> None:
        """Begin steps that have what they need, as many as may run side by side."""
        self._ready.extend(names)
        most = self._plan.concurrency
        while self._ready and not (most and self._running >= most):
            name = self._ready.popleft()
            plan = self._plan.steps[name]
            skipped = self._skipped(plan)
            if skipped:
                self._end(plan, {**_WAITING, "status": "skipped"}, f"skipped: {skipped}")
                continue
            self._running += 1
            self._steps[name] = _RUNNING
            self._show(name, "running")
            self._scope.start(self._step(plan), name=name)

    def _skipped(self, plan: StepPlan) -> str:
        """Return why a step is not done; empty when it is."""
        for gate in self._barred and plan.step.needed:
            if gate in self._barred and not plan.wanted:
                return self._barred[gate]
        done = self._done[plan.name]
        if done < plan.wanted:
            return f"{done} of its needs are done, not {plan.wanted}"
        if plan.when is None:
            return ""
        try:
            holds = plan.when.holds(self._names)
        except ConditionError as error:
            return error.message
        return "" if holds else f"{plan.when.text} is false"

    async def _step(self, plan: StepPlan) -> None:
        """Do one step, and let those begin that wait for it."""
        where = f"/steps/{plan.name}"
        if plan.foreach is None:
            found = await work_of(self._ctx, plan, None, self._guards).done(self._names)
            failure, result, items = found.warning, found.value, None
        else:
            failure, result, items = await self._items(plan, where)
        entry = {"status": "done", "result": result, "error": None, "items": items}
        text = "done"
        if failure is not None:
            entry |= {"status": "failed", "error": told(failure)}
            text = f"failed: {failure.kind}: {failure.message}"
        elif plan.step.gate is not None and result["decision"] == "skip":
            entry["status"] = "skipped"
            text = f"skipped by {result['by'] or 'somebody who gave no name'}"
        elif plan.step.pivot:
            self._ctx.pivot()
        if plan.step.gate is not None and entry["status"] != "done":
            self._barred[plan.name] = f"gate {plan.name} {text}"
        self._running -= 1
        self._end(plan, entry, text)
        self._begin(())

    def _end(self, plan: StepPlan, entry: dict[str, Any], text: str) -> None:
        """Keep what a step has come to, and queue those that have what they need now."""
        self._steps[plan.name] = entry
        self._show(plan.name, text)
        done = entry["status"] == "done"
        for name in plan.followers:
            wanted = self._plan.steps[name].wanted
            before = self._has_begun(name, wanted)
            self._open[name] -= 1
            self._done[name] += done
            if not before and self._has_begun(name, wanted):
                self._ready.append(name)

    def _has_begun(self, name: str, wanted: int) -> bool:
        return not self._open[name] or bool(wanted and self._done[name] >= wanted)

    def _show(self, name: str, text: str) -> None:
        self._ctx.set_state(**{SHOWN + name: text[:TEXT_CHARS_MAX]})

    # Steps that are done for each item of a list

    async def _items(
        self, plan: StepPlan, where: str
    ) -> tuple[Failure | None, list[Any], list[dict[str, Any]]]:
        """Do a step for each item; return the failure of all, the results, what became of each."""
        assert plan.foreach is not None
        failure: Failure | None = None
        items: Any = []
        try:
            items = plan.foreach.fill(self._names)
        except WrongReference as error:
            failure = Failure(kind=VALIDATION, message=error.message, retryable=False)
        if failure is None and not isinstance(items, list | tuple):
            message = "foreach needs a list; it is something else"
            failure = Failure(kind=VALIDATION, message=message, retryable=False)
        elif len(items) > ITEMS_MAX:
            message = f"foreach over {len(items)} items; the limit is {ITEMS_MAX}"
            failure = Failure(kind=OVER_LIMIT, message=message, retryable=False)
        if failure is not None:
            if plan.step.critical:
                raise StepFailedError(where, failure)
            self._ctx.emit("warning", {"step": where, "error": told(failure)})
            return failure, [], []
        found = await self._each(plan, items)
        failed = _failure_of(found)
        if failed is not None and any(each.fatal for each in found):
            raise StepFailedError(where, failed)
        told_of = [{"status": each.status, "error": each.error} for each in found]
        return failed, [each.result for each in found], told_of

    async def _each(self, plan: StepPlan, items: list[Any]) -> list[_Item]:
        found = [_Item() for _ in items]
        waiting = deque(enumerate(items))
        ended = 0

        async def one(index: int, item: Any) -> None:
            nonlocal ended
            names = {**self._names, "item": item, "index": index}
            try:
                said = await work_of(self._ctx, plan, index, self._guards).done(names)
            except StepFailedError as problem:
                found[index] = _Item("failed", None, told(problem.failure), fatal=True)
            else:
                error = None if said.warning is None else told(said.warning)
                found[index] = _Item("done" if error is None else "failed", said.value, error)
            ended += 1
            self._show(plan.name, f"{ended} of {len(items)}")
            if waiting:
                following, another = waiting.popleft()
                scope.start(one(following, another), name=str(following))

        async with self._ctx.scope(name="items") as scope:
            for _ in range(min(plan.step.concurrency, len(items))):
                begun, first = waiting.popleft()
                scope.start(one(begun, first), name=str(begun))
        return found


def _failure_of(found: list[_Item]) -> Failure | None:
    """Return the failure of a step whose items have failed."""
    failed = [(index, each.error) for index, each in enumerate(found) if each.error is not None]
    if not failed:
        return None
    index, first = failed[0]
    return Failure(
        kind=first["kind"],
        message=f"{len(failed)} of {len(found)} items failed, the first is {index}: "
        f"{first['kind']}: {first['message']}",
        retryable=False,
        details={str(each): error for each, error in failed[:FAILED_MAX]},
    )
