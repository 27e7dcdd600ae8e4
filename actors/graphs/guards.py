"""A step of a graph that is held to guardrails and budgets.

    before ──> reserve from budgets ──> ask the service ──> settle ──> after

What rules say is told by ``actors.kernel.guarding``. In a graph a person is asked outside of the
step's deadline, and budgets stand between the rules and the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.directed import Directed
from actors.graphs.budgets import Asked, Budgeted, RunGuards
from actors.graphs.kinds import Waited
from actors.graphs.step import Halted
from protocols.failure import Failure
from protocols.guardrails.budgets import Budget, Use

if TYPE_CHECKING:
    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context


class Guarded(Budgeted):
    """The work of a step with a service that is held to guardrails and budgets."""

    def __init__(self, ctx: Context, plan: StepPlan, index: int | None, guards: RunGuards) -> None:
        super().__init__(ctx, plan, index, guards)
        self._refused: Failure | None = None
        """A person's word that has to be followed yet."""

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Ask a service once, between the checks; again when what it gives is not valid."""

        async def once() -> Directed | Failure:
            found = await self._guard(service, "" if self._held.anew else of)
            self._held.path = self.path
            return found

        return await self._held.until_valid(once, lambda: self.options)

    async def _guard(self, service: str, of: str) -> Directed | Failure:
        wanted, reserved = self._wanted(), list[tuple[str, Budget, str]]()
        try:
            stopped = await self._before(service) or await self._reserve(wanted, reserved)
            if stopped is not None:
                return stopped
        finally:
            self._held.path = self.path = self.path or self._where

        async def done() -> Directed | Failure:
            found = await self._done(service, of, wanted, reserved)
            self._held.path = self.path
            return found

        return await self._held.undoing(done, undoable=self.undo is not None)

    async def _done(
        self, service: str, of: str, wanted: Use, reserved: list[tuple[str, Budget, str]]
    ) -> Directed | Failure:
        """Ask, settle, and look at what came."""
        began, self._call = self.ctx.now(), None
        used: Use | None = None
        self._held.anew = False
        try:
            found = await super().ask(service, of)
            took_s = (self.ctx.now() - began).total_seconds()
            used = self._used(found, wanted, took_s)
        finally:
            for name, budget, account in reserved:
                if not account:  # cut short it counts as reserved: it may have been done
                    self._guards.settle(name, budget, wanted, wanted if used is None else used)
        for name, budget, account in reserved:
            if account:
                await self._settle(name, budget, account, used)
        if isinstance(found, Failure):
            return found
        calls = getattr(self._call, "attempt", 1)
        failure = await self._held.after(
            self._facts(service), found.value, calls, took_s, self._waits
        )
        return found if failure is None else failure

    async def _before(self, service: str) -> Failure | None:
        """Evaluate what is looked at before; a person is asked outside of the deadline."""
        if self._refused is not None:
            failure, self._refused = self._refused, None
            return failure
        held = self._held
        found = await held.before(self._facts(service))
        if isinstance(found, Failure):
            return found
        if not found:
            return None
        passes = frozenset(each.guardrail for each in found)
        raise Asked(self._where, held.title(found), passes, held.rules(found))

    def _facts(self, service: str) -> dict[str, Any]:
        step = self._plan.step
        asked = {
            "name": self._plan.name,
            "service": service,
            "operation": self.operation,
            "kind": step.kind,
        }
        run = {**self.names["run"], "profile": self.ctx.profile}
        return {**self.names, "run": run, "params": self.value, "step": asked}

    # People

    async def _wait(self, held: Halted) -> Directed | None:
        if not isinstance(held, Asked):
            return await super()._wait(held)
        self._refused = await self._held.person(held.title, held.rules, self._waits)
        if self._refused is None:
            self._held.passed |= held.passes
        return None


class GuardedWait(Guarded, Waited):
    """The same for a signal or a child."""
