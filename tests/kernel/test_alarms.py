"""Blocks of code, steps, states and runs that take longer than they should."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.context import Context
from actors.views.lateness import LIKE_MIN, usual, why_late
from actors.views.run_index import Row
from protocols.effects import AnyEffect, Arm
from protocols.machines.machine import State
from tests.graphs.orders import graph_of, told
from tests.kernel.mailbox import BEGIN, SECOND, Mailbox, events
from tests.motions.machines import PERMIT, motion

LATE = "running_late"


async def slow(ctx: Context, _: Any = None) -> Any:
    """Take a while, twice."""
    with ctx.warn_after(60, order=7):
        await ctx.call("desk", "first")
    with ctx.warn_after(60):
        return await ctx.call("desk", "second")


def armed(effects: list[AnyEffect]) -> list[str]:
    """Return the timers that were armed."""
    return [each.name for each in effects if isinstance(each, Arm)]


def test_a_block_that_takes_longer_is_told_once_and_goes_on() -> None:
    """It is late until it has ended; the next block has a time of its own."""
    box = Mailbox(slow)
    assert armed(box.start()) == ["late"]
    box.pass_time(60)

    effects = box.fire("/late")

    assert told(effects, LATE) == [{"place": "/", "order": 7, "since": BEGIN, "after_s": 60}]
    assert [each.path for each in box.instance.waiting()] == ["/desk.first"]
    assert [(each.path, each.due) for each in box.instance.late] == [("/", box.at)]
    assert box.fire("/late") == []
    assert armed(box.reply("/desk.first")) == ["late#2"]
    assert box.instance.late == []
    box.pass_time(30)
    assert events(box.fire("/late#2")) == []  # too early: it is armed anew
    box.reply("/desk.second", 1)
    assert box.result == 1
    box.refold()


def test_a_firing_behind_the_block_tells_nothing() -> None:
    """The timer was stored, and nobody waits for it."""
    box = Mailbox(slow)
    box.start()
    box.reply("/desk.first")
    box.pass_time(60)

    assert box.fire("/late") == []
    box.cancel()
    assert box.instance.late == []


@pytest.mark.parametrize(("timer", "place"), [("/late", "/"), ("/steps/pack/late", "/steps/pack")])
def test_runs_and_steps_of_graphs_may_be_late(timer: str, place: str) -> None:
    """Each by its own ``warn_after``; a step stays under way."""
    box = Mailbox(
        GraphWorkflow(
            graph_of("""
                name: order
                warn_after: 1h
                timeout: 2h
                steps:
                  pack: {service: depot, operation: pack, warn_after: 10m}
                  ship: {service: depot, operation: ship, needs: pack}
            """)
        )
    )
    box.start()
    box.pass_time(3600)

    (data,) = told(box.fire(timer), LATE)

    assert data["place"] == place
    assert data.get("step") == ("pack" if place != "/" else None)
    box.reply("/steps/pack/depot.pack", 1)
    assert [each.path for each in box.instance.late] == (["/"] if place == "/" else [])
    box.reply("/steps/ship/depot.ship", 2)
    assert box.result == {"ship": 2}
    box.refold()


def test_a_motion_may_stay_too_long_in_a_state() -> None:
    """Until it leaves it."""
    states = {
        **PERMIT.states,
        "FILED": State(owner="clerk", operation="check", next="REVIEWED", warn_after="1d"),
    }
    box = motion(msgspec.structs.replace(PERMIT, states=states))
    box.start({})
    box.pass_time(86_400)

    (data,) = told(box.fire("/states/FILED/late"), LATE)

    assert data["state"] == "FILED"
    assert [each.path for each in box.instance.late] == ["/states/FILED"]
    box.reply("/states/FILED/clerk.check", "complete")
    assert box.instance.late == []
    box.refold()


def test_a_run_is_slow_when_nearly_all_like_it_were_faster() -> None:
    """Few former runs tell nothing, and one that has ended is late no more."""
    minute = 60 * SECOND
    rows = [Row(f"r{n}", "w", "d", 0, n * minute, "completed") for n in range(1, LIKE_MIN + 1)]
    like = usual(rows, {"w", "other"})

    assert like == {"w": 19 * minute}
    assert usual(rows[:-1], {"w"}) == {}
    assert why_late(Row("a", "w", "d", 0), 19 * minute, like) == ""
    assert why_late(Row("a", "w", "d", 0), 30 * minute, like) == (
        "30m, and 19 of 20 took at most 19m"
    )
    told_so = Row("a", "other", "d", 0, late="/steps/pack", late_at=minute)
    assert why_late(told_so, 3 * minute, like) == "/steps/pack is late for 2m"
    assert why_late(msgspec.structs.replace(told_so, status="failed"), 3 * minute, like) == ""
