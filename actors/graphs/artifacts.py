"""Artifacts of graphs: the files that a step says are to be kept when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.errors import ConfigurationError
from protocols.references import AtTheEnd, Names, WrongReference

if TYPE_CHECKING:
    from actors.graphs.plan import StepPlan
    from actors.kernel.context import Context


async def keep(ctx: Context, plan: StepPlan, names: Names, entry: dict[str, Any]) -> None:
    """Keep the files of a step, when it is done.

    What is done stays done: where a file cannot be told, the run is blocked until other code can.
    """
    if entry["status"] != "done":
        return
    for name, content in plan.artifacts.items():
        try:
            value = content.fill(AtTheEnd(names, result=entry["result"]))
        except WrongReference as error:
            where = f"steps.{plan.name}.artifacts.{name}"
            raise ConfigurationError(f"{where}: {error.message}") from error
        await ctx.artifact(name, value)
