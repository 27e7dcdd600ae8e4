"""``unknown: review``: what nobody knows waits for a person's word, and for nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from actors.kernel.context import Context
from protocols import codec
from protocols.compensation import Undo
from protocols.effects import Emit
from protocols.errors import StepFailedError
from protocols.mail import Reviewed
from protocols.policy import NO_RETRY, Retry, StepOptions
from protocols.subjects import step_token
from protocols.witness import Operator
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

OPTIONS = StepOptions(unknown="review", timeout_s=10, retry=Retry(attempts=2, delays=(0.0,)))
ANN = Operator(who="ann", where="desk 4", why="I have called them")


async def pay(ctx: Context, _: Any = None) -> Any:
    """Take one step of which a person decides what nobody knows, then another one."""
    paid = await ctx.call("bank", "pay", name="pay", options=OPTIONS, undo=Undo("back"))
    await ctx.call("mail", "send", name="mail", retry=NO_RETRY)
    return paid


def lost(code: Any = pay) -> Mailbox:
    """Return an instance whose first attempt nobody has answered."""
    box = Mailbox(code)
    box.start()
    box.pass_time(10)
    box.time_out("/pay")
    return box


def word(
    box: Mailbox, *, done: bool, result: Any = None, attempt: int = 1, message_id: str = ""
) -> list[Any]:
    """Let a person say whether it was done."""
    stamp = box._stamp()
    return box.fold(
        Reviewed(
            **stamp,
            step=step_token("/pay"),
            attempt=attempt,
            done=done,
            body=codec.encode(result),
            message_id=message_id,
            by=ANN,
        )
    )


def test_an_unknown_outcome_is_asked_about_and_nothing_is_tried_again() -> None:
    """The event says at which step and what to do; the instance waits for ever."""
    box = lost()

    (first,) = asks(box.effects)
    (event,) = [
        each for each in box.effects if isinstance(each, Emit) and each.event == "outcome_unknown"
    ]
    (waiting,) = box.instance.waiting()

    assert not box.instance.is_open(first)
    assert (event.data["path"], event.data["attempt"]) == ("/pay", 1)
    assert event.data["next"] == "movant run review i-1 /pay --done | --not-done"
    assert (waiting.kind, waiting.path, waiting.attempt) == ("review", "/pay", 1)
    assert "bank.pay" in waiting.detail
    box.refold()


def test_done_gives_the_step_its_value_and_is_witnessed() -> None:
    """With who said so, from where and why."""
    box = lost()

    said = word(box, done=True, result="p-7")
    box.reply("/mail")

    (event,) = [each for each in said if isinstance(each, Emit)]
    assert event.event == "outcome_decided"
    assert event.data == {"step": "/pay", "attempt": 1, "done": True}
    assert event.statement is not None
    assert event.statement.statement().by == ANN
    assert box.result == "p-7"
    box.refold()


def test_not_done_is_a_failure_without_effect() -> None:
    """The policy decides: it is tried again, with the same key, and then it fails."""
    box = lost()

    again = word(box, done=False)
    box.pass_time(10)
    box.time_out("/pay", attempt=2)
    ended = word(box, done=False, attempt=2)

    assert [(each.path, each.attempt, each.key) for each in asks(again)] == [
        ("/pay", 2, "i-1/1/pay")
    ]
    assert finish(ended).status == "failed"
    assert box.instance.failure is not None
    assert "not done, says ann" in box.instance.failure.message
    assert box.instance.steps == ()
    box.refold()


def test_the_answer_of_the_service_counts_when_it_comes_after_all() -> None:
    """A success is the value, a refusal the end; the word that comes then is late."""
    done, refused = lost(), lost()

    done.reply("/pay", "p-7")
    late = word(done, done=False)
    ended = refused.fail("/pay", "refused")

    assert [each.path for each in done.instance.waiting()] == ["/mail"]
    assert late == []
    assert finish(ended).status == "failed"
    done.refold()
    refused.refold()


def test_a_word_about_another_attempt_or_a_repeat_changes_nothing() -> None:
    """Nor does one about a step that nobody asked about."""
    box = lost()

    other = word(box, done=False, attempt=2)
    first = word(box, done=False, message_id="m")
    box.pass_time(10)
    box.time_out("/pay", attempt=2)
    repeated = word(box, done=False, attempt=2, message_id="m")

    assert other == repeated == []
    assert paths(first) == ["/pay"]
    assert box.instance.counters.late == 1
    assert box.instance.counters.duplicates == 1
    box.refold()


@pytest.mark.parametrize("done", [True, False])
def test_what_nobody_knows_is_undone_on_a_persons_word_alone(
    done: bool,  # noqa: FBT001
) -> None:
    """A cancel asks anew, and what is older waits for the word as well."""

    async def two(ctx: Context, _: Any = None) -> None:
        await ctx.call("a", "b", name="first", undo="undo")
        await pay(ctx)

    box = Mailbox(two)
    box.start()
    box.reply("/first")
    box.pass_time(10)
    box.time_out("/pay")

    cancelled = box.cancel()
    waiting = box.instance.waiting()
    plan = box.instance.undo_plan()
    said = word(box, done=done)
    if done:
        assert paths(said) == ["/pay/undo"]
        box.reply("/pay/undo")
    box.reply("/first/undo")

    assert paths(cancelled) == []
    assert "outcome_unknown" in events(cancelled)
    assert [(each.kind, each.path) for each in waiting] == [("review", "/pay")]
    assert [each.path for each in plan] == ["/pay", "/first"]
    assert box.instance.status == "compensated"
    assert {x.path: x.fate for x in box.instance.steps} == {
        "/first": "undone",
        **({"/pay": "undone"} if done else {}),
    }
    box.refold()


def test_a_late_answer_takes_the_place_of_the_word() -> None:
    """It is undone, because the service says that it was done."""
    box = lost()
    box.cancel()

    late = box.reply("/pay", "p-7")
    box.reply("/pay/undo")

    assert paths(late) == ["/pay/undo"]
    assert box.instance.status == "compensated"
    box.refold()


def test_an_undo_of_which_nobody_knows_is_tried_again() -> None:
    """It undoes by key, any number of times: that needs nobody's word."""
    box = Mailbox(pay)
    box.start()
    box.reply("/pay")
    box.fail("/mail")
    box.pass_time(10)

    again = box.time_out("/pay/undo")

    assert [(each.path, each.attempt) for each in asks(again)] == [("/pay/undo", 2)]


def test_a_step_without_an_undo_is_asked_about_as_well() -> None:
    """One that may not be repeated waits for the word before it fails."""

    async def once(ctx: Context, _: Any = None) -> str:
        options = StepOptions(unknown="review", timeout_s=10, idempotent=False)
        try:
            await ctx.call("bank", "pay", name="pay", options=options)
        except StepFailedError:
            return "not paid"
        return "paid"

    box = lost(once)
    word(box, done=True)

    assert box.result == "paid"
    box.refold()
