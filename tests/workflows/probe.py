"""Workflows that the tests of store and daemon run: one thing each."""

# ruff: noqa: ARG001 - a workflow takes context and input, whether it needs them or not

from __future__ import annotations

import time
from typing import Any

import msgspec
import trio

import movant


class Order(msgspec.Struct):
    """An input with a schema."""

    item: str
    count: int


@movant.workflow("probe.echo")
async def echo(ctx: movant.Context, value: Any) -> Any:
    """Return the input."""
    return value


@movant.workflow("probe.order")
async def order(ctx: movant.Context, value: Order) -> int:
    """Take an input of a type."""
    return value.count


@movant.workflow("probe.steps")
async def steps(ctx: movant.Context, value: dict[str, Any]) -> list[Any]:
    """Ask the shop so many times, one after the other."""
    options = movant.StepOptions(
        retry=movant.Retry(attempts=50, delay_s=0.1, max_delay_s=0.2),
        timeout_s=value.get("timeout_s", 30.0),
        absent=value.get("absent", "wait"),
    )
    return [
        await ctx.call("shop", value.get("operation", "buy"), {"n": n}, name="s", options=options)
        for n in range(value["steps"])
    ]


@movant.workflow("probe.retry")
async def retry(ctx: movant.Context, value: dict[str, Any]) -> Any:
    """Ask once, with the retry that the input says."""
    return await ctx.call(
        "shop",
        value["operation"],
        {},
        name="s",
        retry=movant.Retry(
            attempts=value.get("attempts", 4), delays=(value.get("delay_s", 0.05),), jitter=0.0
        ),
        timeout_s=value.get("timeout_s", 30.0),
    )


@movant.workflow("probe.signals")
async def signals(ctx: movant.Context, value: int) -> list[Any]:
    """Collect so many signals."""
    found = []
    for _ in range(value):
        found.append(await ctx.signal("go"))
        ctx.set_state(seen=len(found))
    return found


@movant.workflow("probe.both")
async def both(ctx: movant.Context, value: dict[str, Any]) -> list[Any]:
    """Ask the shop for something slow, and collect signals meanwhile."""

    async def collect() -> list[Any]:
        found = []
        for _ in range(value["signals"]):
            found.append(await ctx.signal("go"))
            ctx.set_state(seen=len(found))
        return found

    return list(await ctx.gather(ctx.call("shop", "slow", {"n": 0}, name="s"), collect()))


@movant.workflow("probe.sleep")
async def sleep(ctx: movant.Context, value: float) -> str:
    """Sleep so many seconds."""
    await ctx.sleep(value)
    return "awake"


@movant.workflow("probe.timeout")
async def timeout(ctx: movant.Context, value: float) -> str:
    """Wait for a signal that never comes."""
    with ctx.move_on_after(value):
        await ctx.signal("never")
    return "expired"


@movant.workflow("probe.emit")
async def emit(ctx: movant.Context, value: Any) -> str:
    """Publish an event."""
    ctx.emit("shipped", value)
    await ctx.sleep(0.05)
    return "emitted"


@movant.workflow("probe.send")
async def send(ctx: movant.Context, value: dict[str, Any]) -> str:
    """Send signals to another instance."""
    for n in range(value["times"]):
        ctx.send(value["to"], "go", n)
    return "sent"


@movant.workflow("probe.parent")
async def parent(ctx: movant.Context, value: dict[str, Any]) -> Any:
    """Start a child and say how it ended."""
    try:
        return await ctx.child(value["workflow"], value.get("input"), id=value.get("id"))
    except movant.ChildFailedError as error:
        return {"kind": error.failure.kind, "message": error.failure.message}


@movant.workflow("probe.fail")
async def fail(ctx: movant.Context, value: Any) -> Any:
    """Fail on purpose."""
    raise movant.FailError("broken", "on purpose", {"value": value})


@movant.workflow("probe.local")
async def local(ctx: movant.Context, value: int) -> list[int]:
    """Run functions of one's own, plain and async."""
    return [await ctx.run(_plain, value), await ctx.run(_waiting, value)]


@movant.workflow("probe.local_fails")
async def local_fails(ctx: movant.Context, value: Any) -> Any:
    """Run a function that raises."""
    try:
        return await ctx.run(_raises, retry=movant.NO_RETRY)
    except movant.StepFailedError as error:
        return [error.failure.kind, error.failure.message]


@movant.workflow("probe.deep")
async def deep(ctx: movant.Context, value: Any) -> Any:
    """Ask below so many scopes that the path is longer than a token."""

    async def below(depth: int) -> Any:
        if depth == 0:
            return await ctx.call("shop", "buy", {"n": 0}, name="a-step-with-a-long-name")
        found = await ctx.gather(below(depth - 1), name=f"a-scope-with-a-long-name-{depth}")
        return found[0]

    return await below(4)


@movant.workflow("probe.once")
async def once(ctx: movant.Context, value: Any) -> Any:
    """Ask a service that is not idempotent."""
    return await ctx.call("shop", "buy", {"n": 0}, name="s", idempotent=False, timeout_s=5)


@movant.workflow("probe.once_later")
async def once_later(ctx: movant.Context, value: Any) -> Any:
    """Wait for a signal, then ask a service that is not idempotent."""
    await ctx.signal("go")
    return await ctx.call("shop", "buy", {"n": 0}, name="s", idempotent=False, timeout_s=5)


@movant.workflow("probe.tidy")
async def tidy(ctx: movant.Context, value: Any) -> Any:
    """Undo something when it is cancelled."""
    try:
        await ctx.signal("never")
    finally:
        with ctx.shield():
            await ctx.call("shop", "buy", {"n": "undo"}, name="undo")


def _plain(value: int) -> int:
    time.sleep(0.01)  # noqa: TID251 - a blocking function is what is tried here
    return value + 1


async def _waiting(value: int) -> int:
    await trio.sleep(0.01)
    return value + 2


def _raises() -> None:
    raise ValueError("no luck")
