"""A program that decides: it approves what is small, and leaves the rest to people."""

import movant


async def approve_small(client: movant.Client, most: float) -> list[str]:
    """Approve the claims up to an amount; return the runs that go on."""
    page = await client.gates(workflow="claim-in-python")
    by = movant.Operator(who="cashier", where="inbox.py", why=f"not more than {most}")
    approved = []
    for row in page.gates:
        view = await client.gate(row.id, row.name)
        if view.values["amount"] <= most:
            await client.decide(row.id, "approve", row.name, by=by)
            approved.append(row.id)
    return approved
