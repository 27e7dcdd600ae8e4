"""The services of the claim, and the same workflow in Python."""

from typing import Any

import movant

office = movant.Service("office")
bank = movant.Service("bank")


@office.operation()
def assess(claim: Any) -> dict[str, Any]:
    """Look at a claim."""
    return {"amount": claim["amount"], "report": f"{claim['who']} has sent all papers."}


@office.operation()
def close(undo: Any) -> str:
    """Close a claim that comes to nothing."""
    return f"closed {undo['key']}"


@bank.operation()
def pay(order: Any) -> str:
    """Pay."""
    return f"paid {order['amount']} to {order['who']}"


@movant.workflow(name="claim-in-python")
async def claim(ctx: movant.Context, claim: dict[str, Any]) -> Any:
    """Assess a claim, ask a person, and pay."""
    found = await ctx.call("office", "assess", claim, undo="close")
    decision = await ctx.gate(
        "payout",
        movant.Gate(
            title=f"Pay {found['amount']} to {claim['who']}?",
            values={"amount": found["amount"]},
            fields={"amount": movant.Field(type="number", min=1, max=500)},
            decisions=("approve", "modify", "reject", "skip"),
            excluded=claim["who"],
            expires="2d",
        ),
    )
    if decision.do == "skip":
        return "not paid"
    assert decision.values is not None
    order = {"who": claim["who"], "amount": decision.values["amount"]}
    return await ctx.call("bank", "pay", order)
