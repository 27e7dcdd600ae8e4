"""What people are shown at a gate of a graph, and who tells them of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.directed import told as failure_told
from protocols.conditions import ConditionError
from protocols.errors import BadValueError, StepFailedError
from protocols.gates.gate import MODES, TITLE_CHARS_MAX, Choice, Gate
from protocols.references import Names, as_text

if TYPE_CHECKING:
    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context
    from actors.kernel.operations import Operation
    from protocols.gates.words import GateDecision


async def decided(ctx: Context, operation: Operation[GateDecision], gate: Gate) -> GateDecision:
    """Wait for a decision; meanwhile a service is told of the gate, when it says so.

    What is approved together is no news, one by one.
    """
    told = gate.told
    if told is None or gate.mode == "batch":
        return await operation
    news = ctx.gate_news(operation)

    async def tell() -> None:
        while True:
            event, facts = await news.next()
            said = {"event": event, "run": ctx.id, "workflow": ctx.workflow, **facts}
            try:
                await ctx.call(told.service, told.operation, said)
            except StepFailedError as error:
                ctx.emit("warning", {"step": error.path, "error": failure_told(error.failure)})

    async with ctx.scope(name="notify") as scope:
        scope.start(tell(), name="told")
        decision = await operation
        scope.cancel()
    return decision


def filled(gate: Gate, given: dict[str, Any], plan: StepPlan) -> Gate:
    """Return a gate with its references filled in. Raises BadValueError for what does not fit."""
    if not isinstance(given["values"], dict | None):
        raise BadValueError("the values of a gate are an object")
    mode = given["mode"] or ""
    if mode and mode not in MODES:
        raise BadValueError(f"{as_text(mode)[:60]!r} is no mode of a gate: {', '.join(MODES)} are")
    steps = ", ".join(plan.followers)
    means: dict[Choice, str] = (
        {"approve": f"begins {steps}", "skip": f"skips {steps}"} if steps else {}
    )
    retry = tuple(plan.again)
    if retry:
        means["retry"] = "; ".join(
            f"{each} is done once more" + (f", with {', '.join(rest)} behind it" if rest else "")
            for each, (_, *rest) in plan.again.items()
        )
    return msgspec.structs.replace(
        plan.dated(gate),
        title=as_text(given["title"])[:TITLE_CHARS_MAX],
        text=as_text(given["text"]),
        values=given["values"],
        approvers=_names(given["approvers"]),
        excluded=_names(given["excluded"]),
        retry=retry,
        mode=mode,
        means={
            **{key: each for key, each in means.items() if key in gate.decisions},
            **gate.means,
        },
    )


def at_once(gate: Gate, plan: StepPlan, names: Names) -> Gate:
    """Return a gate that is approved at once when its condition holds, and else by people."""
    if plan.auto_when is None:
        return gate
    try:
        holds = gate.mode != "interactive" and plan.auto_when.holds(names)
    except ConditionError:
        holds = False
    if holds:
        return msgspec.structs.replace(gate, mode="auto")
    mode = "" if gate.mode == "auto" else gate.mode
    return msgspec.structs.replace(gate, mode=mode, auto_when="")


def _names(given: Any) -> tuple[str, ...]:
    """Return names as people or references gave them: lists inside of the list are one list."""
    found: list[Any] = []
    for each in given if isinstance(given, list | tuple) else [given]:
        found += each if isinstance(each, list) else [] if each is None else [each]
    if not all(isinstance(each, str) and each for each in found):
        raise BadValueError("the people of a gate are names: texts that are not empty")
    return tuple(found)
