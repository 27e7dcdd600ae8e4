"""Fallbacks of a step: what is tried when its calls are used up, one after the other.

    asks      another service, or the same with other params: with attempts of its own
    goes on   the step is given up, and others are skipped with it
    a person  decides outside of the step's deadline: done by hand, once more, without, failed

Where the outcome of a call is not known, somebody else is asked only when the fallback says
that it does no harm; the same operation of the same service has the key of the step anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.directed import Directed, halted, told
from actors.graphs.people import decided, filled
from protocols.error_kinds import OVER_LIMIT, is_unknown_outcome, words
from protocols.errors import BadValueError, OversizedError, StepFailedError
from protocols.failure import VALIDATION, Failure
from protocols.gates.gate import nobody_may
from protocols.graphs.fallback import MEANS, Fallback
from protocols.graphs.graph import RESUME, SHOWN
from protocols.references import Names, WrongReference

if TYPE_CHECKING:
    from actors.graphs.plan import StepPlan
    from actors.graphs.step import Work
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation
    from protocols.gates.gate import Gate
    from protocols.references import Template


class ByHand(Exception):
    """A person has to decide, outside of the step's deadline."""

    def __init__(self, gate: Gate, shown: Template, failure: Failure) -> None:
        super().__init__(gate.title)
        self.gate = gate
        self.shown = shown
        self.failure = failure


async def fall_back(work: Work, failure: Failure, *, asking: bool = True) -> Directed | Failure:
    """Go through the fallbacks of a step; return the last failure when none has helped.

    Without ``asking`` those are left out that ask a service: there is no time for it.
    Raises ByHand when it comes to a person.
    """
    plan = work.plan
    if any(word in plan.step.directives for word in words(failure)):
        return failure  # the step says itself what this kind leads to
    unknown = is_unknown_outcome(failure)
    for number, (each, template) in enumerate(
        zip(plan.step.fallbacks, plan.fallbacks, strict=True), 1
    ):
        other = _is_other(each, plan)
        passed = each.asks and (not asking or (other and unknown and each.unknown == "halt"))
        facts = {"step": work.path, "number": number, "passed": passed, "error": told(failure)}
        work.ctx.emit("fallback", facts)
        if passed:
            continue
        if each.person is not None:
            raise ByHand(each.person, template, failure)
        if each.goes_on:
            work.skips = each.skipped
            return given_up(work.ctx, plan, each, failure, work.path)
        found = await _ask(work, each, template, other=other)
        if isinstance(found, Directed):
            return found
        failure = found
        unknown = unknown or is_unknown_outcome(failure)
    return failure


def given_up(
    ctx: Context, plan: StepPlan, fallback: Fallback, failure: Failure, path: str
) -> Directed:
    """Go on without a step: with what stands for its result."""
    ctx.emit("warning", {"step": path, "error": told(failure)})
    result = None if fallback.result is msgspec.UNSET else fallback.result
    return Directed(result, plan.step.service, failure)


async def by_hand(  # noqa: PLR0917 - what a person is shown, in one piece
    ctx: Context, plan: StepPlan, index: int | None, names: Names, held: ByHand, path: str
) -> Directed | None:
    """Let a person decide about a step that has failed; None: it is asked for again.

    Raises StepFailedError when the person lets it fail.
    """
    name = plan.name if index is None else f"{plan.name}.{index}"
    try:
        gate = filled(held.gate, held.shown.fill(names), plan)
    except (WrongReference, BadValueError):
        gate = msgspec.structs.replace(plan.dated(held.gate), values=None, mode="")
        if nobody_may(gate):  # whoever operates it stands in for people whom nobody can name
            signal = f"{RESUME}{name}"
            if index is None:
                ctx.set_state(**{SHOWN + plan.name: f"halted, signal {signal}: nobody may decide"})
            return await halted(ctx, path, signal, held.failure)
    why = f"{plan.name} has failed: {held.failure.kind}: {held.failure.message}"
    means = {key: each for key, each in MEANS.items() if key in gate.decisions}
    means |= held.gate.means
    gate = msgspec.structs.replace(gate, text=gate.text or why, retry=(), means=means)
    if index is None:
        ctx.set_state(**{SHOWN + plan.name: "failed, waits for a decision"})
    try:
        try:
            decision = await decided(ctx, ctx.gate(name, gate), gate)
        except OversizedError:  # a person who is shown less can still help
            gate = msgspec.structs.replace(gate, text=why, values=None)
            decision = await decided(ctx, ctx.gate(name, gate), gate)
    except StepFailedError as error:
        raise StepFailedError(path, error.failure) from error
    if index is None:
        ctx.set_state(**{SHOWN + plan.name: "running"})
    if decision.do == "retry":
        return None
    if decision.do == "skip":
        ctx.emit("warning", {"step": path, "error": told(held.failure)})
        return Directed(None, plan.step.service, held.failure)
    return Directed(decision.values, "" if decision.by is None else decision.by.who)


async def _ask(
    work: Work, each: Fallback, template: Template, *, other: bool
) -> Directed | Failure:
    """Ask a service in place of the step's calls, with attempts of its own."""
    step = work.plan.step
    service, operation = each.service or step.service, each.operation or step.operation
    options = work.options
    if each.tried is not None:
        options = msgspec.structs.replace(options, retry=each.tried)
    try:
        value = _merged(work.value, template.fill(work.names))
        if work.plan.guarded:
            of = "" if other else work.again
            return await work.instead(service, operation, value, options, of)
        call: Operation[Any] = (
            work.ctx.call(service, operation, value, options=options, undo=work.undo)
            if other or not work.again
            else work.ctx.again(work.again, service, operation, value, options=options)
        )
        return Directed(await call, service)
    except StepFailedError as error:
        return error.failure
    except OversizedError as error:
        return Failure(kind=OVER_LIMIT, message=error.message, retryable=False)
    except (BadValueError, WrongReference) as error:
        return Failure(kind=VALIDATION, message=error.message, retryable=False)


def _is_other(each: Fallback, plan: StepPlan) -> bool:
    """Tell whether something else is asked than the step asks itself."""
    step = plan.step
    service, operation = each.service or step.service, each.operation or step.operation
    return (service, operation) != (step.service, step.operation)


def _merged(value: Any, params: Any) -> Any:
    """Return the params of a step with others over them."""
    if not params:
        return value
    if not isinstance(value, dict | None):
        raise BadValueError("other params go over an object, and the step's are none")
    return {**(value or {}), **params}
