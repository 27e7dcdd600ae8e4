"""Steps of a graph that ask no service: they sleep, wait for a signal, run a child, set facts.

Each is done as one kernel operation, in the place of the call that a step with a service makes.
So what its failures lead to, how it halts, and what a run shows are the same for all kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.directed import Directed
from actors.graphs.step import TEXT_CHARS_MAX, Work
from protocols.durations import DURATION_S_MAX, shown
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import (
    BadValueError,
    ChildFailedError,
    InvalidIdError,
    OversizedError,
    ResultTypeError,
)
from protocols.failure import TIMEOUT, VALIDATION, Failure
from protocols.graphs.graph import RESUME, SERVICE, SHOWN
from protocols.graphs.sleep import moment, pause

if TYPE_CHECKING:
    from actors.graphs.budgets import RunGuards
    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation


def work_of(
    ctx: Context, plan: StepPlan, index: int | None = None, guards: RunGuards | None = None
) -> Work:
    """Return the work of a step, or of one item of it."""
    if plan.guarded and guards is not None:
        from actors.graphs.guards import Guarded, GuardedWait  # noqa: PLC0415 - it is one of these

        return (Guarded if plan.kind == SERVICE else GuardedWait)(ctx, plan, index, guards)
    if plan.kind == SERVICE:
        return Work(ctx, plan, index)
    if plan.kind == "gate":
        from actors.graphs.gate import Gated  # noqa: PLC0415 - it is one of these itself

        return Gated(ctx, plan, index)
    return Waited(ctx, plan, index)


class Waited(Work):
    """The work of a step that asks no service."""

    async def ask(self, service: str, of: str = "") -> Directed | Failure:  # noqa: ARG002 - as in Work
        """Do it once; what cannot be done is a failure."""
        try:
            return await self._once()
        except OversizedError as error:
            return Failure(kind=OVER_LIMIT, message=error.message, retryable=False)
        except (BadValueError, InvalidIdError) as error:
            return Failure(kind=VALIDATION, message=error.message, retryable=False)
        except (ChildFailedError, ResultTypeError) as error:
            return error.failure
        except ValueError as error:  # of a duration or a moment
            return Failure(kind=VALIDATION, message=str(error), retryable=False)

    async def _once(self) -> Directed | Failure:
        step, value = self._plan.step, self.value
        match step.kind:
            case "sleep":
                return await self._sleep(value)
            case "signal":
                name = _signal(value)
                waits = f"waits for signal {name}"
                return await self._wait_for(self.ctx.signal(name), waits, f"no signal {name}")
            case "child":
                child = self.ctx.child(step.child, value, undo=step.undo is True)
                runs = f"child {step.child}"
                return await self._wait_for(child, f"{runs} runs", f"{runs} has not ended")
            case _:
                self.ctx.set_state(**value)
                return Directed(value, "")

    async def _sleep(self, value: Any) -> Directed | Failure:
        """Let the time pass that a duration or a moment asks for. Raises ValueError."""
        if not value["until"]:
            wait_s = pause(value["duration"], "sleep")
            if not isinstance(wait_s, str):
                return await self._wait_for(self.ctx.sleep(wait_s), f"sleeps {shown(wait_s)}")
            calendar = self._plan.calendar
            if calendar is None:
                raise ValueError(f"{wait_s}: of which calendar?")
            wait = self.ctx.sleep(wait_s, calendar=calendar)
            return await self._wait_for(wait, f"sleeps {wait_s}")
        when = moment(value["until"], "until")
        if (when - self.ctx.now()).total_seconds() > DURATION_S_MAX:
            raise ValueError("until is more than 100 years away")
        wait = self.ctx.until(when, name="sleep")
        return await self._wait_for(wait, f"sleeps until {when.isoformat()}")

    async def _wait_for(
        self, operation: Operation[Any], text: str, late: str = ""
    ) -> Directed | Failure:
        """Await an operation, for as long as the step says; ``late`` tells that it took longer."""
        step = self._plan.step
        if self._index is None:
            self.ctx.set_state(**{SHOWN + self._plan.name: text[:TEXT_CHARS_MAX]})
        try:
            if step.timeout is None:
                return Directed(await operation, "")
            limit_s = float(step.timeout)
            with self.ctx.move_on_after(limit_s):
                return Directed(await operation, "")
        finally:
            self.path = operation.path or self.path
        # What a child does until it is cancelled nobody knows; a signal has no effect.
        return Failure(
            kind=TIMEOUT,
            message=f"{late} within {shown(limit_s)}",
            unknown=step.kind == "child",
        )


def _signal(value: Any) -> str:
    """Return the name of a signal. Raises ValueError for what is none."""
    if not isinstance(value, str) or value.startswith(RESUME):
        raise ValueError(f"a signal has a name, and none that begins with {RESUME!r}")
    return value
