"""Workflows that never end, or go on in generations."""

from __future__ import annotations

from typing import Any

import msgspec

import movant


class Loop(msgspec.Struct):
    """How a loop goes on: ``left`` generations, ``every`` signals in each."""

    left: int
    every: int = 1
    total: int = 0


@movant.workflow("loops.signals")
async def signals(ctx: movant.Context, loop: Loop) -> int:
    """Add up what signals bring, in generations."""
    total = loop.total
    for _ in range(loop.every):
        total += await ctx.signal("add", returns=int)
    ctx.set_state(total=total)
    if loop.left:
        ctx.continue_as(Loop(left=loop.left - 1, every=loop.every, total=total))
    return total


@movant.workflow("loops.steps")
async def steps(ctx: movant.Context, loop: Loop) -> int:
    """Buy once in each generation; tell others on the way."""
    ctx.emit("round", loop.left)
    total = loop.total + await ctx.call("shop", "buy", {"n": 1}, returns=int)
    if loop.left:
        ctx.send("other", "round", loop.left)
        ctx.continue_as(Loop(left=loop.left - 1, total=total))
    return total


@movant.workflow("loops.waits", mailbox_max=12_000)
async def waits(ctx: movant.Context, _: Any = None) -> None:
    """Wait for ever, with a limit that is soon reached."""
    await ctx.signal("never")
