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
