"""Workflows with an undo, for the tests of compensation with a real server."""

# ruff: noqa: ARG001 - a workflow takes context and input, whether it needs them or not

from __future__ import annotations

from typing import Any

import movant

PATIENT = movant.Retry(attempts=50, delay_s=0.05, max_delay_s=0.2)


@movant.workflow("trips.book")
async def book(ctx: movant.Context, value: dict[str, Any]) -> str:
    """Book so many things, then wait for a signal or fail."""
    undos = movant.Retry(attempts=value.get("undos", 50), delay_s=0.05, max_delay_s=0.2)
    for n in range(value["steps"]):
        await ctx.call(
            "desk",
            "book",
            {"n": n},
            name="s",
            undo=movant.Undo("cancel", retry=undos),
            retry=PATIENT,
            timeout_s=value.get("timeout_s", 30.0),
        )
    if value.get("waits"):
        await ctx.signal("go")
    raise movant.FailError("broken", "on purpose")


@movant.workflow("trips.tour")
async def tour(ctx: movant.Context, value: dict[str, Any]) -> str:
    """Book so many things, let a child do the same, then wait for a signal or fail."""
    for n in range(value["steps"]):
        await ctx.call("desk", "book", {"n": n}, name="s", undo="cancel", retry=PATIENT)
    if value.get("child"):
        await ctx.child("trips.tour", value["child"], id=f"{ctx.id}-c", name="leg", undo=True)
    if value.get("waits"):
        await ctx.signal("go")
    if value.get("fails"):
        raise movant.FailError("broken", "on purpose")
    return "there"


@movant.workflow("trips.either")
async def either(ctx: movant.Context, value: Any) -> str:
    """Ask one of two services, and the other one when nobody knows whether the first did it."""
    options = movant.StepOptions(
        timeout_s=1.0, retry=movant.Retry(attempts=2, delays=(0.0,)), unknown="switch"
    )
    did = await ctx.call("desks", "slow", name="s", options=options, undo="cancel")
    await ctx.signal("go")
    return str(did)


@movant.workflow("trips.reviewed")
async def reviewed(ctx: movant.Context, value: Any) -> str:
    """Ask a service that is slow, and a person whether it did it."""
    options = movant.StepOptions(unknown="review", timeout_s=0.2)
    return str(await ctx.call("desk", "slow", name="s", options=options))


@movant.workflow("trips.given_up")
async def given_up(ctx: movant.Context, value: Any) -> str:
    """Give a step up whose service is slow, and complete without it."""
    try:
        await ctx.call(
            "desk", "slow", name="s", undo="cancel", timeout_s=0.2, retry=movant.NO_RETRY
        )
    except movant.StepFailedError:
        return "without"
    return "with"


@movant.workflow("trips.slow")
async def slow(ctx: movant.Context, value: Any) -> str:
    """Fail because a service is slow."""
    await ctx.call("desk", "slow", name="s", undo="cancel", timeout_s=0.2, retry=movant.NO_RETRY)
    return "with"


@movant.workflow("trips.local")
async def local(ctx: movant.Context, value: str) -> None:
    """Run a function of one's own, and fail."""
    await ctx.run(_write, value, undo=_remove)
    raise movant.FailError("broken", "on purpose")


def _write(path: str) -> str:
    with open(path, "a") as file:  # noqa: PTH123 - a blocking function is what is tried here
        file.write("written\n")
    return path


def _remove(undo: movant.UndoRequest) -> None:
    assert undo.input == [undo.result]
    with open(undo.result, "a") as file:  # noqa: PTH123
        file.write(f"undone {undo.key}\n")
