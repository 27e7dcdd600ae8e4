"""Where a run of a graph stands: what its steps have come to, and which of them may begin.

It goes forward as steps end (``actors.graphs.interpreter``), back when work is done once more
(``actors.graphs.again``), and over to another graph when an operator says so.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.graphs.again import WAITING, Again
from actors.graphs.budgets import RunGuards
from actors.graphs.step import TEXT_CHARS_MAX
from actors.kernel.guarding import run_of
from protocols.errors import ConfigurationError
from protocols.graphs.graph import SHOWN
from protocols.moving import STAYS, STEPS_SHOWN, Moving, graph_move, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actors.graphs.plan import GraphPlan, StepPlan
    from actors.kernel.branches import Scope
    from actors.kernel.context import Context
    from protocols.definition import Workflow
    from protocols.mail import SwitchOrder

RUNNING: Final = {**WAITING, "status": "running"}
DONE: Final = {**WAITING, "status": "done"}
_TAKEN: Final = frozenset({"kept", "open"})
"""What a move makes of steps that have begun, and that the new definition has."""


class Standing(Again):
    """What the steps of one run have come to."""

    _scope: Scope

    def __init__(self, ctx: Context, plan: GraphPlan, given: Any) -> None:
        self._ctx = ctx
        self._plan = plan
        self._steps: dict[str, dict[str, Any]] = dict.fromkeys(plan.steps, WAITING)
        self._names = {
            "input": given,
            "steps": self._steps,
            "run": run_of(ctx, ctx.now()),
        }
        self._open = {name: step.waits for name, step in plan.steps.items()}
        """How many needs of each step have not ended."""
        self._done = dict.fromkeys(plan.steps, 0)
        """How many needs of each step are done."""
        self._ready: deque[str] = deque()
        self._running = 0
        self._begun: dict[StepPlan, None] = {}
        """Steps that are under way."""
        self._barred: dict[str, str] = {}
        """Gates that let nobody through, and why."""
        self._renamed: dict[StepPlan, str] = {}
        """Names of open steps that began under another one."""
        self._called: dict[str, str] = {}
        """What steps of former definitions are called now."""
        self._paths: dict[str, str] = {}
        """Paths of steps that began under another definition, by their names of now."""
        self._skips: dict[str, str] = {}
        """Steps that others have let be skipped, and why."""
        self._passes = dict.fromkeys(plan.steps, 0)
        """How often each step has begun: a gate may let it be done once more."""
        self._guards = RunGuards(ctx, plan) if plan.guarded else None
        ctx.movable(self._move)

    def _has_begun(self, name: str, wanted: int) -> bool:
        return not self._open[name] or bool(wanted and self._done[name] >= wanted)

    def _takes_place(self, plan: StepPlan) -> bool:
        """Tell whether a step counts among those that run side by side."""
        return plan.step.gate is None or not self._plan.free_gates

    def _show(self, name: str, text: str) -> None:
        self._ctx.show({SHOWN + name: text[:TEXT_CHARS_MAX]})

    # Going over to another graph

    def _move(self, workflow: Workflow[Any], order: SwitchOrder, go: bool) -> Moving:  # noqa: FBT001
        """Tell how the run goes over to another graph from where it stands; ``go``: do it."""
        planned = getattr(workflow, "plan", None)
        if planned is None:
            return refused("the new definition is no graph")
        if self._scope.over:
            return refused("the run is about to fail")
        try:
            plan: GraphPlan = planned(self._ctx.profile)
        except ConfigurationError as error:
            return refused(error.message)
        standing = {name: each["status"] for name, each in self._steps.items()}
        begun = {self._name(each) for each in self._begun}
        if any(status == "running" and name not in begun for name, status in standing.items()):
            return refused("a step is about to end, or to be done once more: try again soon")
        found = graph_move(self._plan.graph, plan.graph, standing, order.moves, order.accept)
        if not order.whole:  # as those were folded that stand in mailboxes
            found = msgspec.structs.replace(found, steps=found.steps[:STEPS_SHOWN])
        problems = (*found.problems, *self._other_ways_back(plan, order.moves))
        found = msgspec.structs.replace(found, problems=problems)
        if go and not problems:
            self._go_over(plan, found)
        return found

    def _other_ways_back(self, plan: GraphPlan, moves: Mapping[str, str]) -> Iterable[str]:
        """Tell of open gates that could send work back otherwise than people were shown."""
        for each in self._begun:
            name = self._name(each)
            then = plan.steps.get(moves.get(name, name))
            now = self._plan.steps[name]
            ways = {
                moves.get(to, to): [moves.get(step, step) for step in again]
                for to, again in now.again.items()
            }
            if then is not None and ways != {to: [*again] for to, again in then.again.items()}:
                yield f"gate {name!r} can send work back to other steps: decide first"

    def _go_over(self, plan: GraphPlan, moving: Moving) -> None:
        """Keep what was done, let go on what is open, and begin what need wait no longer."""
        before, barred = self._steps, self._barred
        open_plans = {self._name(each): each for each in self._begun}
        called = {each.was: each.step for each in moving.steps if each.was and each.step}
        paths = {each.step: self._path(each.was) for each in moving.steps if each.what in _TAKEN}
        self._called = {
            **{old: called.get(new, new) for old, new in self._called.items()},
            **called,
        }
        self._skips = {called.get(name, name): why for name, why in self._skips.items()}
        self._plan = plan
        if self._guards is not None:  # what is used stays used
            self._guards.budgets = plan.budgets
        elif plan.guarded:
            self._guards = RunGuards(self._ctx, plan)
        self._paths = paths
        self._passes = {**dict.fromkeys(plan.steps, 0), **self._passes}
        self._steps = dict.fromkeys(plan.steps, WAITING)
        self._barred = {called[name]: why for name, why in barred.items() if name in called}
        for each in moving.steps:
            if each.what in _TAKEN:
                self._steps[each.step] = before[each.was]
                if each.what == "open":
                    self._renamed[open_plans[each.was]] = each.step
                if each.step != each.was:
                    self._show(each.was, f"now {each.step}")
                    self._show(each.step, each.status)
        # A new object: what is open goes on with the names that it began with.
        self._names = {**self._names, "steps": self._steps}
        self._running = sum(map(self._takes_place, self._begun))
        self._recount()
        self._begin(())

    def _recount(self) -> None:
        """Count anew what each step waits for; those are ready that need wait no longer."""
        plan = self._plan
        self._ready.clear()
        ended = {name: each["status"] in STAYS for name, each in self._steps.items()}
        for name, step in plan.steps.items():
            needs = plan.order.needs[name]
            self._open[name] = sum(not ended[each] for each in needs)
            self._done[name] = sum(self._steps[each]["status"] == "done" for each in needs)
            if self._steps[name] is WAITING and self._has_begun(name, step.wanted):
                self._ready.append(name)
