"""A workflow whose step says what each kind of failure leads to."""

from typing import Any

import movant


@movant.workflow
async def charge(ctx: movant.Context, order: Any) -> Any:
    """Pay at the bank or at another one; points are given when that is possible."""
    paid = await movant.directed(
        ctx,
        "bank",
        "pay",
        order,
        on_error={
            "network": movant.Directive(
                do="retry", then=movant.Directive(do="fallback", services=("other-bank",))
            ),
            "permission": movant.Directive(do="review", by="boss"),
        },
    )
    points = await movant.directed(
        ctx, "points", "give", order, on_error={"refused": "continue", "no_responders": "continue"}
    )
    return {"paid": paid.value, "by": paid.service, "points": points.value}
