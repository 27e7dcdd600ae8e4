"""Compensation: what was done is undone in reverse order, and what was not is listed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.kernel.context import Context
from protocols import codec
from protocols.compensation import NEVER_SEEN, Undo, UndoRequest
from protocols.effects import Ask, Emit
from protocols.errors import CancelledError, InvalidIdError, StepFailedError, TimedOutError
from protocols.mail import UndoAll
from protocols.policy import NO_RETRY
from protocols.witness import Operator
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

QUICK = Undo("undo", retry=NO_RETRY)
SETTLES = Undo("undo", retry=NO_RETRY, settle_s=30)


async def trip(ctx: Context, _: Any = None) -> str:
    """Take two steps with an undo, and one without."""
    await ctx.call("hotel", "book", {"nights": 2}, name="hotel", undo="cancel")
    await ctx.call("flight", "book", {"to": "Bern"}, name="flight", undo=Undo("refund", "bank"))
    await ctx.call("mail", "send", name="mail", retry=NO_RETRY)
    return "booked"


def fates(box: Mailbox) -> dict[str, str]:
    """Return what became of each step."""
    return {each.path: each.fate for each in box.instance.steps}


def test_what_was_done_is_undone_in_reverse_order() -> None:
    """One undo after the other, each with the key of its step; the failure stays the reason."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel", {"room": 7})
    box.reply("/flight", "LX 1")

    failed = box.fail("/mail", "refused")
    undone = box.reply("/flight/undo")
    ended = box.reply("/hotel/undo")

    (first,) = asks(failed)
    (second,) = asks(undone)
    assert (first.service, first.operation, first.undoes) == ("bank", "refund", "i-1/1/flight")
    assert (second.service, second.operation, second.undoes) == ("hotel", "cancel", "i-1/1/hotel")
    assert codec.decode(second.body) == {
        "key": "i-1/1/hotel",
        "input": {"nights": 2},
        "result": {"room": 7},
    }
    assert events(failed) == ["compensating"]
    assert events(ended) == ["compensated"]
    assert finish(ended).status == "compensated"
    assert fates(box) == {"/hotel": "undone", "/flight": "undone"}
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "refused"
    box.refold()


def test_a_completed_instance_lists_what_it_did() -> None:
    """Nothing is undone; steps without an undo are listed behind those that have one."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    box.reply("/flight")

    ended = box.reply("/mail")

    assert asks(ended) == []
    assert box.result == "booked"
    assert fates(box) == {"/hotel": "done", "/flight": "done", "/mail": "done"}
    box.refold()


def test_an_instance_without_an_undo_is_as_it_was() -> None:
    """It fails as failed, lists nothing, and its digest knows of no undo."""

    async def plain(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="a")
        await ctx.call("a", "b", name="b", retry=NO_RETRY)

    box = Mailbox(plain)
    box.start()
    box.reply("/a")

    box.fail("/b")

    assert box.instance.status == "failed"
    assert box.instance.steps == ()


def test_what_nobody_knows_is_undone_too() -> None:
    """A step whose attempts were lost may have happened."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    for attempt in range(1, 5):
        box.pass_time(200)
        box.time_out("/flight", attempt=attempt)

    assert paths(box.effects)[-1] == "/flight/undo"
    box.reply("/flight/undo")
    box.reply("/hotel/undo")

    assert box.instance.status == "compensated"
    assert fates(box) == {"/hotel": "undone", "/flight": "undone"}
    box.refold()


@pytest.mark.parametrize("kind", ["refused", "failed"])
def test_what_a_service_says_it_has_not_done_is_not_undone(kind: str) -> None:
    """Refused and failed are the service's word that there was no effect."""

    async def one(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="a", undo="undo", retry=NO_RETRY)

    box = Mailbox(one)
    box.start()

    ended = box.fail("/a", kind)

    assert asks(ended) == []
    assert box.instance.status == "failed"
    assert box.instance.steps == ()


def test_a_cancel_waits_for_the_reply_of_what_is_in_flight() -> None:
    """No undo begins while an attempt is undecided; then the newest is first."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")

    cancelled = box.cancel("enough")
    replied = box.reply("/flight", "LX 1")
    box.reply("/flight/undo")
    ended = box.reply("/hotel/undo")

    assert paths(cancelled) == []
    assert box.instance.failure is not None
    assert paths(replied) == ["/flight/undo"]
    assert finish(ended).status == "compensated"
    assert box.instance.failure.kind == "cancelled"
    box.refold()


def test_a_cancel_waits_for_the_deadline_when_no_reply_comes() -> None:
    """Then the outcome is unknown and undone like a success."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    box.pass_time(5)
    box.cancel()

    box.pass_time(59)
    early = box.fire("/flight/_until")
    box.pass_time(1)
    due = box.fire("/flight/_until")

    assert paths(early) == []
    assert paths(due) == ["/flight/undo"]
    box.refold()


def test_a_reply_that_says_no_ends_the_wait() -> None:
    """What was in flight did not happen: the rest is undone at once."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    box.cancel()

    refused = box.fail("/flight", "refused")
    box.reply("/hotel/undo")

    assert paths(refused) == ["/hotel/undo"]
    assert fates(box) == {"/hotel": "undone"}
    box.refold()


def test_a_step_without_an_undo_is_waited_for_as_well() -> None:
    """What it does may need what would be undone."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    box.reply("/flight")
    box.cancel()

    assert paths(box.effects)[-1] == "/mail"
    late = box.reply("/mail")

    assert paths(late) == ["/flight/undo"]
    box.refold()


def test_an_undo_that_fails_is_an_incident_and_the_others_still_run() -> None:
    """The end says what could not be undone."""

    async def two(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="a", undo=QUICK)
        await ctx.call("a", "b", name="b", undo=QUICK)
        await ctx.call("a", "b", name="c", retry=NO_RETRY)

    box = Mailbox(two)
    box.start()
    box.reply("/a")
    box.reply("/b")
    box.fail("/c")

    failed = box.fail("/b/undo", "gone")
    ended = box.reply("/a/undo")

    assert events(failed) == ["incident"]
    assert paths(failed) == ["/a/undo"]
    assert finish(ended).status == "compensation_incomplete"
    assert fates(box) == {"/a": "undone", "/b": "could_not"}
    (incident,) = [x for x in box.effects if isinstance(x, Emit) and x.event == "incident"]
    assert incident.data["key"] == "i-1/1/b"
    assert incident.data["next"] == "movant run undo i-1"
    box.refold()


def test_an_undo_is_tried_by_its_own_policy() -> None:
    """A failure of the moment is no incident."""

    async def one(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="a", undo="undo", retry=NO_RETRY)
        await ctx.call("a", "b", name="b", retry=NO_RETRY)

    box = Mailbox(one)
    box.start()
    box.reply("/a")
    box.fail("/b")

    again = box.fail("/a/undo", "busy")
    box.reply("/a/undo", attempt=2)

    (ask,) = asks(again)
    assert (ask.attempt, ask.key, ask.undoes) == (2, "i-1/1/a/undo", "i-1/1/a")
    assert box.instance.status == "compensated"
    box.refold()


async def settling(ctx: Context, _: Any = None) -> None:
    """Take one step at a service that cannot refuse a key it never saw."""
    await ctx.call("a", "b", name="a", undo=SETTLES, retry=NO_RETRY, timeout_s=60)


def test_a_service_that_cannot_refuse_later_is_given_time() -> None:
    """The undo of an unknown attempt waits ``settle_s`` beyond the deadline."""
    box = Mailbox(settling)
    box.start()
    box.pass_time(60)

    lost = box.time_out("/a")
    box.pass_time(30)
    settled = box.fire("/a/_until")

    assert paths(lost) == []
    assert paths(settled) == ["/a/undo"]
    box.refold()


def test_never_seen_leaves_the_outcome_unknown() -> None:
    """It may still come: nobody may say that it was undone."""
    box = Mailbox(settling)
    box.start()
    box.pass_time(60)
    box.time_out("/a")
    box.pass_time(30)
    box.fire("/a/_until")

    ended = box.fail("/a/undo", NEVER_SEEN, retryable=False)

    assert events(ended) == ["incident", "compensation_incomplete"]
    assert fates(box) == {"/a": "unknown"}
    box.refold()


def test_a_success_that_comes_before_never_seen_is_undone_once_more() -> None:
    """The service did it after it had answered the undo."""
    box = Mailbox(settling)
    box.start()
    box.pass_time(60)
    box.time_out("/a")
    box.pass_time(30)
    box.fire("/a/_until")
    box.reply("/a", 1)

    again = box.fail("/a/undo", NEVER_SEEN, retryable=False)
    ended = box.reply("/a/undo#2")

    assert paths(again) == ["/a/undo#2"]
    assert finish(ended).status == "compensated"
    box.refold()


def test_a_late_success_of_a_step_given_up_is_undone_while_the_code_goes_on() -> None:
    """The value is nobody's; the code knows nothing of it."""

    async def goes_on(ctx: Context, _: Any = None) -> str:
        try:
            await ctx.call("a", "b", name="a", undo="undo", retry=NO_RETRY, timeout_s=1)
        except StepFailedError:
            await ctx.signal("go")
        return "went on"

    box = Mailbox(goes_on)
    box.start()
    box.pass_time(1)
    box.time_out("/a")

    late = box.reply("/a", 1)
    went_on = box.signal("go")
    ended = box.reply("/a/undo")

    assert paths(late) == ["/a/undo"]
    assert box.instance.late_successes == [("a", 1)]
    assert box.instance.status == "completed"
    assert events(went_on) == []
    assert finish(ended).status == "completed"
    assert fates(box) == {"/a": "undone"}
    box.refold()


def test_a_late_success_after_the_end_opens_an_incident() -> None:
    """It offers the undo; the outcome stays as it is."""

    async def goes_on(ctx: Context, _: Any = None) -> str:
        try:
            await ctx.call("a", "b", name="a", undo="undo", retry=NO_RETRY, timeout_s=1)
        except StepFailedError:
            return "went on"
        return ""

    box = Mailbox(goes_on)
    box.start()
    box.pass_time(1)
    box.time_out("/a")

    late = box.reply("/a", 1)

    assert box.result == "went on"
    assert fates(box) == {"/a": "unknown"}
    assert events(late) == ["incident"]
    assert [each.path for each in box.instance.undo_plan()] == ["/a"]
    box.refold()


def test_a_late_success_that_its_undo_covers_is_no_incident() -> None:
    """The undo was answered after the effect, by a service that refuses the key since."""
    box = Mailbox(trip)
    box.start()
    box.cancel()
    box.pass_time(60)
    box.fire("/hotel/_until")
    box.reply("/hotel/undo")

    late = box.reply("/hotel", 1)

    assert box.instance.status == "compensated"
    assert late == []
    box.refold()


def test_branches_and_nested_scopes_undo_what_they_did() -> None:
    """The newest first, wherever it stands in the tree."""

    async def branch(ctx: Context, name: str) -> None:
        await ctx.call("a", "b", name=name, undo="undo")
        async with ctx.scope(name="inner") as scope:
            scope.start(deep(ctx), name="deep")

    async def deep(ctx: Context) -> None:
        await ctx.call("a", "b", name="low", undo="undo")

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.gather(left=branch(ctx, "x"), right=branch(ctx, "y"))
        await ctx.call("a", "b", name="last", retry=NO_RETRY)

    box = Mailbox(whole)
    box.start()
    for path in ("left/x", "right/y", "right/inner/deep/low", "left/inner/deep/low"):
        box.reply(f"/gather/{path}")
    box.fail("/last")
    asked = []
    while box.instance.status == "running":
        (path,) = [each.path for each in box.instance.waiting()]
        asked.append(path)
        box.reply(path)

    assert asked == [
        "/gather/right/inner/deep/low/undo",
        "/gather/left/inner/deep/low/undo",
        "/gather/right/y/undo",
        "/gather/left/x/undo",
    ]
    box.refold()


def test_a_branch_in_flight_is_decided_before_its_siblings_are_undone() -> None:
    """One branch fails; the other one's attempt may still happen."""

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="first", undo="undo")
        await ctx.gather(
            left=ctx.call("a", "b", name="x", undo="undo"),
            right=ctx.call("a", "b", name="y", retry=NO_RETRY),
        )

    box = Mailbox(whole)
    box.start()
    box.reply("/first")

    failed = box.fail("/gather/right/y")
    decided = box.reply("/gather/left/x")

    assert paths(failed) == []
    assert paths(decided) == ["/gather/left/x/undo"]
    box.refold()


def test_a_saga_undoes_its_own_steps_and_the_code_goes_on() -> None:
    """What was done before the block stays."""

    async def whole(ctx: Context, _: Any = None) -> str:
        await ctx.call("a", "b", name="before", undo="undo")
        try:
            async with ctx.saga():
                await ctx.call("a", "b", name="x", undo="undo")
                await ctx.call("a", "b", name="y", retry=NO_RETRY)
        except StepFailedError:
            return "without"
        return "with"

    box = Mailbox(whole)
    box.start()
    box.reply("/before")
    box.reply("/saga/x")

    failed = box.fail("/saga/y")
    box.reply("/saga/x/undo")

    assert paths(failed) == ["/saga/x/undo"]
    assert box.result == "without"
    assert fates(box) == {"/before": "done", "/saga/x": "undone"}
    box.refold()


def test_a_saga_that_is_cut_short_undoes_its_steps_first() -> None:
    """The error of the timeout comes when the block is undone."""

    async def whole(ctx: Context, _: Any = None) -> str:
        try:
            with ctx.timeout(10):
                async with ctx.saga():
                    await ctx.call("a", "b", name="x", undo="undo")
                    await ctx.signal("never")
        except TimedOutError:
            return "too late"
        return ""

    box = Mailbox(whole)
    box.start()
    box.reply("/saga/x")
    box.pass_time(10)

    cut = box.fire("/timeout")
    box.reply("/saga/x/undo")

    assert paths(cut) == ["/saga/x/undo"]
    assert box.result == "too late"
    box.refold()


def test_the_loser_of_a_race_is_undone_when_it_happened_all_the_same() -> None:
    """A cancel says that nobody wants it; the instance ends when it is gone."""

    async def whole(ctx: Context, _: Any = None) -> str:
        winner = await ctx.race(
            a=ctx.call("a", "b", name="x", undo="undo"),
            b=ctx.call("b", "b", name="y", undo="undo"),
        )
        return winner.key

    box = Mailbox(whole)
    box.start()

    won = box.reply("/race/a/x")
    lost = box.reply("/race/b/y")
    ended = box.reply("/race/b/y/undo")

    assert paths(won) == []
    assert paths(lost) == ["/race/b/y/undo"]
    assert finish(ended).status == "completed"
    assert fates(box) == {"/race/a/x": "done", "/race/b/y": "undone"}
    box.refold()


def test_behind_the_point_of_no_return_nothing_is_undone() -> None:
    """Neither what was done before it nor what came after."""

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="x", undo="undo")
        ctx.pivot()
        await ctx.call("a", "b", name="y", undo="undo")
        await ctx.call("a", "b", name="z", retry=NO_RETRY)

    box = Mailbox(whole)
    box.start()
    box.reply("/x")
    box.reply("/y")

    ended = box.fail("/z")

    assert finish(ended).status == "failed"
    assert fates(box) == {"/x": "done", "/y": "done"}
    assert box.instance.undo_plan() == []
    box.refold()


def test_a_generation_with_something_to_undo_does_not_continue() -> None:
    """The next one could not undo it: the code has to say that it stays."""

    async def whole(ctx: Context, kept: bool = False) -> None:  # noqa: FBT001, FBT002
        await ctx.call("a", "b", name="x", undo="undo")
        if kept:
            ctx.pivot()
        ctx.continue_as(kept)

    refused, allowed = Mailbox(whole), Mailbox(whole)
    refused.start(value=False)
    allowed.start(value=True)

    refused.reply("/x")
    allowed.reply("/x")

    assert refused.instance.status == "blocked"
    assert refused.instance.blocked is not None
    assert "ctx.pivot()" in refused.instance.blocked.message
    assert allowed.instance.generation == 2
    refused.refold()


def test_a_blocked_instance_that_is_cancelled_is_undone() -> None:
    """Its code cannot run any more, but the engine knows what it did."""

    async def defect(ctx: Context, _: Any = None) -> None:
        await ctx.signal("go")
        raise ValueError("a defect")

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="x", undo="undo")
        await ctx.gather(ctx.call("a", "b", name="y", undo="undo"), defect(ctx))

    box = Mailbox(whole)
    box.start()
    box.reply("/x")
    box.signal("go")
    blocked: str = box.instance.status

    box.cancel()
    box.pass_time(60)
    box.fire("/gather/0/y/_until")
    box.reply("/gather/0/y/undo")
    box.reply("/x/undo")

    assert blocked == "blocked"
    assert box.instance.status == "compensated"
    box.refold()


def test_a_second_cancel_does_not_stop_the_compensation() -> None:
    """What has begun to be undone is undone to the end."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel")
    box.reply("/flight")
    box.fail("/mail", "refused")

    cancelled = box.cancel()
    box.reply("/flight/undo")
    box.reply("/hotel/undo")

    assert cancelled == []
    assert box.instance.status == "compensated"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "refused"
    box.refold()


def test_a_function_of_ones_own_is_undone_by_another_one() -> None:
    """It gets the arguments and the result."""

    def reserve(seat: str) -> str:
        return f"seat {seat}"

    def release(_: UndoRequest) -> None:
        return None

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.run(reserve, "12A", undo=release)
        await ctx.call("a", "b", name="y", retry=NO_RETRY)

    box = Mailbox(whole)
    box.start()
    box.reply("/reserve", "seat 12A")

    (undo,) = asks(box.fail("/y"))

    assert undo.path == "/reserve/undo"
    assert undo.local is not None
    assert undo.local.function is release
    assert undo.local.args == (UndoRequest("i-1/1/reserve", ["12A"], "seat 12A"),)
    assert undo.undoes == "i-1/1/reserve"


def test_an_input_of_ones_own_goes_before_the_request() -> None:
    """Services that know nothing of keys in payloads take what they have always taken."""

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="x", undo=Undo("undo", input={"id": 7}))
        await ctx.call("a", "b", name="y", retry=NO_RETRY)

    box = Mailbox(whole)
    box.start()
    box.reply("/x", "done")

    (undo,) = asks(box.fail("/y"))

    assert codec.decode(undo.body) == {"id": 7}


def test_input_and_result_that_are_too_large_together_are_left_out() -> None:
    """The key is enough to undo by."""
    large = "x" * 200_000

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", large, name="x", undo="undo")
        await ctx.call("a", "b", name="y", retry=NO_RETRY)

    box = Mailbox(whole)
    box.start()
    box.reply("/x", large)

    (undo,) = asks(box.fail("/y"))

    assert codec.decode(undo.body) == {"key": "i-1/1/x", "input": None, "result": None}


def test_a_name_that_cannot_be_an_operation_is_refused() -> None:
    """At the call, not when it is needed."""

    async def whole(ctx: Context, _: Any = None) -> str:
        with pytest.raises(InvalidIdError):
            ctx.call("a", "b", undo="no such name")
        return "refused"

    box = Mailbox(whole)
    box.start()

    assert box.result == "refused"


def test_a_plan_shows_what_would_be_undone() -> None:
    """In order, with what is in flight marked as undecided."""
    box = Mailbox(trip)
    box.start()
    box.reply("/hotel", {"room": 7})

    plan = box.instance.undo_plan()

    assert [(x.path, x.service, x.operation, x.outcome, x.undecided) for x in plan] == [
        ("/flight", "bank", "refund", "unknown", True),
        ("/hotel", "hotel", "cancel", "ok", False),
    ]
    assert msgspec.to_builtins(plan[1].input)["result"] == {"room": 7}


def test_what_the_other_service_may_have_done_is_surplus() -> None:
    """The first service answers late and gives the value; the second one was asked as well."""

    async def whole(ctx: Context, _: Any = None) -> str:
        await ctx.call("p", "b", name="x", undo="undo", timeout_s=10)
        await ctx.signal("go")
        return "done"

    box = Mailbox(whole)
    box.start()
    box.instance._ledger.steps["x"].service = "q"  # whoever is asked next is the router's choice
    box.pass_time(10)
    box.time_out("/x")

    late = box.reply("/x", 1, attempt=1)
    box.pass_time(11)
    over = box.fire("/x/_until")
    box.reply("/x/undo")
    box.signal("go")

    assert paths(late) == []
    (undo,) = [each for each in over if isinstance(each, Ask)]
    assert undo.service == "q"
    assert box.result == "done"
    assert [(x.service, x.fate) for x in box.instance.steps] == [("p", "done"), ("q", "undone")]


def test_an_undo_that_succeeds_late_is_undone_all_the_same() -> None:
    """It was given up, and the others went on: the end tells how it is now."""

    async def two(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="a", undo=QUICK)
        await ctx.call("a", "b", name="b", undo=QUICK, timeout_s=10)
        await ctx.call("a", "b", name="c", retry=NO_RETRY)

    box = Mailbox(two)
    box.start()
    box.reply("/a")
    box.reply("/b")
    box.fail("/c")
    box.pass_time(10)
    box.time_out("/b/undo")

    box.reply("/b/undo")
    box.reply("/a/undo")

    assert box.instance.status == "compensated"
    assert fates(box) == {"/a": "undone", "/b": "undone"}
    box.refold()


def test_by_hand_all_is_undone_also_when_the_code_completes() -> None:
    """The code swallows the cancel and returns; who asked wanted it undone."""

    async def stubborn(ctx: Context, _: Any = None) -> str:
        await ctx.call("a", "b", name="a", undo="undo")
        try:
            await ctx.signal("go")
        except CancelledError:
            return "done all the same"
        return ""

    box = Mailbox(stubborn)
    box.start()
    box.reply("/a")

    ann = Operator(who="ann")
    asked = box.fold(
        UndoAll(seq=len(box.mails) + 1, at=box.at, reason="wrong week", by=ann, message_id="m")
    )
    box.reply("/a/undo")

    assert paths(asked) == ["/a/undo"]
    assert box.instance.status == "compensated"
    assert box.instance.failure is not None
    assert box.instance.failure.message == "undone by ann: wrong week"
    box.refold()
