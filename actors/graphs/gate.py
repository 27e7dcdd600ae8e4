"""A step of a graph that is a gate: filled in, waited for, and what its decision leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.directed import Directed
from actors.graphs.kinds import Waited
from actors.graphs.people import at_once, decided, filled
from protocols.errors import ConfigurationError, StepFailedError
from protocols.failure import VALIDATION, Failure
from protocols.graphs.graph import SHOWN

if TYPE_CHECKING:
    from protocols.gates.words import GateDecision


class Gated(Waited):
    """The work of a gate: its result is the decision, with the values to go on with."""

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Wait for the decision; a gate that was rejected, or cannot be opened, is a failure."""
        try:
            return await super().ask(service, of)
        except ConfigurationError as error:
            return Failure(kind=VALIDATION, message=error.message, retryable=False)

    async def _once(self) -> Directed | Failure:
        plan, index = self._plan, self._index
        assert plan.step.gate is not None
        gate = at_once(filled(plan.step.gate, self.value, plan), plan, self.names)
        operation = self.ctx.gate(plan.name if index is None else f"{plan.name}.{index}", gate)
        if index is None:
            self.ctx.set_state(**{SHOWN + plan.name: "waits for a decision"})
        try:
            return Directed(result_of(await decided(self.ctx, operation, gate)), "")
        except StepFailedError as error:
            return error.failure
        finally:
            self.path = operation.path or self.path


def result_of(decision: GateDecision) -> dict[str, Any]:
    """Return the result of a gate as references read it."""
    by = decision.by
    return {
        "decision": decision.do,
        "values": decision.values,
        "changes": [msgspec.to_builtins(each) for each in decision.changes],
        "by": None if by is None else by.who,
        "why": None if by is None else by.why,
        "expired": decision.expired,
        **({"auto": True} if decision.auto else {}),
        **({"step": decision.step} if decision.step else {}),
    }
