"""Runs of code that begin with what another run has done."""

from __future__ import annotations

from typing import Any

from actors.code_forking import code_fork
from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.errors import StepFailedError
from protocols.forking import Forking, ForkOrder
from protocols.gates.gate import Gate
from tests.kernel.mailbox import Mailbox, asks, events, paths


async def trip(ctx: Context, given: Any = None) -> Any:
    """Book, wait, be told, let somebody look, and go."""
    room, seat = await ctx.gather(
        ctx.call("hotel", "book", given, undo="cancel"), ctx.call("rail", "book")
    )
    try:
        await ctx.call("post", "tell")
    except StepFailedError as error:
        ctx.emit("untold", error.failure.kind)
    await ctx.sleep(3600)
    word = await ctx.signal("word")
    child = await ctx.child("visa", {"for": "ann"})
    ok = await ctx.gate("fine", Gate(title="Go?", values={"word": word}))
    await ctx.call("taxi", "call", {"room": room, "seat": seat, "ok": ok.do, "visa": child})
    return await ctx.call("diary", "note")


def tripped() -> Mailbox:
    """Return a trip whose taxi did not come."""
    box = Mailbox(trip)
    box.start("ann")
    box.reply("/gather/0/hotel.book", 12)
    box.reply("/gather/1/rail.book", "4A")
    box.fail("/post.tell", "away", retryable=False)
    box.pass_time(3600)
    box.fire("/sleep")
    box.signal("word", "yes")
    box.end_child("/visa", {"number": 9})
    box.decide("/gate.fine", "approve")
    effects = box.fail("/taxi.call", retryable=False)
    box.reply(asks(effects)[0].path)  # the hotel
    assert box.instance.status == "compensated"
    return box


def forking(box: Mailbox, step: str, **more: Any) -> Forking:
    """Return what another run of the code would take over."""
    again = Instance(box.instance.id, box.load)
    heard = [(mail, again.fold(mail)) for mail in box.mails]
    order = ForkOrder(step=step, **more)
    return code_fork(again, heard, order, again.fallen())  # type: ignore[arg-type]


def test_code_finds_done_what_was_done_before_a_step() -> None:
    """Answers, failures, time, signals, children and people's words; only the step is asked."""
    found = forking(tripped(), "taxi.call", accept=("/gather/0/hotel.book",))
    box = Mailbox(trip)

    effects = box.fork("taxi.call", found.standing, "ann")

    assert found.problems == ()
    (ask,) = asks(effects)
    assert ask.body == b'{"ok":"approve","room":12,"seat":"4A","visa":{"number":9}}'
    assert events(effects) == []
    box.reply("/taxi.call")
    box.reply("/diary.note", "home")
    assert box.result == "home"
    box.refold()


def test_what_was_undone_in_code_has_to_be_accepted() -> None:
    """As in a graph."""
    (problem,) = forking(tripped(), "taxi.call").problems

    assert problem == "step '/gather/0/hotel.book' was undone: begin there, or accept it"


def test_what_comes_behind_the_step_is_not_taken_over() -> None:
    """Also where it was done: the code may go another way by then."""
    found = forking(tripped(), "/post.tell", accept=("all",))
    box = Mailbox(trip)

    assert paths(box.fork("/post.tell", found.standing, "ann")) == ["/post.tell"]
    what = {each.step: each.what for each in found.steps}
    assert what["/gather/1/rail.book"] == "taken"
    assert what["/sleep"] == "again"
    assert found.standing["signals"] == []


def test_a_step_to_which_the_code_never_came_is_told() -> None:
    """With the nearest one."""
    (problem,) = forking(tripped(), "taxi.cal").problems

    assert problem == "the run never came to /taxi.cal; did you mean '/taxi.call'?"


async def racing(ctx: Context, _: Any = None) -> Any:
    """Let the first of two win, and go on."""
    won = await ctx.race(ctx.call("slow", "go"), ctx.call("fast", "go"))
    return await ctx.call("end", "go", won.value)


def test_who_lost_a_race_loses_it_again() -> None:
    """What was cancelled had no outcome that another run could take over."""
    box = Mailbox(racing)
    box.start()
    box.fail("/race/0/slow.go", retryable=True)  # it is tried again, and then cancelled
    box.reply("/race/1/fast.go", 1)
    box.fail("/end.go", retryable=False)
    found = forking(box, "/end.go")
    new = Mailbox(racing)

    new.fork("/end.go", found.standing)

    assert [each.path for each in new.instance.waiting()] == ["/end.go"]
    assert new.instance.is_open(asks(new.effects)[-1])
    assert not new.instance.is_open(asks(new.effects)[0])
    new.refold()
