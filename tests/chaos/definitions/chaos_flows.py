"""Workflows of the chaos campaign: one feature each, and one that nests them."""

# ruff: noqa: ARG001 - a workflow takes context and input, whether it needs them or not

from __future__ import annotations

import time
from typing import Any

import trio

import movant

STEP = movant.StepOptions(
    retry=movant.Retry(attempts=60, delay_s=0.05, max_delay_s=0.2), timeout_s=120.0
)


def _do(ctx: movant.Context, work: dict[str, Any], *, name: str = "s") -> Any:
    """Ask a service for one piece of work."""
    options = STEP
    if "timeout_s" in work or "attempts" in work:
        options = movant.StepOptions(
            retry=movant.Retry(attempts=work.get("attempts", 60), delay_s=0.05, max_delay_s=0.2),
            timeout_s=work.get("timeout_s", 120.0),
        )
    return ctx.call(work["service"], work["operation"], work, name=name, options=options)


@movant.workflow("chaos.sequence")
async def sequence(ctx: movant.Context, value: Any) -> Any:
    """Work, one piece after the other; facts and events on the way."""
    found = []
    for number, work in enumerate(value["works"]):
        found.append(await _do(ctx, work))
        ctx.set_state(done=number + 1, luck=ctx.random())
        ctx.emit("worked", {"number": number})
    return found


@movant.workflow("chaos.gather")
async def gather(ctx: movant.Context, value: Any) -> Any:
    """Work side by side."""

    async def one(work: dict[str, Any]) -> Any:
        await ctx.sleep(work["sleep_s"])
        return await _do(ctx, work)

    branches: dict[str, Any] = {f"b{n}": one(work) for n, work in enumerate(value["works"])}
    return await ctx.gather(**branches)


@movant.workflow("chaos.scope")
async def scope(ctx: movant.Context, value: Any) -> Any:
    """Work in a block of tasks."""

    async def one(work: dict[str, Any]) -> Any:
        return await _do(ctx, work)

    async with ctx.scope() as tasks:
        handles = [tasks.start(one(work)) for work in value["works"]]
    return [handle.result() for handle in handles]


@movant.workflow("chaos.race")
async def race(ctx: movant.Context, value: Any) -> Any:
    """Race a timer against what never comes."""
    winner = await ctx.race(short=ctx.sleep(value["sleep_s"]), never=ctx.signal("never"))
    other = await ctx.race(long=ctx.sleep(3_600), work=_do(ctx, value["works"][0]))
    return [winner.key, other.key, other.value]


@movant.workflow("chaos.sleep")
async def sleep(ctx: movant.Context, value: Any) -> Any:
    """Sleep; tell whether no sleep was too short by the server's clock."""
    right = []
    for seconds in value["sleeps"]:
        before = ctx.now()
        await ctx.sleep(seconds)
        right.append((ctx.now() - before).total_seconds() >= seconds - 1e-6)
    return right


@movant.workflow("chaos.timeout")
async def timeout(ctx: movant.Context, value: Any) -> Any:
    """Let one timeout win and another lose."""
    before = ctx.now()
    with ctx.move_on_after(value["sleep_s"]) as bound:
        await ctx.signal("never")
    late = (ctx.now() - before).total_seconds() >= value["sleep_s"] - 1e-6
    with ctx.timeout(3_600):
        found = await _do(ctx, value["works"][0])
    return [bound.expired, late, found]


@movant.workflow("chaos.gives_up")
async def gives_up(ctx: movant.Context, value: Any) -> Any:
    """Ask for what always fails, and fail with it."""
    return await _do(ctx, value["works"][0])


@movant.workflow("chaos.refused")
async def refused(ctx: movant.Context, value: Any) -> Any:
    """Ask for what is refused, and go on."""
    try:
        return await _do(ctx, value["works"][0])
    except movant.StepFailedError as error:
        return [error.failure.kind, await _do(ctx, value["works"][1])]


@movant.workflow("chaos.nobody")
async def nobody(ctx: movant.Context, value: Any) -> Any:
    """Ask a service that does not exist."""
    try:
        return await ctx.call("nobody", "do", {}, name="s", absent="fail", retry=movant.NO_RETRY)
    except movant.StepFailedError as error:
        return error.failure.kind


@movant.workflow("chaos.once")
async def once(ctx: movant.Context, value: Any) -> Any:
    """Ask a service that is not idempotent: at most once, whatever happens."""
    work = value["works"][0]
    try:
        return await ctx.call(
            work["service"], work["operation"], work, name="s", idempotent=False, timeout_s=4.0
        )
    except movant.StepFailedError as error:
        return error.failure.kind


@movant.workflow("chaos.signals")
async def signals(ctx: movant.Context, value: Any) -> Any:
    """Collect signals up to the one that says end."""
    found: list[Any] = []
    while not found or found[-1] != "end":
        found.append(await ctx.signal("go"))
        ctx.set_state(seen=len(found))
    return found


@movant.workflow("chaos.send")
async def send(ctx: movant.Context, value: Any) -> Any:
    """Send signals to another instance."""
    for data in value["data"]:
        ctx.send(value["to"], "go", data)
        await ctx.sleep(0.05)
    return "sent"


@movant.workflow("chaos.parent")
async def parent(ctx: movant.Context, value: Any) -> Any:
    """Start children: one that succeeds, one that fails, one that is given up."""
    good = await ctx.child("chaos.sequence", value["good"], id=ctx.id + "-good")
    try:
        await ctx.child("chaos.fails", {}, id=ctx.id + "-bad")
        bad = "completed"
    except movant.ChildFailedError as error:
        bad = error.failure.kind
    winner = await ctx.race(
        child=ctx.child("chaos.waits", value["endless"], id=ctx.id + "-endless"),
        sleep=ctx.sleep(value["sleep_s"]),
    )
    return [good, bad, winner.key]


@movant.workflow("chaos.fails")
async def fails(ctx: movant.Context, value: Any) -> Any:
    """Fail on purpose."""
    raise movant.FailError("broken", "on purpose")


@movant.workflow("chaos.waits")
async def waits(ctx: movant.Context, value: Any) -> Any:
    """Wait for ever; tidy up when cancelled."""
    try:
        await ctx.signal("never")
    finally:
        with ctx.shield():
            await _do(ctx, value["works"][0])


@movant.workflow("chaos.local")
async def local(ctx: movant.Context, value: Any) -> Any:
    """Run functions of one's own; one raises."""
    found = [await ctx.run(_plain, value["n"]), await ctx.run(_waiting, value["n"])]
    try:
        await ctx.run(_raises, retry=movant.NO_RETRY)
    except movant.StepFailedError as error:
        found.append(error.failure.kind)
    return found


@movant.workflow("chaos.nested")
async def nested(ctx: movant.Context, value: Any) -> Any:
    """Nest it all."""

    async def hurry(work: dict[str, Any]) -> Any:
        found = await ctx.race(work=_do(ctx, work), never=ctx.signal("never"))
        return found.value

    async def slowly(work: dict[str, Any]) -> Any:
        with ctx.timeout(3_600):
            await ctx.sleep(value["sleep_s"])
            return [await ctx.run(_plain, 1), await _do(ctx, work)]

    first, second, third = value["works"]
    return await ctx.gather(
        hurry(first),
        slowly(second),
        ctx.child("chaos.sequence", {"works": [third]}, id=ctx.id + "-child"),
    )


def _plain(value: int) -> int:
    time.sleep(0.02)  # noqa: TID251 - a blocking function is what is tried here
    return value + 1


async def _waiting(value: int) -> int:
    await trio.sleep(0.05)
    return value + 2


def _raises() -> None:
    raise ValueError("no luck")
