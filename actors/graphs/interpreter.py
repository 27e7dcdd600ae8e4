"""run_graph: one interpreter for every graph, on the kernel's public operations.

    steps that need nothing ──> each in a task of its own ──> whoever waited for it begins
                                   └─ skipped: its condition does not hold
                                   └─ failed: its directive, or the run fails and is undone

There is a task only for a step that is under way; one that waits is a number. What ends a step
begins the next ones, in the order of the graph, so a fold always goes the same way.
"""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.directed import Directed, told
from actors.graphs.again import WAITING
from actors.graphs.artifacts import keep
from actors.graphs.forking import Forkable
from actors.graphs.items import Item, failure_of
from actors.graphs.kinds import work_of
from actors.graphs.plan import GraphPlan, StepPlan
from actors.graphs.standing import DONE, RUNNING
from actors.graphs.step import TEXT_CHARS_MAX, UNANSWERED, first_call, unanswered
from protocols.conditions import ConditionError
from protocols.definition import Workflow, WorkflowOptions
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import ConfigurationError, InvalidInputError, StepFailedError
from protocols.failure import VALIDATION, Failure
from protocols.graphs.check import checked
from protocols.graphs.clashes import wrong_result
from protocols.graphs.graph import Graph
from protocols.graphs.input import input_type
from protocols.graphs.profile import Limits, under
from protocols.guardrails.book import Functions
from protocols.mail import KERNEL
from protocols.references import AtTheEnd, Template, WrongReference, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.kernel.context import Context

ITEMS_MAX: Final = 10_000
"""Of one ``foreach``; each is a step with messages of its own."""
GATES_MAX: Final = 1_000
"""Of one ``foreach``: all of them are open at the same time."""


_Found = tuple[Failure | None, Any, list[dict[str, Any]] | None]
"""The failure that a step goes on with, its result, and what became of each item."""


class GraphWorkflow(Workflow[Any]):
    """A graph as a workflow: registered, pinned and run like one in Python.

    Raises ConfigurationError for a graph whose parts do not fit each other.
    """

    def __init__(
        self, graph: Graph, kernel: int = KERNEL, functions: Functions | None = None
    ) -> None:
        self.graph: Final = checked(graph)
        self._plans = {"": GraphPlan(graph, kernel, functions)}
        self._kernel, self._functions = kernel, functions
        self.order: Final = self._plans[""].order

        async def any_input(ctx: Context, input: Any = None) -> Any:  # noqa: A002 - as authors say
            return await run_graph(ctx, self.plan(ctx.profile), input)

        async def typed_input(ctx: Context, input: Any) -> Any:  # noqa: A002 - as authors say
            return await run_graph(ctx, self.plan(ctx.profile), msgspec.to_builtins(input))

        function = any_input if graph.fields is None else typed_input
        kind = Any if graph.fields is None else input_type(graph.fields)
        function.__annotations__ = {"input": kind, "return": Any}
        limits = graph.limits or Limits()
        options = WorkflowOptions(
            description=graph.description,
            active_max=limits.max_active,
            refuses=limits.on_limit == "refuse",
            priority=limits.priority,
            profiles=tuple(graph.profiles),
            kept_s=float(graph.retention or 0.0),
        )
        super().__init__(graph.name, function, options)

    def plan(self, profile: str) -> GraphPlan:
        """Return the plan under a profile. Raises ConfigurationError for an unknown one."""
        graph = self.graph
        name = profile if graph.profiles else ""
        if name not in self._plans:
            if name not in graph.profiles:
                known = ", ".join(graph.profiles)
                raise ConfigurationError(f"there is no profile {name[:60]!r}: {known}")
            self._plans[name] = GraphPlan(under(graph, name), self._kernel, self._functions)
        return self._plans[name]

    def group_of(self, value: Any) -> str:
        """Return what a run with this input is counted by; empty: with all others."""
        limits = self.graph.limits
        if limits is None or not limits.per:
            return ""
        given = self.check_input(value)
        names = {"input": given if self.graph.fields is None else msgspec.to_builtins(given)}
        try:
            return as_text(Template(limits.per).fill(names))
        except WrongReference as error:
            raise InvalidInputError(
                f"the input does not say by what runs of {self.name} are counted",
                fields={},
                hint=error.message,
            ) from error

    def check_input(self, value: Any) -> Any:
        """Return the input as its type; none at all is one without fields."""
        return super().check_input({} if value is None and self.graph.fields else value)


async def run_graph(ctx: Context, plan: GraphPlan, given: Any = None) -> Any:
    """Run all steps and return the outputs.

    Raises StepFailedError when a critical step fails, TimedOutError when the whole takes too
    long: then what can be undone is undone.
    """
    return await _Run(ctx, plan, given).run()


class _Run(Forkable):
    """One run of a graph: what its steps have come to, and which may begin."""

    async def run(self) -> Any:
        """Run from the first steps to the outputs."""
        with ExitStack() as bounds:
            if self._plan.timeout_s:
                bounds.enter_context(self._ctx.timeout(self._plan.timeout_s))
            if self._plan.warn_s:
                bounds.enter_context(self._ctx.warn_after(self._plan.warn_s))
            await self._all()
        outputs = self._plan.outputs
        if outputs is None:
            found = {name: self._steps[name]["result"] for name in self._plan.last}
        else:
            try:
                found = outputs.fill(AtTheEnd(self._names))
            except WrongReference as error:
                # All is done: only other code can tell the result. So it is blocked, not undone.
                raise ConfigurationError(f"outputs: {error.message}") from error
        wrong = wrong_result(self._plan.graph, found)
        if wrong:
            raise ConfigurationError(f"the result does not fit what 'returns' says: {wrong}")
        return found

    async def _all(self) -> None:
        self._ctx.forkable(self._fork)
        async with self._ctx.scope(name="steps") as self._scope:
            self._take_over()
            self._begin(() if self._ctx.taken else self._plan.first)

    def _begin(self, names: Iterable[str]) -> None:
        """Begin steps that have what they need, as many as may run side by side."""
        ready = self._ready
        ready.extend(names)
        plans, most = self._plan.steps, self._plan.concurrency
        while ready:
            plan = plans[ready[0]]
            takes_place = plan.plain or self._takes_place(plan)
            if most and takes_place and self._running >= most:
                break
            name = ready.popleft()
            if skipped := self._skipped(plan):
                self._end(plan, {**WAITING, "status": "skipped"}, f"skipped: {skipped}")
                continue
            self._begun[plan] = None
            self._renamed.pop(plan, None)
            self._paths.pop(name, None)
            self._running += takes_place
            self._passes[name] += 1
            self._steps[name] = RUNNING
            self._ctx.show({plan.shown: "running"})
            self._scope.begin(self._watched(plan) if plan.warn_s else self._step(plan), name)

    def _skipped(self, plan: StepPlan) -> str:
        """Return why a step is not done; empty when it is."""
        if not (plan.conditional or self._skips or self._barred):
            return ""
        if plan.name in self._skips:
            return self._skips[plan.name]
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

    async def _watched(self, plan: StepPlan) -> None:
        """Do one step, and tell when it takes longer than it should."""
        with self._ctx.warn_after(plan.warn_s, step=plan.name):
            await self._step(plan)

    async def _step(self, plan: StepPlan) -> None:
        """Do one step, and let those begin that wait for it."""
        names = self._names  # a step goes on as it began, with the names of then
        where = self._path(plan.name)
        found: _Found
        if plan.foreach is not None:
            found = await self._many(plan, where)
        elif plan.plain and (call := first_call(self._ctx, plan, names)) is not None:
            # Most steps are of this kind, and each call within a call is paid twice: when a step
            # asks, and when it is answered.
            try:
                result = await call
            except UNANSWERED as error:
                asked = (call.path, unanswered(error))
                found = await self._once(plan, where, names, asked)
            else:
                del self._begun[plan]
                self._running -= 1
                self._end(plan, {**DONE, "result": result}, "done")
                self._begin(())
                return
        else:
            found = await self._once(plan, where, names)
        await self._come_to(plan, names, *found)

    async def _come_to(
        self,
        plan: StepPlan,
        names: dict[str, Any],
        failure: Failure | None,
        result: Any,
        items: list[dict[str, Any]] | None,
    ) -> None:
        """Keep what a step has come to, whatever that is, and let those begin that wait for it."""
        del self._begun[plan]
        self._running -= self._takes_place(plan)
        decision = _decision(plan, result)
        if decision == "retry":
            await self._again(plan, result)
            return
        entry = {**DONE, "result": result, "items": items}
        text = "done"
        if failure is not None:
            entry |= {"status": "failed", "error": told(failure)}
            text = f"failed: {failure.kind}: {failure.message}"
        elif decision == "skip":
            entry["status"] = "skipped"
            text = f"skipped by {result['by'] or 'somebody who gave no name'}"
        elif plan.step.gate is not None and items is not None and items and not result:
            entry["status"] = "skipped"
            text = "nothing was approved"
        elif plan.step.pivot:
            self._ctx.pivot()
        await keep(self._ctx, plan, names, entry)
        if plan.step.gate is not None and entry["status"] != "done":
            self._barred[self._name(plan)] = f"gate {plan.name} {text}"
        self._end(plan, entry, text)
        self._begin(())

    async def _once(
        self,
        plan: StepPlan,
        where: str,
        names: dict[str, Any],
        asked: tuple[str, Failure] | None = None,
    ) -> _Found:
        """Do a step that is done once; return the failure that it goes on with, and its result.

        ``asked`` is the path of its first call, and what that came to.
        """
        while True:
            work = work_of(self._ctx, plan, None, self._guards)
            if asked is not None:
                work.asked(*asked)
                asked = None
            try:
                found: Directed | None = await work.done(names)
            except StepFailedError as error:
                found = await self._rescued(plan, where, error)
            if found is not None:
                self._skip(work.skips, plan.name)
                return found.warning, found.value, None

    async def _many(self, plan: StepPlan, where: str) -> _Found:
        """Do a step for each item of its list, as ``_once`` does."""
        try:
            return await self._items(plan, where)
        except StepFailedError as error:
            found = await self._rescued(plan, where, error)
            assert found is not None
            return found.warning, found.value, None

    def _end(self, plan: StepPlan, entry: dict[str, Any], text: str) -> None:
        """Keep what a step has come to, and queue those that have what they need now."""
        called = self._renamed.pop(plan, plan.name)
        steps, plans = self._steps, self._plan.steps
        opened, reached = self._open, self._done
        steps[called] = entry
        of = plans[called]
        self._ctx.show({of.shown: text[:TEXT_CHARS_MAX]})
        done = entry["status"] == "done"
        for name in of.followers:
            wanted = plans[name].wanted
            left, had = opened[name], reached[name]
            opened[name], reached[name] = left - 1, had + done
            if not left or (wanted and had >= wanted) or steps[name] is not WAITING:
                continue  # it ran before it needed this
            if left == 1 or (wanted and had + done >= wanted):
                self._ready.append(name)

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
        if plan.step.gate is not None and len(items) > GATES_MAX:
            message = f"{len(items)} gates at once; the limit is {GATES_MAX}"
            raise StepFailedError(where, Failure(kind=OVER_LIMIT, message=message))
        found = await self._each(plan, items)
        failed = failure_of(found)
        if failed is not None and any(each.fatal for each in found):
            raise StepFailedError(where, failed)
        told_of = [{"status": each.status, "error": each.error} for each in found]
        if plan.step.gate is not None:
            return (
                None,
                [
                    {**each.result, "item": item}
                    for each, item in zip(found, items, strict=True)
                    if each.status == "done"
                ],
                told_of,
            )
        return failed, [each.result for each in found], told_of

    async def _each(self, plan: StepPlan, items: list[Any]) -> list[Item]:
        found = [Item() for _ in items]
        waiting = deque(enumerate(items))
        known = self._names  # of then, as in ``_step``
        ended = 0

        async def one(index: int, item: Any) -> None:
            nonlocal ended
            names = {**known, "item": item, "index": index}
            work = work_of(self._ctx, plan, index, self._guards)
            try:
                said = await work.done(names)
            except StepFailedError as problem:
                found[index] = Item("failed", None, told(problem.failure), fatal=True)
            else:
                self._skip(work.skips, plan.name)
                error = None if said.warning is None else told(said.warning)
                status = "done" if error is None else "failed"
                if plan.step.gate is not None and error is None:
                    status = "skipped" if said.value["decision"] == "skip" else "done"
                found[index] = Item(status, said.value, error)
            ended += 1
            self._show(self._name(plan), f"{ended} of {len(items)}")
            if waiting:
                following, another = waiting.popleft()
                scope.start(one(following, another), name=str(following))

        async with self._ctx.scope(name="items") as scope:
            most = len(items) if plan.step.gate is not None else plan.step.concurrency
            for _ in range(min(most, len(items))):
                begun, first = waiting.popleft()
                scope.start(one(begun, first), name=str(begun))
        return found


def _decision(plan: StepPlan, result: Any) -> str:
    """Return how the gate of a step was decided; empty: it is none, or several."""
    if plan.step.gate is None or plan.foreach is not None or not isinstance(result, dict):
        return ""
    return str(result["decision"])
