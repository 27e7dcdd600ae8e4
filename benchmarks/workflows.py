"""The workflows that are measured."""

from __future__ import annotations

from typing import Any

import movant

PAYLOAD = {"pad": "x" * 186}
"""200 bytes as JSON."""
STEPS = 8


@movant.workflow("bench.w8")
async def w8(ctx: movant.Context, payload: Any) -> Any:
    """Eight steps, one after the other."""
    for _ in range(STEPS):
        payload = await ctx.call("bench", "noop", payload)
    return payload


@movant.workflow("bench.waiting")
async def waiting(ctx: movant.Context, payload: Any) -> Any:
    """Wait for one signal."""
    del payload
    return await ctx.signal("go")


flow = movant.Machine(
    name="bench.flow",
    initial="INTRODUCED",
    states={
        "INTRODUCED": movant.State(owner="conclave", operation="introduce", next="DELIBERATING"),
        "DELIBERATING": movant.State(
            owner="conclave",
            operation="deliberate",
            next=(movant.Next(to="RATIFIED", when="result.ayes > result.noes"), "REJECTED"),
        ),
        "RATIFIED": movant.State(owner="president", operation="ratify", next="PLANNING"),
        "PLANNING": movant.State(owner="president", operation="plan", next="EXECUTING"),
        "EXECUTING": movant.State(owner="duke", operation="execute", next="JUDGING"),
        "JUDGING": movant.State(owner="prince", operation="judge", next="WITNESSING"),
        "WITNESSING": movant.State(owner="knight", operation="witness", next="ACKNOWLEDGED"),
        "ACKNOWLEDGED": movant.State(terminal=True),
        "REJECTED": movant.State(terminal=True),
    },
)
"""A motion through seven states of five owners; what has fewer ayes than noes ends after two."""
