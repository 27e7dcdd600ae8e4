"""A step of a graph that is held to guardrails and budgets.

    before: rules over what it would get ──> block | a person | warn
    reserve from budgets ──> ask the service ──> settle
    after: rules over what it has given ──> block (and undo) | a person | warn

Rules over recorded values are evaluated in the fold: each fold finds the same. What depends on
other runs, or on a function, is asked as a step like any other, so that the verdict is a message
of the run. Whatever cannot be asked or evaluated blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.directed import Directed
from actors.graphs.budgets import Asked, Budgeted, RunGuards, why_of
from actors.graphs.kinds import Waited
from actors.graphs.step import TEXT_CHARS_MAX, Halted
from protocols.durations import shown
from protocols.error_kinds import COMPLIANCE
from protocols.errors import StepFailedError
from protocols.failure import Failure
from protocols.gates.gate import TITLE_CHARS_MAX, Gate
from protocols.graphs.graph import SHOWN
from protocols.guardrails.budgets import Budget, Use
from protocols.guardrails.evaluation import Violation, When
from protocols.guardrails.guardrail import FUNCTION_S, INVALID_OUTPUT
from protocols.policy import NO_RETRY
from protocols.references import WrongReference, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context
    from protocols.guardrails.evaluation import Guard


class Guarded(Budgeted):
    """The work of a step with a service that is held to guardrails and budgets."""

    def __init__(self, ctx: Context, plan: StepPlan, index: int | None, guards: RunGuards) -> None:
        super().__init__(ctx, plan, index, guards)
        self._refused: Failure | None = None
        """A person's word that has to be followed yet."""
        self._anew = False
        """Whether the key of the first call is spent: what it gave is not wanted."""

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Ask a service once, between the checks; again when what it gives is not valid."""
        tries = 0
        while True:
            tries += 1
            found = await self._guard(service, "" if self._anew else of)
            if not isinstance(found, Failure) or found.kind != INVALID_OUTPUT:
                return found
            policy = self.options.allow(tries, found)
            if policy is None:
                return found
            await self.ctx.sleep(policy.delay_before(tries + 1, self.path), name="again")

    async def _guard(self, service: str, of: str) -> Directed | Failure:
        try:
            stopped = await self._before(service)
            if stopped is not None:
                return stopped
            wanted, reserved = self._wanted(), list[tuple[str, Budget, str]]()
            stopped = await self._reserve(wanted, reserved)
            if stopped is not None:
                return stopped
        finally:
            self.path = self.path or self._where
        after = any(each.looks("after") for each in self._plan.guards)
        if not (after and self.undo is not None):
            return await self._done(service, of, wanted, reserved)
        try:
            async with self.ctx.saga(name="guarded"):
                found = await self._done(service, of, wanted, reserved)
                if isinstance(found, Failure) and self._anew:
                    raise StepFailedError(self.path, found)  # what it did is undone
        except StepFailedError as error:
            return error.failure
        return found

    async def _done(
        self, service: str, of: str, wanted: Use, reserved: list[tuple[str, Budget, str]]
    ) -> Directed | Failure:
        """Ask, settle, and look at what came."""
        began, self._call = self.ctx.now(), None
        used: Use | None = None
        self._anew = False
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
        return await self._after(service, found, took_s)

    # Guardrails

    async def _before(self, service: str) -> Failure | None:
        """Evaluate what is looked at before; a person is asked outside of the deadline."""
        if self._refused is not None:
            failure, self._refused = self._refused, None
            return failure
        found = await self._evaluate("before", self._facts(service))
        blocking = [each for each in found if each.action == "block"]
        if blocking:
            return self._blocked(blocking)
        asking = [each for each in found if each.action == "gate"]
        if asking:
            rules = tuple(self._rule(each.guardrail) for each in asking)
            passes = frozenset(each.guardrail for each in asking)
            raise Asked(self._where, _title(self._plan.name, asking), passes, rules)
        return None

    async def _after(self, service: str, found: Directed, took_s: float) -> Directed | Failure:
        """Evaluate what is looked at after; whoever has to let it pass is asked at once."""
        attempts = getattr(self._call, "attempt", 1)
        facts = {
            **self._facts(service),
            "result": found.value,
            "took_s": took_s,
            "calls": attempts,
        }
        violations = await self._evaluate("after", facts)
        blocking = [each for each in violations if each.action == "block"]
        failure = self._blocked(blocking) if blocking else None
        asking = [each for each in violations if each.action == "gate"]
        if failure is None and asking:
            rules = [self._rule(each.guardrail) for each in asking]
            failure = await self._person(_title(self._plan.name, asking), rules)
        if failure is None:
            return found
        self._anew = True
        return failure

    async def _evaluate(self, when: When, facts: dict[str, Any]) -> list[Violation]:
        """Evaluate all rules of the step that look now; those that need no message first."""
        found: list[Violation] = []
        later: list[Guard] = []
        for guard in self._plan.guards:
            if guard.name in self._passed and guard.rule.type != "rate-limit":
                continue
            if guard.rule.type in {"rate-limit", "python"}:
                later += [guard] if when in guard.rule.moments else []
            else:
                found += guard.check(when, facts)
        if not any(each.action == "block" for each in found):
            for guard in later:
                asked = self._counted if guard.rule.type == "rate-limit" else self._function
                violation = await asked(guard, when, facts)
                found += [] if violation is None else [violation]
        for each in found:
            self._guards.tell(each, self._where)
        return found

    async def _counted(self, guard: Guard, when: When, facts: dict[str, Any]) -> Violation | None:
        """Count a call: in the run, or in the window that all runs share."""
        rule = guard.rule
        assert rule.max_calls is not None
        force = guard.name in self._passed
        try:
            number = guard.counted(facts)
        except (WrongReference, ValueError) as error:
            return guard.broken(when, str(error))
        if number == 0:
            return None
        if rule.window is None:
            counts = self._guards.counts
            if counts[guard.name] + number > rule.max_calls and not force:
                made = f"{rule.max_calls} calls of this run are made, the limit"
                over = f"{counts[guard.name]} and {number} more of at most {rule.max_calls}"
                return guard.violation(when, over if rule.count else made)
            counts[guard.name] += number
            return None
        limit = Budget(calls=rule.max_calls, window=rule.window)
        wanted: Use = {"calls": float(number)} if rule.count else {}
        try:
            key = "" if guard.key is None else as_text(guard.key.fill(facts))
            said = await self._account(
                *("use", f"guardrail.{guard.name}", limit, key, wanted), force=force
            )
        except (StepFailedError, WrongReference) as error:
            return guard.broken(when, why_of(error))
        if said.get("granted") is True:
            return None
        return guard.violation(when, f"{said.get('why')} in {shown(float(rule.window))}")

    async def _function(self, guard: Guard, when: When, facts: dict[str, Any]) -> Violation | None:
        """Ask the function of a rule; whatever is no clear yes is no."""
        rule = guard.rule
        function = self._plan.functions.get(rule.function)
        if function is None:
            return guard.broken(when, f"there is no function {rule.function}")
        limit_s = FUNCTION_S if rule.timeout is None else float(rule.timeout)
        given = {key: facts[key] for key in ("step", "params", "result", "input") if key in facts}
        try:
            said = await self.ctx.run(
                function,
                {"when": when, **given},
                name=f"guardrail.{guard.name}",
                retry=NO_RETRY,
                timeout_s=limit_s,
            )
        except StepFailedError as error:
            return guard.broken(when, why_of(error))
        if said is True:
            return None
        if not isinstance(said, dict) or not isinstance(said.get("compliant"), bool):
            return guard.broken(when, f"{rule.function} answers neither true nor what is wrong")
        if said["compliant"]:
            return None
        reason = said.get("reason")
        sure = said.get("confidence")
        return guard.violation(
            when,
            reason if isinstance(reason, str) and reason else f"{rule.function} says no",
            float(sure) if isinstance(sure, int | float) and 0 <= sure <= 1 else 1.0,
        )

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

    def _rule(self, name: str) -> Any:
        return next(each.rule for each in self._plan.guards if each.name == name)

    def _blocked(self, violations: list[Violation]) -> Failure:
        output = all(each.type == "output" and not each.broken for each in violations)
        return Failure(
            kind=INVALID_OUTPUT if output else COMPLIANCE,
            message=f"guardrail {'; '.join(each.text for each in violations)}",
            retryable=output,
            details={"guardrails": [each.guardrail for each in violations]},
        )

    # People

    async def _wait(self, held: Halted) -> Directed | None:
        if not isinstance(held, Asked):
            return await super()._wait(held)
        self._refused = await self._person(held.title, held.rules)
        if self._refused is None:
            self._passed |= held.passes
        return None

    async def _person(self, title: str, rules: Iterable[Any]) -> Failure | None:
        """Ask a person; return the failure that a rejection is."""
        told_of = list(rules)
        expires = [float(each.expires) for each in told_of if getattr(each, "expires", None)]
        gate = Gate(
            title=title[:TITLE_CHARS_MAX],
            text=title,
            decisions=("approve", "reject", "cancel"),
            approvers=_all(told_of, "approvers"),
            roles=_all(told_of, "roles"),
            expires=min(expires, default=None),
            means={"approve": "the step is done all the same", "reject": "the step fails"},
        )
        name = self._plan.name
        self.ctx.set_state(**{SHOWN + name: f"waits for a decision: {title}"[:TEXT_CHARS_MAX]})
        try:
            await self.ctx.gate(name, gate)
        except StepFailedError as error:
            return error.failure
        self.ctx.set_state(**{SHOWN + name: "running"})
        return None


class GuardedWait(Guarded, Waited):
    """The same for a signal or a child."""


def _title(step: str, violations: list[Violation]) -> str:
    return f"{step}: guardrail {'; '.join(each.text for each in violations)}"


def _all(rules: list[Any], field: str) -> tuple[str, ...]:
    """Return everybody that one of the rules names; nobody when one of them asks anybody."""
    named = [getattr(each, field, ()) for each in rules]
    return tuple(dict.fromkeys(who for each in named for who in each))
