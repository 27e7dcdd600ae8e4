"""Again: what is done once more in a run of a graph, and what is tried before the run fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors.directed import Directed
from actors.graphs.fallback import ByHand, by_hand, given_up
from actors.graphs.plan import GraphPlan, StepPlan, shown_at
from protocols.errors import StepFailedError
from protocols.references import Template

if TYPE_CHECKING:
    from actors.kernel.context import Context

WAITING: Final[dict[str, Any]] = {
    "status": "waiting",
    "result": None,
    "error": None,
    "items": None,
}
"""What stands for a step that has not begun."""


class Again:
    """The part of a run that goes back: its state is that of the whole run."""

    _ctx: Context
    _plan: GraphPlan
    _names: dict[str, Any]
    _steps: dict[str, dict[str, Any]]
    _open: dict[str, int]
    _done: dict[str, int]
    _barred: dict[str, str]
    _skips: dict[str, str]
    """Steps that others have let be skipped, and why."""
    _passes: dict[str, int]
    """How often each step has begun: a gate may let it be done once more."""
    _renamed: dict[StepPlan, str]
    """Names of open steps that began under another one."""
    _called: dict[str, str]
    """What steps of former definitions are called now."""
    _paths: dict[str, str]
    """Paths of steps that began under another definition, by their names of now."""

    def _begin(self, names: Iterable[str]) -> None:
        raise NotImplementedError

    def _show(self, name: str, text: str) -> None:
        raise NotImplementedError

    def _has_begun(self, name: str, wanted: int) -> bool:
        raise NotImplementedError

    async def _rescued(
        self, plan: StepPlan, where: str, error: StepFailedError
    ) -> Directed | None:
        """Try what the graph says before a step fails the run; None: the step is asked again."""
        for each in self._plan.fallbacks if plan.step.gate is None else ():
            if self._name(plan) in each.skipped:
                self._skip(each.skipped, plan.name)
                return given_up(self._ctx, plan, each, error.failure, where)
            if each.person is not None:
                person = each.person
                if plan.foreach is not None:  # its items would be done twice
                    decisions = tuple(do for do in person.decisions if do != "retry")
                    person = msgspec.structs.replace(person, decisions=decisions)
                held = ByHand(person, Template(shown_at(person)), error.failure)
                found = await by_hand(self._ctx, plan, None, self._names, held, where)
                if found is None and plan.foreach is not None:
                    raise error
                return found
        raise error

    def _skip(self, names: Iterable[str], by: str) -> None:
        """Let steps be skipped that have not begun."""
        for name in names:
            self._skips.setdefault(self._called.get(name, name), f"a fallback of {by}")

    async def _again(self, gate: StepPlan, result: dict[str, Any]) -> None:
        """Do the steps before a gate once more, from the one that was named to the gate itself.

        What they did is undone first, where it has an undo, the newest first. None of the steps
        behind the gate has begun: that was checked when the graph was loaded.
        """
        steps = self._plan.steps
        gate = steps[self._name(gate)]
        again = gate.again[self._called.get(result["step"], result["step"])]
        text = f"once more, by {result['by'] or 'somebody who gave no name'}"
        self._show(gate.name, text)
        for name in reversed(again):
            await self._ctx.undo(self._path(name))
        anew = {*again, gate.name}
        for name in (*again, gate.name):
            for follower in steps[name].followers:
                if follower not in anew and name != gate.name:
                    self._open[follower] += 1
                    self._done[follower] -= self._steps[name]["status"] == "done"
        for name in (*again, gate.name):
            needs = self._plan.order.needs[name]
            self._open[name] = sum(each in anew for each in needs)
            self._done[name] = sum(
                self._steps[each]["status"] == "done" for each in needs if each not in anew
            )
        for name in (*again, gate.name):
            self._steps[name] = WAITING
            self._barred.pop(name, None)
            self._show(name, text)
        self._begin(
            [name for name in (*again, gate.name) if self._has_begun(name, steps[name].wanted)]
        )

    def _name(self, plan: StepPlan) -> str:
        """Return the name that a step has now."""
        return self._renamed.get(plan, plan.name)

    def _path(self, name: str) -> str:
        """Return the path of a step, as it has begun last."""
        if name in self._paths:
            return self._paths[name]
        number = self._passes[name]
        return f"/steps/{name}" + (f"#{number}" if number > 1 else "")
