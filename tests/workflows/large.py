"""Workflows whose values are too large for a message."""

from __future__ import annotations

from typing import Any

from movant import Context, workflow


@workflow("large.chain")
async def chain(ctx: Context, size: int) -> Any:
    """Pass a large value from step to step, and end with it."""
    made = await ctx.call("press", "make", {"size": size})
    turned = await ctx.call("press", "turn", made)
    return await ctx.call("press", "turn", turned)


@workflow("large.made")
async def made(ctx: Context, size: int) -> Any:
    """Ask for something with a large value of its own."""
    return await ctx.call("press", "turn", {"text": "ab" * (size // 2)})


@workflow("large.given")
async def given(ctx: Context, text: str) -> dict[str, Any]:
    """Take a large input and a large signal; tell their lengths."""
    said = await ctx.signal("more")
    return {"given": len(text), "said": len(said)}


@workflow("large.family")
async def family(ctx: Context, size: int) -> int:
    """Give a child a large input and take its large result; tell the world and another run."""
    text = "x" * size
    back = await ctx.child("large.mirror", text)
    ctx.emit("mirrored", {"text": back})
    ctx.send("other", "more", back)
    return len(back)


@workflow("large.mirror")
async def mirror(_ctx: Context, text: str) -> str:
    """Return the input."""
    return text


@workflow("large.short", retention_s=0.1)
async def short(_ctx: Context, value: int) -> str:
    """Return a text that is kept for a moment."""
    return "x" * value
