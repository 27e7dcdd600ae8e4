"""A service that works for hours and tells that it is alive, and a workflow that waits for it."""

from typing import Any

import movant

mill = movant.Service("mill")


@mill.operation()
def grind(request: dict[str, Any], call: movant.Call) -> int:
    """Grind bag after bag, from where the attempt before has come to."""
    done: int = (call.last or {"done": 0})["done"]
    while done < request["bags"]:
        done += 1
        call.heartbeat({"done": done})
    return done


@movant.workflow
async def bread(ctx: movant.Context, bags: int) -> int:
    """Let the mill have six hours, and a minute for each bag."""
    patient = movant.StepOptions(timeout_s=6 * 3600, heartbeat_s=60)
    return await ctx.call("mill", "grind", {"bags": bags}, options=patient, returns=int)
