"""Undo of children: what a child did is undone with its parent, once, by the child or by a run."""

from __future__ import annotations

from typing import Any

import pytest

from actors.kernel.context import Context
from protocols.effects import CancelChild, Emit, UndoChild
from protocols.errors import ChildFailedError
from protocols.failure import Failure
from protocols.mail import Parent
from protocols.policy import NO_RETRY
from tests.kernel.mailbox import Mailbox, events, finish, paths


async def tour(ctx: Context, _: Any = None) -> str:
    """Book a hotel, let a child book the rest, and fail with the mail."""
    await ctx.call("hotel", "book", name="hotel", undo="cancel")
    await ctx.child("trip", name="trip", id="c", undo=True)
    await ctx.call("mail", "send", name="mail", retry=NO_RETRY)
    return "booked"


def fates(box: Mailbox) -> dict[str, str]:
    """Return what became of each step."""
    return {each.path: each.fate for each in box.instance.steps}


def undos(effects: list[Any]) -> list[UndoChild]:
    """Return the children that were asked to be undone."""
    return [each for each in effects if isinstance(each, UndoChild)]


def begun() -> Mailbox:
    """Return an instance whose child runs."""
    box = Mailbox(tour)
    box.start()
    box.reply("/hotel")
    return box


def undone(*what: str) -> list[dict[str, str]]:
    """Return the result of a run that undoes."""
    return [{"path": "/s", "service": "desk", "fate": fate} for fate in what]


def test_a_child_that_completed_is_undone_in_its_turn() -> None:
    """By a run that tells this instance how it ended; then the older steps follow."""
    box = begun()
    box.end_child("/trip", "there")

    failed = box.fail("/mail", "refused")
    (asked,) = undos(failed)
    still_open = box.instance.is_open(asked)
    ended = box.end_child("/trip/undo", undone("undone"))
    box.reply("/hotel/undo")

    assert (asked.child, asked.parent) == ("c", Parent(instance="i-1", path="/trip/undo"))
    assert asked.run != "c"
    assert still_open
    assert not box.instance.is_open(asked)
    assert paths(failed) == []
    assert paths(ended) == ["/hotel/undo"]
    assert fates(box) == {"/hotel": "undone", "/trip": "undone"}
    assert [(each.child, each.service) for each in box.instance.steps] == [
        ("", "hotel"),
        ("c", ""),
    ]
    assert box.instance.status == "compensated"
    box.refold()


def test_a_child_that_still_runs_is_cancelled_and_waited_for() -> None:
    """It undoes itself; nothing here is undone before it has ended, however long that takes."""
    box = begun()

    cancelled = box.cancel()
    box.pass_time(1_000_000)
    box.wake()
    (waiting,) = box.instance.waiting()
    ended = box.end_child("/trip", status="compensated")
    box.reply("/hotel/undo")

    assert [each.child for each in cancelled if isinstance(each, CancelChild)] == ["c"]
    assert (waiting.kind, waiting.path, waiting.detail) == ("child", "/trip", "trip c")
    assert undos(box.effects) == []
    assert paths(ended) == ["/hotel/undo"]
    assert fates(box) == {"/hotel": "undone", "/trip": "undone"}
    box.refold()


def test_a_child_that_completes_in_spite_of_its_cancel_is_undone() -> None:
    """Its end was on the way already."""
    box = begun()
    box.cancel()

    ended = box.end_child("/trip", "there")

    assert [each.child for each in undos(ended)] == ["c"]
    box.end_child("/trip/undo", undone("undone"))
    box.reply("/hotel/undo")
    assert fates(box) == {"/hotel": "undone", "/trip": "undone"}
    box.refold()


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_child_that_never_began_or_failed_has_nothing_to_undo(status: str) -> None:
    """Its end says that it left nothing that can be undone."""
    box = begun()
    box.cancel()

    ended = box.end_child("/trip", status=status)
    box.reply("/hotel/undo")

    assert paths(ended) == ["/hotel/undo"]
    assert undos(box.effects) == []
    assert fates(box) == {"/hotel": "undone"}
    box.refold()


def test_a_child_that_could_not_undo_all_makes_the_parent_incomplete() -> None:
    """It has said so itself, with an incident of its own: it is not asked again."""
    box = begun()

    failed = box.end_child("/trip", status="compensation_incomplete")
    ended = box.reply("/hotel/undo")

    assert events(failed) == ["compensating"]
    assert finish(ended).status == "compensation_incomplete"
    assert fates(box) == {"/hotel": "undone", "/trip": "could_not"}
    assert [each.run for each in box.instance.undo_plan()] == ["c"]
    box.refold()


@pytest.mark.parametrize(
    ("details", "fate"),
    [
        (undone("undone", "unknown"), "unknown"),
        (undone("unknown", "could_not"), "could_not"),
        (None, "could_not"),
    ],
)
def test_an_undo_of_a_child_that_fails_is_an_incident(details: Any, fate: str) -> None:
    """The worst of what became of its steps is what became of it; the others are still undone."""
    box = begun()
    box.end_child("/trip", "there")
    box.fail("/mail", "refused")

    failure = Failure(kind="compensation_incomplete", message="no luck", details=details)
    failed = box.end_child("/trip/undo", status="failed", failure=failure)
    ended = box.reply("/hotel/undo")

    (incident,) = [each for each in failed if isinstance(each, Emit)]
    assert (incident.event, incident.data["child"]) == ("incident", "c")
    assert paths(failed) == ["/hotel/undo"]
    assert finish(ended).status == "compensation_incomplete"
    assert fates(box)["/trip"] == fate
    box.refold()


def test_a_child_with_nothing_to_undo_stands() -> None:
    """As a step without an undo does: that is no compensation of it."""
    box = begun()
    box.end_child("/trip", "there")
    box.fail("/mail", "refused")
    box.end_child("/trip/undo", [])

    ended = box.reply("/hotel/undo")

    assert finish(ended).status == "compensated"
    assert fates(box) == {"/hotel": "undone", "/trip": "done"}
    assert box.instance.undo_plan() == []
    box.refold()


def test_a_saga_undoes_its_children_and_the_code_goes_on() -> None:
    """A nested scope is undone with what the children in it did."""

    async def whole(ctx: Context, _: Any = None) -> str:
        await ctx.child("trip", name="before", id="b", undo=True)
        try:
            async with ctx.saga():
                await ctx.child("trip", name="trip", id="c", undo=True)
                await ctx.child("trip", name="other", id="d", undo=True)
        except ChildFailedError:
            return "without"
        return "with"

    box = Mailbox(whole)
    box.start()
    box.end_child("/before")
    box.end_child("/saga/trip")

    failed = box.end_child("/saga/other", status="failed")
    box.end_child("/saga/trip/undo", undone("undone"))

    assert [each.child for each in undos(failed)] == ["c"]
    assert box.result == "without"
    assert fates(box) == {"/before": "done", "/saga/trip": "undone"}
    box.refold()


def test_the_child_that_loses_a_race_is_undone_before_the_end() -> None:
    """It completed all the same; nobody wants it."""

    async def whole(ctx: Context, _: Any = None) -> str:
        winner = await ctx.race(
            a=ctx.call("a", "b", name="x"), b=ctx.child("trip", name="trip", id="c", undo=True)
        )
        return winner.key

    box = Mailbox(whole)
    box.start()

    won = box.reply("/race/a/x")
    lost = box.end_child("/race/b/trip", "there")
    box.end_child("/race/b/trip/undo", undone("undone"))

    assert [each.child for each in won if isinstance(each, CancelChild)] == ["c"]
    assert [each.child for each in undos(lost)] == ["c"]
    assert box.result == "a"
    assert fates(box)["/race/b/trip"] == "undone"
    box.refold()


def test_an_end_that_comes_again_changes_nothing() -> None:
    """Two daemons may tell it, and both may start the run that undoes."""
    box = begun()
    box.cancel()
    box.end_child("/trip", "there")

    again = box.end_child("/trip", status="cancelled")
    box.end_child("/trip/undo", undone("undone"))
    twice = box.end_child("/trip/undo", status="failed")

    assert again == twice == []
    assert box.instance.blocked is None
    box.reply("/hotel/undo")
    assert fates(box) == {"/hotel": "undone", "/trip": "undone"}
    box.refold()


def test_by_hand_children_are_in_the_plan() -> None:
    """With what is in flight marked as undecided."""
    box = begun()

    running = box.instance.undo_plan()
    box.end_child("/trip", "there")
    completed = box.instance.undo_plan()

    assert [(x.path, x.run, x.undecided) for x in running] == [
        ("/trip", "c", True),
        ("/hotel", "", False),
    ]
    assert [(x.path, x.service, x.outcome, x.undecided) for x in completed] == [
        ("/trip", "", "ok", False),
        ("/hotel", "hotel", "ok", False),
    ]


async def broken(ctx: Context, _: Any = None) -> None:
    """Start a child, and have a defect when somebody sends a signal."""

    async def defect() -> None:
        await ctx.signal("go")
        raise ValueError("a defect")

    await ctx.gather(
        ctx.child("trip", name="trip", id="c", undo=True),
        ctx.child("other", name="other", id="o"),
        defect(),
    )


def test_a_blocked_instance_that_is_cancelled_undoes_children_that_ended_meanwhile() -> None:
    """Their ends stand in the mailbox, and nobody tells them again."""
    box = Mailbox(broken)
    box.start()
    box.signal("go")
    blocked = box.end_child("/gather/0/trip", "there")

    cancelled = box.cancel()
    other = box.end_child("/gather/1/other", "late")
    box.end_child("/gather/0/trip/undo", undone("undone"))

    assert blocked == other == []
    assert [each.child for each in undos(cancelled)] == ["c"]
    assert box.instance.status == "compensated"
    box.refold()


@pytest.mark.parametrize("meanwhile", [True, False])
def test_an_undo_that_is_under_way_when_the_instance_blocks_is_not_done_twice(
    meanwhile: bool,  # noqa: FBT001
) -> None:
    """Its end counts, whether it came before the cancel or comes behind it."""

    async def part(ctx: Context) -> None:
        async with ctx.saga():
            await ctx.child("trip", name="trip", id="c", undo=True)
            await ctx.call("a", "b", name="x", retry=NO_RETRY)

    async def defect(ctx: Context) -> None:
        await ctx.signal("go")
        ctx.continue_as()  # refused at once, as there is something to undo

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.gather(part(ctx), defect(ctx))

    path = "/gather/0/saga/trip"
    box = Mailbox(whole)
    box.start()
    box.end_child(path)
    (first,) = undos(box.fail("/gather/0/saga/x"))
    box.signal("go")
    assert box.instance.blocked is not None

    if meanwhile:
        box.end_child(f"{path}/undo", undone("undone"))
    again = undos(box.cancel())
    if not meanwhile:
        box.end_child(f"{path}/undo", undone("undone"))

    assert [(each.id, each.run) for each in again] == [(first.id, first.run)] * (not meanwhile)
    assert box.instance.status == "compensated"
    box.refold()


def test_a_child_cannot_be_abandoned_and_undone() -> None:
    """Its end would never come."""

    async def whole(ctx: Context, _: Any = None) -> None:
        await ctx.child("trip", name="trip", on_cancel="abandon", undo=True)

    box = Mailbox(whole)
    box.start()

    assert box.instance.status == "blocked"
    assert box.instance.blocked is not None
    assert "abandoned and undone" in box.instance.blocked.message
