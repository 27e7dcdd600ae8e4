"""Guarding: a step that is held to guardrails, in whatever form its workflow is written.

    before: rules over what it would get ──> block | a person | warn
    ask, in the way of a graph, a state machine or a workflow in Python
    after: rules over what it has given ──> block (and undo) | a person | warn

Rules over recorded values are evaluated in the fold: each fold finds the same. What depends on
other runs, or on a function, is asked as a step like any other, so that the verdict is a message
of the run. Whatever cannot be asked or evaluated blocks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from protocols.durations import shown
from protocols.error_kinds import COMPLIANCE
from protocols.errors import StepFailedError
from protocols.events import GUARDRAIL_VIOLATED
from protocols.failure import Failure
from protocols.gates.gate import TITLE_CHARS_MAX, Gate
from protocols.guardrails import budgets
from protocols.guardrails.guardrail import FUNCTION_S, INVALID_OUTPUT
from protocols.policy import NO_RETRY, Retry, StepOptions
from protocols.references import WrongReference, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from actors.kernel.context import Context
    from protocols.guardrails.book import Functions
    from protocols.guardrails.budgets import Use
    from protocols.guardrails.evaluation import Guard, Violation, When

    Waits = Callable[[str], None]

T = TypeVar("T")
TEXT_CHARS_MAX: Final = 200
"""Of a violation, where a run shows it; events and history have it whole."""
SHOWN_MAX: Final = 20
"""Violations that a run shows: the latest. All of them are events."""
GUARDRAILS: Final = "guardrails"
"""The fact that a run shows."""
ACCOUNTS: Final = StepOptions(retry=Retry(attempts=10, max_delay_s=30.0), timeout_s=30.0)
"""How the service of budgets is asked: that it is away for a while fails no step."""
_GIVEN: Final = ("step", "params", "result", "input")


class Memory:
    """What one run remembers for its guardrails; all of it is a fold."""

    def __init__(self, ctx: Context) -> None:
        self.counts: Final = Counter[str]()
        """Calls of rules that bound them in the run."""
        self._ctx = ctx
        self._violations: list[str] = []

    def tell(self, violation: Violation, step: str) -> None:
        """Publish a violation, and show it."""
        facts = {"step": step, "action": violation.action, **msgspec.to_builtins(violation)}
        self._ctx.attest(GUARDRAIL_VIOLATED, facts, detail=violation.text[:TEXT_CHARS_MAX])
        text = f"{violation.action} {violation.when} {step}: {violation.text}"
        self._violations = [*self._violations, text[:TEXT_CHARS_MAX]][-SHOWN_MAX:]
        self._ctx.set_state(**{GUARDRAILS: self._violations})


class Gave(NamedTuple):
    """What came of a step: its result, how many calls it took, and what its form makes of it."""

    result: Any
    calls: int
    of: Any = None


class Held:
    """One step that is held to rules.

    ``where`` is told in events and ``name`` to people; the name is that of its gate as well.
    Whoever is ``waits`` is told for what a person is waited for, and nothing when that is over.
    """

    def __init__(
        self,
        ctx: Context,
        guards: Sequence[Guard],
        functions: Functions,
        memory: Memory,
        *,
        where: str,
        name: str,
    ) -> None:
        self._ctx = ctx
        self._guards = guards
        self._functions = functions
        self._memory = memory
        self._where = self.path = where
        self._name = name
        self.passed: frozenset[str] = frozenset()
        """Rules, and budgets, that a person has let pass."""
        self.anew = False
        """Whether the key of the first call is spent: what it gave is not wanted."""

    async def through(
        self,
        facts: dict[str, Any],
        ask: Callable[[bool], Awaitable[Gave | Failure]],
        options: StepOptions,
        *,
        undoable: bool,
        waits: Waits | None = None,
    ) -> Gave | Failure:
        """Do a step between the checks, and again when what it gives is not valid.

        ``ask`` is told whether it has to ask anew: under a key of its own.
        """

        async def done() -> Gave | Failure:
            began, anew, self.anew = self._ctx.now(), self.anew, False
            found = await ask(anew)
            if isinstance(found, Failure):
                return found
            took_s = (self._ctx.now() - began).total_seconds()
            failure = await self.after(facts, found.result, found.calls, took_s, waits)
            return found if failure is None else failure

        async def once() -> Gave | Failure:
            stopped = await self._admit(facts, waits)
            return await self.undoing(done, undoable=undoable) if stopped is None else stopped

        return await self.until_valid(once, lambda: options)

    async def until_valid(
        self, once: Callable[[], Awaitable[T | Failure]], options: Callable[[], StepOptions]
    ) -> T | Failure:
        """Do something, and once more as options say when what it gives is not valid."""
        tries = 0
        while True:
            tries += 1
            found = await once()
            if not isinstance(found, Failure) or found.kind != INVALID_OUTPUT:
                return found
            policy = options().allow(tries, found)
            if policy is None:
                return found
            delay_s = policy.delay_before(tries + 1, self.path)
            await self._ctx.sleep(delay_s, name="again")

    async def undoing(
        self, done: Callable[[], Awaitable[T | Failure]], *, undoable: bool
    ) -> T | Failure:
        """Do a step that is undone at once when what it gives is not wanted."""
        if not (undoable and any(each.looks("after") for each in self._guards)):
            return await done()
        try:
            async with self._ctx.saga(name="guarded"):
                found = await done()
                if isinstance(found, Failure) and self.anew:
                    raise StepFailedError(self.path, found)
        except StepFailedError as error:
            return error.failure
        return found

    # Verdicts

    async def before(self, facts: dict[str, Any]) -> Failure | list[Violation]:
        """Evaluate what is looked at before; return what a person would have to let pass."""
        found = await self._evaluate("before", facts)
        blocking = [each for each in found if each.action == "block"]
        return _blocked(blocking) if blocking else _asking(found)

    async def after(
        self,
        facts: dict[str, Any],
        result: Any,
        calls: int,
        took_s: float,
        waits: Waits | None = None,
    ) -> Failure | None:
        """Evaluate what is looked at after; whoever has to let it pass is asked at once."""
        told = {**facts, "result": result, "took_s": took_s, "calls": calls}
        violations = await self._evaluate("after", told)
        blocking = [each for each in violations if each.action == "block"]
        asking = _asking(violations)
        failure = _blocked(blocking) if blocking else None
        if failure is None and asking:
            failure = await self.person(self.title(asking), self.rules(asking), waits)
        self.anew = failure is not None
        return failure

    async def _admit(self, facts: dict[str, Any], waits: Waits | None) -> Failure | None:
        """Evaluate what is looked at before, and wait for whoever has to let it pass."""
        while True:
            found = await self.before(facts)
            if isinstance(found, Failure):
                return found
            if not found:
                return None
            refused = await self.person(self.title(found), self.rules(found), waits)
            if refused is not None:
                return refused
            self.passed |= frozenset(each.guardrail for each in found)

    async def _evaluate(self, when: When, facts: dict[str, Any]) -> list[Violation]:
        """Evaluate all rules of the step that look now; those that need no message first."""
        found: list[Violation] = []
        later: list[Guard] = []
        for guard in self._guards:
            if guard.name in self.passed and guard.rule.type != "rate-limit":
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
            self._memory.tell(each, self._where)
        return found

    async def _counted(self, guard: Guard, when: When, facts: dict[str, Any]) -> Violation | None:
        """Count a call: in the run, or in the window that all runs share."""
        rule = guard.rule
        assert rule.max_calls is not None
        force = guard.name in self.passed
        try:
            number = guard.counted(facts)
        except (WrongReference, ValueError) as error:
            return guard.broken(when, str(error))
        if number == 0:
            return None
        if rule.window is None:
            counts = self._memory.counts
            if counts[guard.name] + number > rule.max_calls and not force:
                made = f"{rule.max_calls} calls of this run are made, the limit"
                over = f"{counts[guard.name]} and {number} more of at most {rule.max_calls}"
                return guard.violation(when, over if rule.count else made)
            counts[guard.name] += number
            return None
        wanted: Use = {"calls": float(number)}
        try:
            key = "" if guard.key is None else as_text(guard.key.fill(facts))
            request = {
                "name": f"guardrail.{guard.name}",
                "key": key,
                "window_s": float(rule.window),
                "limits": {"calls": float(rule.max_calls)},
                "wanted": wanted,
                "force": force,
            }
            said = await self._ctx.call(
                *(budgets.SERVICE, "use", request),
                name=f"guardrail.{guard.name}",
                options=ACCOUNTS,
            )
        except (StepFailedError, WrongReference) as error:
            return guard.broken(when, why_of(error))
        answer = said if isinstance(said, dict) else {}
        if answer.get("granted") is True:
            return None
        return guard.violation(when, f"{answer.get('why')} in {shown(float(rule.window))}")

    async def _function(self, guard: Guard, when: When, facts: dict[str, Any]) -> Violation | None:
        """Ask the function of a rule; whatever is no clear yes is no."""
        rule = guard.rule
        function = self._functions.get(rule.function)
        if function is None:
            return guard.broken(when, f"there is no function {rule.function}")
        limit_s = FUNCTION_S if rule.timeout is None else float(rule.timeout)
        try:
            said = await self._ctx.run(
                function,
                {"when": when, **{key: facts[key] for key in _GIVEN if key in facts}},
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

    # People

    def title(self, violations: Iterable[Violation]) -> str:
        """Return what a person reads first."""
        return f"{self._name}: {_told(violations)}"

    def rules(self, violations: Iterable[Violation]) -> tuple[Any, ...]:
        """Return the rules that do not hold, in the order in which that was found."""
        known = {each.name: each.rule for each in self._guards}
        return tuple(known[each.guardrail] for each in violations)

    async def person(
        self, title: str, rules: Iterable[Any], waits: Waits | None = None
    ) -> Failure | None:
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
        if waits is not None:
            waits(title)
        try:
            await self._ctx.gate(self._name, gate)
        except StepFailedError as error:
            return error.failure
        if waits is not None:
            waits("")
        return None


def run_of(ctx: Context, began: datetime) -> dict[str, Any]:
    """Return what rules, and references of graphs, may know of a run."""
    return {
        "id": ctx.id,
        "started_at": began.isoformat(),
        "started_by": ctx.started_by or None,
        "profile": ctx.profile or None,
    }


def why_of(error: StepFailedError | WrongReference) -> str:
    """Return why something could not be asked."""
    if isinstance(error, StepFailedError):
        return f"{error.failure.kind}: {error.failure.message}"
    return error.message


def _blocked(violations: list[Violation]) -> Failure:
    output = all(each.type == "output" and not each.broken for each in violations)
    return Failure(
        kind=INVALID_OUTPUT if output else COMPLIANCE,
        message=_told(violations),
        retryable=output,
        details={"guardrails": [each.guardrail for each in violations]},
    )


def _asking(violations: list[Violation]) -> list[Violation]:
    return [each for each in violations if each.action == "gate"]


def _told(violations: Iterable[Violation]) -> str:
    return f"guardrail {'; '.join(each.text for each in violations)}"


def _all(rules: list[Any], field: str) -> tuple[str, ...]:
    """Return everybody that one of the rules names; nobody when one of them asks anybody."""
    named = [getattr(each, field, ()) for each in rules]
    return tuple(dict.fromkeys(who for each in named for who in each))
