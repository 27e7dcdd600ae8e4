"""Budgets of a graph: reserved before a step is asked for, settled when it has answered.

Those of the run are part of its fold. Those that all runs share are asked of the service
``movant-budgets``, as a step like any other: its verdict is a message of the run, and the key of
that step lets a repeat reserve nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.directed import Directed, told
from actors.graphs.step import TEXT_CHARS_MAX, Halted, Work
from actors.kernel.guarding import ACCOUNTS, Held, Memory, why_of
from protocols.error_kinds import COMPLIANCE
from protocols.errors import CancelledError, StepFailedError
from protocols.events import BUDGET_EXHAUSTED
from protocols.failure import REFUSED, Failure
from protocols.graphs.graph import SHOWN
from protocols.guardrails import budgets
from protocols.guardrails.budgets import RELEASED, Budget, Unit, Use, usage_of
from protocols.guardrails.guardrail import OVER_BUDGET
from protocols.references import Template, WrongReference, as_text

if TYPE_CHECKING:
    from actors.graphs.plan import GraphPlan, StepPlan
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation

BUDGETS: Final = "budgets"
OF_STEPS: Final = "steps."
"""Facts that a run shows."""
_BROKEN: Final = "-"
"""Stands for the account of a budget that could not be asked."""


class Asked(Halted):
    """A person has to decide before the step is done, outside of its deadline."""

    def __init__(
        self, path: str, title: str, passes: frozenset[str], rules: tuple[Any, ...]
    ) -> None:
        super().__init__(path, Failure(kind=COMPLIANCE, message=title, retryable=False))
        self.title = title
        self.passes = passes
        self.rules = rules


class RunGuards(Memory):
    """What one run remembers for its guardrails and budgets; all of it is a fold."""

    def __init__(self, ctx: Context, plan: GraphPlan) -> None:
        super().__init__(ctx)
        self.budgets = plan.budgets
        self._used: dict[str, Use] = {}
        self._reserved: dict[str, Use] = {}

    def short(self, name: str, budget: Budget, wanted: Use) -> str:
        """Return why there is not enough in a budget of the run; empty when there is."""
        account = budgets.Account(
            limits=budget.limits,
            used=self._used.get(name, {}),
            open={"": self._reserved.get(name, {})},
        )
        return account.short(wanted)

    def reserve(self, name: str, wanted: Use) -> None:
        """Reserve in a budget of the run."""
        _add(self._reserved.setdefault(name, {}), wanted)

    def settle(self, name: str, budget: Budget, wanted: Use, used: Use) -> None:
        """Replace what was reserved by what was used, and show it."""
        _add(self._reserved[name], {unit: -value for unit, value in wanted.items()})
        _add(self._used.setdefault(name, {}), used)
        self.show(name, {unit: self._used[name].get(unit, 0.0) for unit in budget.limits}, budget)

    def show(self, name: str, used: Use, budget: Budget) -> None:
        """Show how much of a budget is used."""
        facts = {
            unit: f"{used.get(unit, 0.0):.6g} of {limit:.6g}"
            for unit, limit in budget.limits.items()
        }
        self._ctx.set_state(**{f"{BUDGETS}.{name}": facts})


class Budgeted(Work):
    """The work of a step that is held to budgets."""

    def __init__(self, ctx: Context, plan: StepPlan, index: int | None, guards: RunGuards) -> None:
        super().__init__(ctx, plan, index)
        self._guards = guards
        self._held = Held(
            *(ctx, plan.guards, plan.functions, guards),
            where=self._where,
            name=plan.name,
        )
        self._call: Operation[Any] | None = None
        self._asking: tuple[Operation[Any], dict[str, Any]] | None = None
        """A reservation that is asked for, and with what."""

    def step(self, service: str, of: str) -> Operation[Any]:
        """Return the call of a service, and remember it: it knows how often it was tried."""
        self._call = super().step(service, of)
        return self._call

    def _waits(self, title: str) -> None:
        """Show for which word the step waits; an empty one: it goes on."""
        text = f"waits for a decision: {title}"[:TEXT_CHARS_MAX] if title else "running"
        self.ctx.set_state(**{SHOWN + self._plan.name: text})

    def _wanted(self) -> Use:
        estimate = self._plan.step.estimate
        found: Use = {"calls": 1.0}
        for unit in budgets.UNITS if estimate is not None else ():
            value = estimate.of(unit) if estimate is not None else None
            if value is not None:
                found[unit] = value
        return found

    async def _reserve(
        self, wanted: Use, reserved: list[tuple[str, Budget, str]]
    ) -> Failure | None:
        """Reserve in all budgets, or in none of them."""
        if self._plan.step.kind == "signal":
            return None  # it asks nobody
        try:
            return await self._reserve_each(wanted, reserved)
        except CancelledError:  # by its deadline: now it is never asked for
            self._release([account for _, _, account in reserved if account])
            raise

    async def _reserve_each(
        self, wanted: Use, reserved: list[tuple[str, Budget, str]]
    ) -> Failure | None:
        own = {} if self._plan.budget is None else {OF_STEPS + self._plan.name: self._plan.budget}
        for name, (budget, key) in {**self._guards.budgets, **own}.items():
            why, account = await self._reserved(name, budget, key, wanted)
            if not why:
                reserved.append((name, budget, account))
                continue
            for other, of, there in reversed(reserved):
                if there:
                    await self._settle(other, of, there, {})
                else:
                    self._guards.settle(other, of, wanted, {})
            reserved.clear()
            facts = {"step": self._where, "budget": name, "reason": why, "action": budget.then}
            self.ctx.attest(BUDGET_EXHAUSTED, facts, detail=f"budget {name}")
            text = f"budget {name}: {why}"
            if budget.then == "ask" and account != _BROKEN:
                raise Asked(
                    self._where, f"{self._plan.name}: {text}", frozenset({name}), (budget,)
                )
            return Failure(kind=OVER_BUDGET, message=text, retryable=False)
        return None

    async def _reserved(
        self, name: str, budget: Budget, key: Template | None, wanted: Use
    ) -> tuple[str, str]:
        """Reserve in one budget; return why not, and where the reservation stands."""
        force = name in self._held.passed
        if budget.window is None:
            why = "" if force else self._guards.short(name, budget, wanted)
            if not why:
                self._guards.reserve(name, wanted)
            return why, ""
        try:
            who = "" if key is None else as_text(key.fill(self.names))
            said = await self._account(_called("budget", name), budget, who, wanted, force=force)
        except (StepFailedError, WrongReference) as error:
            self._release([])
            return f"it cannot be asked: {why_of(error)}", _BROKEN
        if said.get("granted") is not True:
            return str(said.get("why") or "the answer makes no sense"), ""
        return "", str(said["account"])

    async def _account(
        self, name: str, budget: Budget, key: str, wanted: Use, *, force: bool
    ) -> dict[str, Any]:
        assert budget.window is not None
        request = {
            "name": self._plan.account if name == "budget" else name.removeprefix("budget."),
            "key": key,
            "window_s": float(budget.window),
            "limits": budget.limits,
            "wanted": wanted,
            "force": force,
        }
        call = self.ctx.call(budgets.SERVICE, "reserve", request, name=name, options=ACCOUNTS)
        self._asking = (call, request)
        said = await call
        self._asking = None
        return said if isinstance(said, dict) else {}

    def _release(self, accounts: list[str]) -> None:
        """Publish that reservations are not needed: who keeps the accounts hears it.

        No step, as a run that was cut short waits for nobody. What is not heard stays reserved
        until its window ends: too much may be counted, never too little.
        """
        found: dict[str, Any] = {"accounts": accounts, "asked": []}
        if self._asking is not None and self._asking[0].path:
            call, request = self._asking
            where = {name: request[name] for name in ("name", "key", "window_s", "limits")}
            step = f"{self.ctx.id}/{self.ctx.generation}{call.path}"
            found["asked"] = [{"step": step, **where}]
        self._asking = None
        if accounts or found["asked"]:
            self.ctx.emit(RELEASED, found)

    async def _settle(self, name: str, budget: Budget, account: str, used: Use) -> None:
        """Tell what was used; when that cannot be told, what was reserved counts as used."""
        request = {"account": account, "used": used}
        try:
            said = await self.ctx.call(
                budgets.SERVICE,
                "settle",
                request,
                name=_called("settle", name),
                options=ACCOUNTS,
            )
        except StepFailedError as error:
            self.ctx.emit("warning", {"step": self._where, "error": told(error.failure)})
            return
        spent = said.get("used") if isinstance(said, dict) else None
        if isinstance(spent, dict):
            self._guards.show(name, spent, budget)

    def _used(self, found: Directed | Failure, wanted: Use, took_s: float) -> Use:
        """Return what a call has used: as it says, or as was reserved for each of its attempts."""
        attempts = float(getattr(self._call, "attempt", 1))
        if isinstance(found, Failure):
            said, refused = usage_of(found.details), found.kind == REFUSED
        else:
            said, refused = usage_of(found.value), False
        used: Use = {"calls": max(attempts, said.get("calls", 0.0)), "time": took_s}
        units: tuple[Unit, ...] = ("cost", "tokens")
        for unit in units:
            each = wanted.get(unit, 0.0)
            # A refusal has no effect, so it costs nothing unless it says so.
            used[unit] = each * (attempts - 1) + said.get(unit, 0.0 if refused else each)
        return used


def _called(what: str, budget: str) -> str:
    """Return how a call about a budget is named: that of the step alone has no name there."""
    return what if budget.startswith(OF_STEPS) else f"{what}.{budget}"


def _add(to: Use, more: Use) -> None:
    for unit, value in more.items():
        to[unit] = to.get(unit, 0.0) + value
