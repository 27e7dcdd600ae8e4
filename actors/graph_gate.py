"""A step of a graph that is a gate: filled in, waited for, and what its decision leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.directed import Directed
from actors.graph_kinds import Waited
from protocols.errors import BadValueError, ConfigurationError, StepFailedError
from protocols.failure import VALIDATION, Failure
from protocols.gates import TITLE_CHARS_MAX, Gate, GateDecision
from protocols.graph import SHOWN
from protocols.references import as_text

if TYPE_CHECKING:
    from actors.graph_plan import StepPlan


class Gated(Waited):
    """The work of a gate: its result is the decision, with the values to go on with."""

    async def ask(self, service: str, of: str = "") -> Directed | Failure:
        """Wait for the decision; a gate that was rejected, or cannot be opened, is a failure."""
        try:
            return await super().ask(service, of)
        except ConfigurationError as error:
            return Failure(kind=VALIDATION, message=error.message, retryable=False)

    async def _once(self) -> Directed | Failure:
        plan = self._plan
        assert plan.step.gate is not None
        operation = self.ctx.gate(plan.name, filled(plan.step.gate, self.value, plan))
        self.ctx.set_state(**{SHOWN + plan.name: "waits for a decision"})
        try:
            return Directed(result_of(await operation), "")
        except StepFailedError as error:
            return error.failure
        finally:
            self.path = operation.path or self.path


def filled(gate: Gate, given: dict[str, Any], plan: StepPlan) -> Gate:
    """Return a gate with its references filled in. Raises BadValueError for what does not fit."""
    if not isinstance(given["values"], dict | None):
        raise BadValueError("the values of a gate are an object")
    steps = ", ".join(plan.followers)
    means = {"approve": f"begins {steps}", "skip": f"skips {steps}"} if steps else {}
    return msgspec.structs.replace(
        gate,
        title=as_text(given["title"])[:TITLE_CHARS_MAX],
        text=as_text(given["text"]),
        values=given["values"],
        approvers=_names(given["approvers"]),
        excluded=_names(given["excluded"]),
        means={
            **{key: each for key, each in means.items() if key in gate.decisions},
            **gate.means,
        },
    )


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
    }


def _names(given: Any) -> tuple[str, ...]:
    """Return names as people or references gave them: lists inside of the list are one list."""
    found: list[Any] = []
    for each in given if isinstance(given, list | tuple) else [given]:
        found += each if isinstance(each, list) else [each]
    if not all(isinstance(each, str) and each for each in found):
        raise BadValueError("the people of a gate are names: texts that are not empty")
    return tuple(found)
