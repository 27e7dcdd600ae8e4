"""Branches, scopes, timeouts, shields: structured concurrency by example."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.kernel.context import Context
from protocols.effects import Arm
from protocols.errors import FailError, GatherError, StepFailedError, TimedOutError
from protocols.policy import NO_RETRY
from tests.kernel.mailbox import BEGIN, SECOND, Mailbox, asks, events, paths


async def step(ctx: Context, name: str) -> Any:
    """Call a step that is tried once."""
    return await ctx.call("svc", name, name=name, retry=NO_RETRY)


def test_gather_asks_for_all_branches_and_returns_in_their_order() -> None:
    """Replies may come in any order."""

    async def code(ctx: Context) -> Any:
        return await ctx.gather(step(ctx, "a"), step(ctx, "b"), ctx.sleep(1))

    box = Mailbox(code)

    asked = paths(box.start())
    box.reply("/gather/1/b", "B")
    box.pass_time(1)
    box.fire("/gather/2/sleep")
    box.reply("/gather/0/a", "A")

    assert asked == ["/gather/0/a", "/gather/1/b"]
    assert box.result == ["A", "B", None]
    box.refold()


def test_named_branches_give_a_dict() -> None:
    """Their names stand in the paths."""

    async def code(ctx: Context) -> Any:
        return await ctx.gather(left=step(ctx, "a"), right=step(ctx, "b"), name="both")

    box = Mailbox(code)

    asked = paths(box.start())
    box.reply("/both/left/a", 1)
    box.reply("/both/right/b", 2)

    assert asked == ["/both/left/a", "/both/right/b"]
    assert box.result == {"left": 1, "right": 2}


def test_the_first_error_of_a_gather_cancels_the_others_and_is_raised_after_them() -> None:
    """Siblings tidy up first."""

    async def slow(ctx: Context) -> None:
        try:
            await step(ctx, "slow")
        finally:
            with ctx.shield():
                await step(ctx, "tidy")

    async def code(ctx: Context) -> str:
        try:
            await ctx.gather(step(ctx, "a"), slow(ctx))
        except StepFailedError as error:
            return error.path
        return "no error"

    box = Mailbox(code)
    box.start()

    asked = paths(box.fail("/gather/0/a"))
    status = box.instance.status
    box.reply("/gather/1/tidy")
    box.reply("/gather/1/slow")

    assert asked == ["/gather/1/tidy"]
    assert status == "running"
    assert box.result == "/gather/0/a"
    assert box.instance.late_successes == [("gather/1/slow", 1)]
    box.refold()


def test_a_collecting_gather_goes_to_its_end_and_keeps_the_results() -> None:
    """GatherError has the errors by branch, and what did succeed."""

    async def code(ctx: Context) -> Any:
        try:
            await ctx.gather(a=step(ctx, "a"), b=step(ctx, "b"), collect=True)
        except GatherError as error:
            return [[name for name, _ in error.errors], error.results]

    box = Mailbox(code)
    box.start()

    box.fail("/gather/a/a")
    box.reply("/gather/b/b", 2)

    assert box.result == [["a"], {"b": 2}]
    box.refold()


def test_a_race_returns_the_first_and_cancels_the_rest() -> None:
    """The loser's reply is late."""

    async def code(ctx: Context) -> Any:
        winner = await ctx.race(fast=step(ctx, "a"), slow=step(ctx, "b"))
        await ctx.signal("end")
        return [winner.key, winner.value]

    box = Mailbox(code)
    box.start()
    box.reply("/race/slow/b", "B")
    box.reply("/race/fast/a", "A")

    box.signal("end")

    assert box.result == ["slow", "B"]
    assert box.instance.late_successes == [("race/fast/a", 1)]
    box.refold()


def test_a_race_whose_first_fails_raises() -> None:
    """The first to end decides, also by failing."""

    async def code(ctx: Context) -> Any:
        return await ctx.race(step(ctx, "a"), step(ctx, "b"))

    box = Mailbox(code)
    box.start()

    box.fail("/race/0/a", "broken")

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "broken"


def test_a_defect_in_a_losing_branch_is_not_swallowed() -> None:
    """An exception that is no WorkflowError blocks, even behind a winner."""

    async def broken(ctx: Context) -> None:
        try:
            await step(ctx, "b")
        finally:
            raise ZeroDivisionError

    async def code(ctx: Context) -> Any:
        return (await ctx.race(step(ctx, "a"), broken(ctx))).value

    box = Mailbox(code)
    box.start()

    box.reply("/race/0/a")

    assert box.instance.blocked is not None
    assert box.instance.blocked.error == "ZeroDivisionError"


def test_paths_do_not_depend_on_the_order_of_replies() -> None:
    """Each branch counts for itself."""

    async def branch(ctx: Context) -> Any:
        return [await step(ctx, "x"), await step(ctx, "x")]

    async def code(ctx: Context) -> Any:
        return await ctx.gather(branch(ctx), branch(ctx))

    asked = []
    for order in (("0", "1"), ("1", "0")):
        box = Mailbox(code)
        box.start()
        asked.append({path for key in order for path in paths(box.reply(f"/gather/{key}/x"))})

    assert asked[0] == asked[1] == {"/gather/0/x#2", "/gather/1/x#2"}


def test_a_scope_waits_for_its_tasks() -> None:
    """Children never outlive the block; their results are read after it."""

    async def code(ctx: Context) -> Any:
        async with ctx.scope(name="ship") as scope:
            task = scope.start(step(ctx, "x"), name="pack")
            await step(ctx, "label")
        return [task.done, task.result()]

    box = Mailbox(code)

    asked = paths(box.start())
    box.reply("/ship/label")
    box.reply("/ship/pack/x", "packed")

    assert asked == ["/ship/label", "/ship/pack/x"]
    assert box.result == [True, "packed"]
    box.refold()


def test_an_error_in_a_task_cancels_the_body_of_its_scope() -> None:
    """The task's error comes out of the block, not the cancellation."""

    async def code(ctx: Context) -> str:
        try:
            async with ctx.scope() as scope:
                scope.start(step(ctx, "x"))
                await ctx.sleep(100)
        except StepFailedError as error:
            return error.path
        return "no error"

    box = Mailbox(code)
    box.start()

    box.fail("/scope/task/x")

    assert box.result == "/scope/task/x"


def test_an_error_in_the_body_cancels_the_tasks() -> None:
    """And comes out after they have ended."""

    async def code(ctx: Context) -> None:
        async with ctx.scope() as scope:
            scope.start(step(ctx, "x"))
            await ctx.signal("go")
            raise FailError("mine", "the body failed")

    box = Mailbox(code)
    box.start()

    box.signal("go")

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "mine"
    assert box.instance.waiting() == []


def test_a_scope_can_be_cancelled_from_inside() -> None:
    """The code goes on after the block."""

    async def code(ctx: Context) -> str:
        async with ctx.scope() as scope:
            scope.start(step(ctx, "x"))
            await ctx.signal("go")
            scope.cancel()
            await step(ctx, "never")
        return "after"

    box = Mailbox(code)
    box.start()

    box.signal("go")

    assert box.result == "after"


def test_a_timeout_cuts_its_block_short() -> None:
    """The error names the timer's path and the seconds."""

    async def code(ctx: Context) -> Any:
        try:
            with ctx.timeout(5):
                await step(ctx, "x")
        except TimedOutError as error:
            return [error.path, error.seconds]

    box = Mailbox(code)
    box.start()
    box.pass_time(5)

    box.fire("/timeout")
    box.refold()

    assert box.result == ["/timeout", 5]


def test_a_timer_that_fires_early_is_armed_again() -> None:
    """It does not count; it must not be lost either."""

    async def code(ctx: Context) -> None:
        await ctx.sleep(10)

    box = Mailbox(code)
    (armed,) = box.start()
    box.pass_time(9)

    (again,) = box.fire("/sleep")
    status = box.instance.status
    box.pass_time(1)
    box.fire("/sleep")

    assert isinstance(armed, Arm)
    assert isinstance(again, Arm)
    assert (again.name, again.due) == (armed.name, armed.due) == ("sleep", BEGIN + 10 * SECOND)
    assert box.instance.counters.early == 1
    assert (status, box.instance.status) == ("running", "completed")


def test_a_timeout_that_is_not_needed_is_closed() -> None:
    """Its firing means nothing any more."""

    async def code(ctx: Context) -> str:
        with ctx.move_on_after(5) as scope:
            await step(ctx, "x")
        await ctx.signal("end")
        return "expired" if scope.expired else "in time"

    box = Mailbox(code)
    (arm,) = [effect for effect in box.start() if isinstance(effect, Arm)]
    box.reply("/x")
    box.pass_time(6)

    fired = box.fire("/timeout")
    box.signal("end")

    assert fired == []
    assert not box.instance.is_open(arm)
    assert box.result == "in time"


def test_move_on_after_goes_on() -> None:
    """``expired`` tells that the block was cut short."""

    async def code(ctx: Context) -> bool:
        with ctx.move_on_after(5) as scope:
            await step(ctx, "x")
        return scope.expired

    box = Mailbox(code)
    box.start()
    box.pass_time(5)

    box.fire("/timeout")

    assert box.result is True


def test_a_request_knows_when_the_first_timeout_around_it_is_over() -> None:
    """Also in a branch; not through a shield, nor once the block is left."""

    async def code(ctx: Context, _: Any) -> Any:
        with ctx.timeout(60), ctx.timeout(20, name="inner"), ctx.timeout(90, name="long"):
            await ctx.gather(ctx.call("a", "x"), ctx.call("b", "x"))
            with ctx.shield():
                await ctx.call("c", "x")
        await ctx.call("d", "x")

    box = Mailbox(code)

    asked = asks(box.start())
    for each in asked:  # it grows meanwhile
        asked += asks(box.reply(each.path, None))

    left = [each.until and each.until - box.instance.started_at for each in asked]
    assert [each.service for each in asked] == ["a", "b", "c", "d"]
    assert left == [20 * SECOND, 20 * SECOND, 0, 0]


def test_a_timeout_does_not_reach_into_a_shield() -> None:
    """The shielded step is waited for; the block is cut short after it."""

    async def code(ctx: Context) -> Any:
        got = []
        try:
            with ctx.timeout(5):
                with ctx.shield():
                    got.append(await step(ctx, "x"))
                await step(ctx, "y")
        except TimedOutError:
            got.append("late")
        return got

    box = Mailbox(code)
    box.start()
    box.pass_time(5)

    box.fire("/timeout")
    box.reply("/x", 1)

    assert asks(box.effects)[-1].path == "/x"
    assert box.result == [1, "late"]


def test_an_outer_timeout_ends_an_inner_gather() -> None:
    """All branches below are cancelled; nothing stays open."""

    async def code(ctx: Context) -> str:
        with ctx.move_on_after(5):
            await ctx.gather(step(ctx, "a"), ctx.race(step(ctx, "b"), ctx.signal("s")))
        return "after"

    box = Mailbox(code)
    box.start()
    box.pass_time(5)

    box.fire("/timeout")

    assert box.result == "after"
    assert box.instance.waiting() == []
    box.refold()


def test_until_waits_for_a_point_in_time_and_not_for_a_past_one() -> None:
    """A past moment needs no timer."""

    async def code(ctx: Context) -> str:
        await ctx.until(datetime(2001, 1, 1, tzinfo=UTC))
        await ctx.until(datetime(2101, 1, 1, tzinfo=UTC))
        return "the future"

    box = Mailbox(code)

    (arm,) = box.start()
    box.at = 4_133_980_800 * SECOND
    box.fire("/until#2")

    assert isinstance(arm, Arm)
    assert arm.due == 4_133_980_800 * SECOND
    assert box.result == "the future"


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_a_delay_that_no_timer_has_blocks(seconds: float) -> None:
    """Bounds of a delay are checked where it is used."""

    async def code(ctx: Context) -> None:
        await ctx.sleep(seconds)

    box = Mailbox(code)

    box.start()

    assert box.instance.blocked is not None
    assert box.instance.blocked.error == "ValueError"


def test_random_numbers_come_from_the_place_in_the_code() -> None:
    """Branches draw from generators of their own; the time is the mail's."""

    async def draw(ctx: Context) -> Any:
        await step(ctx, "x")
        return [ctx.random(), ctx.randint(1, 6), ctx.uuid()]

    async def code(ctx: Context) -> Any:
        both = await ctx.gather(draw(ctx), draw(ctx))
        return [*both, ctx.now().isoformat()]

    results = []
    for order in (("0", "1"), ("1", "0")):
        box = Mailbox(code)
        box.start()
        for key in order:
            box.reply(f"/gather/{key}/x")
        results.append(box.result)

    assert results[0] == results[1]
    assert results[0][0] != results[0][1]
    assert results[0][2] == "2027-01-15T08:00:00+00:00"


def test_waiting_tells_people_what_is_open() -> None:
    """Kind, path, since when, and until when."""

    async def code(ctx: Context) -> None:
        await ctx.gather(step(ctx, "a"), ctx.sleep(9), ctx.signal("s"), ctx.child("w", id="c"))

    box = Mailbox(code)

    box.start()

    assert [
        (one.kind, one.path, one.detail, one.due - BEGIN) for one in box.instance.waiting()
    ] == [
        ("step", "/gather/0/a", "svc.a", 0),
        ("timer", "/gather/1/sleep", "sleep", 9 * SECOND),
        ("signal", "/gather/2/signal.s", "s", -BEGIN),
        ("child", "/gather/3/w", "w c", -BEGIN),
    ]


def test_a_cancel_reaches_the_code_in_the_order_of_its_creation() -> None:
    """Down the tree of tasks, older before younger: who tidies up first is no accident."""

    async def tidy(ctx: Context, name: str) -> None:
        try:
            await ctx.sleep(100)
        finally:
            ctx.emit(name)

    async def code(ctx: Context) -> None:
        async with ctx.scope() as scope:
            scope.start(tidy(ctx, "a"))
            scope.start(ctx.gather(tidy(ctx, "b"), tidy(ctx, "c")))
            scope.start(tidy(ctx, "d"))
            await ctx.gather(tidy(ctx, "e"), tidy(ctx, "f"))

    box = Mailbox(code)
    box.start()

    effects = box.cancel()

    assert events(effects) == ["a", "b", "c", "d", "e", "f", "cancelled"]


def test_a_branch_that_has_ended_leaves_nothing_behind() -> None:
    """A loop of gathers does not grow."""

    async def code(ctx: Context) -> None:
        for _ in range(3):
            await ctx.gather(step(ctx, "a"))
        await ctx.signal("end")

    box = Mailbox(code)
    box.start()
    for suffix in ("", "#2", "#3"):
        box.reply(f"/gather{suffix}/0/a")

    main = box.instance._ledger.scheduler.main

    assert main is not None
    assert (main.nurseries, main.scope.parent) == ([], None)
    assert [one.path for one in box.instance.waiting()] == ["/signal.end"]
