"""The workflow of the demonstration: reserve, charge, wait a moment, ship."""

from __future__ import annotations

from typing import Any

import movant

PATIENT = movant.StepOptions(timeout_s=120.0)


@movant.workflow("cluster.order")
async def order(ctx: movant.Context, value: dict[str, Any]) -> dict[str, Any]:
    """Handle one order at a hosted and at a plain service."""
    number = {"number": value["number"]}
    await ctx.call("warehouse", "reserve", number, options=PATIENT)
    total = await ctx.call("payments", "charge", number, options=PATIENT)
    await ctx.sleep(0.5)
    parcel = await ctx.call("warehouse", "ship", number, options=PATIENT)
    return {"total": total, "parcel": parcel}


def expected(number: int) -> dict[str, Any]:
    """Return the only right result of an order."""
    return {"total": 100 + number, "parcel": f"parcel-{number}"}
