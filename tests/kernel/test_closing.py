"""An instance that leaves memory is taken apart: no collection has to find it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final

import pytest

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from actors.motions.interpreter import MotionWorkflow
from benchmarks.kernel import answered
from benchmarks.workflows import flow
from protocols.compensation import Undo
from protocols.definition import Workflow, WorkflowOptions
from protocols.gates.gate import Gate
from protocols.guardrails.guardrail import Guardrail, Rules
from tests.graphs.orders import graph_of, running
from tests.kernel.mailbox import Mailbox

ANSWERED: Final = answered()


async def waits(ctx: Context) -> None:
    """Wait for all kinds of things at once, in branches, blocks and loops."""

    async def tidied(number: int) -> None:
        try:
            await ctx.sleep(number)
        finally:
            await ctx.call("svc", "late")

    ctx.set_state(seen=1)
    await ctx.call("svc", "book", name="book", undo=Undo("free"))
    with ctx.timeout(90):
        async with ctx.scope() as scope:
            scope.start(tidied(1))
            scope.start(ctx.gate("pay", Gate(title="Pay?")))
            scope.start(ctx.race(ctx.call("svc", "a"), ctx.signal("s"), ctx.child("w", id="c")))


async def ends(ctx: Context) -> str:
    """End with a branch that was cancelled."""
    await ctx.race(ctx.call("svc", "book", name="book"), ctx.sleep(5))
    return "done"


def waiting() -> Instance:
    """Return an instance that waits for much."""
    box = Mailbox(waits)
    box.start()
    box.reply("/book", "ok")
    assert box.instance.status == "running", box.instance.blocked
    assert len(box.instance.waiting()) > 4
    return taken_from(box)


def ended() -> Instance:
    """Return an instance that has ended."""
    box = Mailbox(ends)
    box.start()
    box.reply("/race/0/book", "ok")
    assert box.instance.status == "completed"
    return taken_from(box)


def taken_from(box: Mailbox) -> Instance:
    """Return the instance of a mailbox, which refers to it no more."""
    instance = box.instance
    del box.instance
    return instance


def moving() -> Instance:
    """Return a motion on its way."""
    motion = MotionWorkflow(flow)
    instance = Instance("m", lambda _name, _definition: motion)
    for mail in ANSWERED[:3]:
        instance.fold(mail)
    return instance


def arrived() -> Instance:
    """Return a motion that has ended."""
    motion = MotionWorkflow(flow)
    instance = Instance("m", lambda _name, _definition: motion)
    for mail in ANSWERED:
        instance.fold(mail)
    assert instance.status == "completed"
    return instance


def held() -> Instance:
    """Return an instance whose steps are held to rules: one is asked, one waits for a person."""
    rules: Rules = {"asks": Guardrail(type="data-privacy", severity="high", every=True)}

    async def code(ctx: Context) -> None:
        async with ctx.scope() as scope:
            scope.start(ctx.call("svc", "a", undo="b"))
            scope.start(ctx.call("svc", "a", "ann@example.org"))

    box = Mailbox(Workflow("held", code, WorkflowOptions(guardrails=rules)))
    box.start()
    assert len(box.instance.waiting()) == 2
    return taken_from(box)


def guarded() -> Instance:
    """Return a graph of which a step waits for a person whom a rule asks."""
    box = running(
        graph_of("""
            name: guarded
            guardrails: {asks: {type: data-privacy, severity: high, every: true}}
            budgets: {run: {calls: 2}}
            steps: {a: {service: s, operation: a, params: ann@example.org, undo: b}}
        """)
    )
    box.start({})
    assert [each.kind for each in box.instance.waiting()] == ["gate"]
    return taken_from(box)


def cycles(let_go: Callable[[], None]) -> list[str]:
    """Return the kernel's objects that only a collection finds afterwards."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        let_go()
        gc.collect()
        return [
            type(each).__name__
            for each in gc.garbage
            if type(each).__module__.startswith("actors.kernel")
        ]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()


@pytest.mark.parametrize("make", [waiting, ended, moving, arrived, held, guarded])
def test_a_closed_instance_leaves_no_cycle(make: Callable[[], Instance]) -> None:
    """Whatever it waits for, or waited for; one that is only let go of leaves many."""
    left = cycles(lambda: [make()].clear())  # noqa: PLW0108  # made in it

    found = cycles(lambda: make().close())

    assert left
    assert found == []
