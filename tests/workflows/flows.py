"""Workflows that the tests of routing and flow control run."""

from __future__ import annotations

from typing import Any

import movant


@movant.workflow("flow.call")
async def call(ctx: movant.Context, value: dict[str, Any]) -> Any:
    """Ask a service so often, one after the other, with options of the input."""
    options = movant.StepOptions(
        retry=movant.Retry(
            attempts=value.get("attempts", 4), delays=(value.get("delay_s", 0.0),), jitter=0.0
        ),
        timeout_s=value.get("timeout_s", 30.0),
        absent=value.get("absent", "wait"),
        idempotent=value.get("idempotent", True),
        priority=value.get("priority"),
        unknown=value.get("unknown", "retry"),
    )
    service, operation = value.get("service", "shop"), value.get("operation", "buy")
    return [
        await ctx.call(service, operation, {"n": number}, name="s", options=options)
        for number in range(value.get("steps", 1))
    ]


@movant.workflow("flow.bounded")
async def bounded(ctx: movant.Context, seconds: float) -> Any:
    """Ask a service for what is wanted within some time."""
    with ctx.timeout(seconds):
        return await ctx.call("shop", "buy", timeout_s=30.0)


@movant.workflow("flow.local")
async def local(ctx: movant.Context, value: Any) -> Any:
    """Run a function of one's own."""
    return await ctx.run(_same, value)


@movant.workflow("flow.parent")
async def parent(ctx: movant.Context, value: Any) -> Any:
    """Start a child that asks a service."""
    return await ctx.child("flow.call", value, id=value["child"])


def _same(value: Any) -> Any:
    return value
