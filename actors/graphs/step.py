"""One step of a graph, or one item of it: asked for, with whatever its failures lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors.directed import Directed, Following, halted, told
from actors.graphs.fallback import ByHand, by_hand, fall_back
from protocols.codec import Known
from protocols.durations import shown
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import BadValueError, OversizedError, StepFailedError
from protocols.failure import TIMEOUT, VALIDATION, Failure
from protocols.graphs.graph import RESUME, SHOWN
from protocols.graphs.order import chain, directive_of, last_of
from protocols.references import Names, WrongReference

if TYPE_CHECKING:
    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation
    from protocols.compensation import Undo
    from protocols.directives import Directive
    from protocols.policy import StepOptions

TEXT_CHARS_MAX: Final = 200
"""Of a message, where a run shows it; events and history have it whole."""
ENDING: Final = frozenset({"continue", "compensate", "halt_and_alert"})
"""Directives that ask nobody: what is left when there is no time, or nothing to ask with."""


UNANSWERED: Final = (StepFailedError, OversizedError, BadValueError)
"""What a call raises that has no value to go on with."""


def first_call(ctx: Context, plan: StepPlan, names: Names) -> Operation[Any] | None:
    """Return the call of a plain step; None when its parameters cannot be filled in."""
    try:
        value = plan.params.fill(names)
    except WrongReference:
        return None
    step = plan.step
    return ctx.call(
        step.service, step.operation, Known(value) if plan.known else value, options=plan.options
    )


def unanswered(error: StepFailedError | OversizedError | BadValueError) -> Failure:
    """Return the failure of a call; what cannot be sent is one as well."""
    if isinstance(error, StepFailedError):
        return error.failure
    kind = OVER_LIMIT if isinstance(error, OversizedError) else VALIDATION
    return Failure(kind=kind, message=error.message, retryable=False)


class Halted(Exception):
    """A step has to wait for an operator, outside of its deadline."""

    def __init__(self, path: str, failure: Failure) -> None:
        super().__init__(path)
        self.path = path
        self.failure = failure


class Work(Following):
    """The work of a step, or of one item of it."""

    def __init__(self, ctx: Context, plan: StepPlan, index: int | None = None) -> None:
        super().__init__(ctx, plan.step.operation, None, {}, plan.options)
        self._plan = self.plan = plan
        self._index = index
        self.names: Names = {}
        self.undo: Undo | None = None
        self.skips: tuple[str, ...] = ()
        """Steps that a fallback of this one wants to be skipped."""
        item = "" if index is None else f"/items/{index}"
        self._where = self.path = f"/steps/{plan.name}{item}"
        self.again = ""
        """Path of the first call: what is asked again has its key."""
        self._failed: Failure | None = None
        """What the first call came to, when it was made before all this."""

    def asked(self, path: str, failure: Failure) -> None:
        """Go on behind a first call that was made already; it was sent if it has a path."""
        self.again = path
        self._failed = failure

    async def done(self, names: Names) -> Directed:
        """Do the work. Raises StepFailedError when it fails the run."""
        while True:
            try:
                return await self._within(names)
            except Halted as held:
                found = await self._wait(held)
                if found is not None:
                    return found
            except ByHand as held:
                found = await by_hand(
                    self.ctx, self._plan, self._index, names, held, self.path or self._where
                )
                if found is not None:
                    return found

    async def _wait(self, held: Halted) -> Directed | None:
        """Wait for an operator, and show how he is heard."""
        name, index = self._plan.name, self._index
        signal = f"{RESUME}{name}" + ("" if index is None else f".{index}")
        why = f"{held.failure.kind}: {held.failure.message}"[:TEXT_CHARS_MAX]
        item = "" if index is None else f"item {index} "
        self.ctx.set_state(**{SHOWN + name: f"{item}halted, signal {signal}: {why}"})
        found = await halted(self.ctx, held.path, signal, held.failure)
        self.ctx.set_state(**{SHOWN + name: "running"})
        return found

    async def _within(self, names: Names) -> Directed:
        """Do the work within its deadline."""
        plan = self._plan
        self.names = names
        try:
            self.value = plan.params.fill(names)
            self.undo = plan.undo(names)
        except WrongReference as error:
            failure = Failure(kind=VALIDATION, message=error.message, retryable=False)
            return self._end(failure)
        if not plan.deadline_s:
            return await self.run(plan.step.service, self.again)
        with self.ctx.move_on_after(plan.deadline_s, name="deadline"):
            return await self.run(plan.step.service, self.again)
        message = f"not done within {shown(plan.deadline_s)}"
        failure = Failure(kind=TIMEOUT, message=message, unknown=True)
        if plan.step.fallbacks:
            found = await fall_back(self, failure, asking=False)
            if isinstance(found, Directed):
                return found
        return self._end(failure)

    # In the way of a graph

    def step(self, service: str, of: str) -> Operation[Any]:
        """Return the call of a service; ``of`` is the path of an earlier one of the same work."""
        if of:
            return super().step(service, of)
        value = Known(self.value) if self._plan.known else self.value
        return self.ctx.call(service, self.operation, value, options=self.options, undo=self.undo)

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Ask a service once, with all attempts; what cannot be sent is a failure."""
        failure, self._failed = self._failed, None
        if failure is not None:
            self.path = self.again or self._where
            return failure
        step = self.step(service, of)
        try:
            return Directed(await step, service)
        except UNANSWERED as error:
            return unanswered(error)
        finally:
            self.again = self.again or step.path
            self.path = step.path or self._where

    async def instead(
        self, service: str, operation: str, value: Any, options: StepOptions, of: str
    ) -> Directed | Failure:
        """Ask for something else in place of the step, in the way that the step is asked."""
        held = self.operation, self.value, self.options
        self.operation, self.value, self.options = operation, value, options
        try:
            return await self.ask(service, of)
        finally:
            self.operation, self.value, self.options = held

    def first(self, failure: Failure) -> Directive:
        """Return the directive for a failure."""
        return directive_of(failure, self._plan.tables, critical=self._plan.step.critical)

    def after(self, directive: Directive) -> Directive:
        """Return the directive behind one that could not help."""
        then = directive.then
        return last_of(critical=self._plan.step.critical) if then is None else directive.after

    async def follow(self, service: str, failure: Failure) -> Directed | None:
        """Follow the directives of a failure; without any the step ends as it is critical."""
        if self._plan.step.fallbacks:
            found = await fall_back(self, failure)
            if isinstance(found, Directed):
                return found
            failure = found
        if self._plan.tables:
            return await super().follow(service, failure)
        return self._end(failure)

    async def halt(self, failure: Failure) -> Directed | None:
        """Leave the deadline, and wait there."""
        raise Halted(self.path, failure)

    def _end(self, failure: Failure) -> Directed:
        """Follow the first directive that asks nobody."""
        plan = self._plan
        found = next(
            (each for each in chain(self.first(failure)) if each.do in ENDING),
            last_of(critical=plan.step.critical),
        )
        if plan.tables:
            facts = {"directive": found.do, "service": plan.step.service, "error": told(failure)}
            self.ctx.emit("directive", {"step": self.path, **facts})
        if found.do == "halt_and_alert":
            raise Halted(self.path, failure)
        if found.do == "compensate":
            raise StepFailedError(self.path, failure)
        self.ctx.emit("warning", {"step": self.path, "error": told(failure)})
        return Directed(None, plan.step.service, failure)
