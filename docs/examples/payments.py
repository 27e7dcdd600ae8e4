"""An order that waits for its payment; what pays it is said by payments.yaml."""

from typing import Any

import movant


@movant.workflow(name="order")
async def order(ctx: movant.Context, first: dict[str, Any]) -> dict[str, Any]:
    """Wait until an order is paid."""
    paid = await ctx.signal("paid")
    return {"order": first["order"], "amount": paid["amount"]}
