"""Gates and people: reminders, levels, delegation, four eyes, rules, work that is sent back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.kernel.context import Context
from protocols.effects import Arm, Emit
from protocols.gates.gate import REMINDERS_MAX, Escalation, Gate, problems
from protocols.gates.words import GateDecision, GateWord
from protocols.mail import Decided, Start
from protocols.witness import Operator
from tests.kernel.mailbox import SECOND, Mailbox, events, paths

PATH = "/gate.payout"
DAY = 86_400


def opened(gate: Gate, by: str = "") -> Mailbox:
    """Return an instance that waits at its gate."""

    async def order(ctx: Context, _: Any = None) -> Any:
        while True:
            decision = await ctx.gate("payout", gate)
            if decision.do != "retry":
                return decision.do
            await ctx.call("office", "assess", name="assess")

    box = Mailbox(order)
    who = Operator(who=by) if by else None
    box.fold(Start(**box._stamp(), workflow="order", body=b"null", definition="d" * 16, by=who))
    return box


def say(box: Mailbox, do: str, who: str = "ann", *, at: str = PATH, **more: Any) -> list[Any]:
    """Let a person say something at a gate."""
    word = msgspec.convert({"gate": at, "do": do, **more}, GateWord)
    return box.fold(Decided(**box._stamp(), word=word, by=Operator(who=who)))


def told(effects: list[Any], event: str) -> Any:
    """Return the data of the one event of a kind."""
    (found,) = [each for each in effects if isinstance(each, Emit) and each.event == event]
    return found.data


def decision(box: Mailbox) -> GateDecision:
    """Return how the gate has ended last."""
    return list(box.instance.gates_ended.values())[-1]


def due(box: Mailbox) -> float:
    """Return when the gate is looked at again, in seconds from now."""
    arms = [each for each in box.effects if isinstance(each, Arm)]
    return (arms[-1].due - box.at) / SECOND


def fire(box: Mailbox, after_s: float) -> list[Any]:
    """Let time pass and the gate's timer fire."""
    box.pass_time(after_s)
    (name,) = {each.name for each in box.effects if isinstance(each, Arm)}
    return box.fold_fired(name)


def test_people_are_reminded_before_the_time_is_over() -> None:
    """At each of the times; then it expires when it would have done so anyway."""
    box = opened(Gate(expires="2d", remind=("1d", "2h")))

    first = (due(box), fire(box, DAY))
    second = (due(box), fire(box, DAY - 7_200))
    left = due(box)
    fire(box, 7_200)

    assert first[0] == DAY
    assert told(first[1], "gate_reminded")["number"] == 1
    assert second[0] == DAY - 7_200
    assert told(second[1], "gate_reminded")["number"] == 2
    assert left == 7_200
    assert decision(box).expired
    box.refold()


def test_reminders_that_were_missed_come_as_one() -> None:
    """A daemon that was away for days must not flood people; and there is an end to them."""
    box = opened(Gate(remind_every="1d"))

    fire(box, 3.5 * DAY)
    following = due(box)
    for _ in range(REMINDERS_MAX):
        if box.instance.gates()[0].reminded < REMINDERS_MAX:
            fire(box, DAY)
    said = fire(box, DAY)

    assert following == 0.5 * DAY
    assert said == []
    assert events(box.effects).count("gate_reminded") == REMINDERS_MAX
    assert say(box, "approve") != []
    box.refold()


def test_a_gate_escalates_level_by_level() -> None:
    """Each level adds people and has a time of its own; the last one says what comes then."""
    levels = (
        Escalation(roles="board", expires="1d"),
        Escalation(approvers="zoe", expires="1h", on_expiry="approve"),
    )
    box = opened(Gate(approvers="ann", expires="2d", on_expiry="escalate", escalate=levels))

    first = told(fire(box, 2 * DAY), "gate_escalated")
    second = told(fire(box, DAY), "gate_escalated")
    early = say(box, "approve", "carl")
    fire(box, 3_600)

    assert (first["level"], first["roles"], first["approvers"]) == (1, ["board"], ["ann"])
    assert (second["level"], second["approvers"]) == (2, ["ann", "zoe"])
    assert early == []
    assert (decision(box).do, decision(box).expired) == ("approve", True)
    box.refold()


def test_who_decides_may_hand_it_over() -> None:
    """Then another person may, and he himself may not any more; it stands in the events."""
    box = opened(Gate(approvers=("ann", "bob")))

    stranger = say(box, "delegate", "eve", to="carl")
    said = say(box, "delegate", "ann", to="carl")
    own = say(box, "approve", "ann")
    show = box.instance.gates()[0]
    people = show.approvers
    back = say(box, "delegate", "carl", to="ann")
    given = say(box, "approve", "carl")
    say(box, "approve", "ann")

    assert stranger == own == given == []
    assert told(said, "gate_delegated")["to"] == "carl"
    assert told(said, "gate_delegated")["by"]["who"] == "ann"
    assert people == ("bob", "carl")
    assert events(back) == ["gate_delegated"]
    assert box.result == "approve"
    box.refold()


@pytest.mark.parametrize(
    ("gate", "to"),
    [
        (Gate(), "carl"),
        (Gate(approvers="ann"), ""),
        (Gate(approvers="ann"), "ann"),
        (Gate(approvers="ann", excluded="carl"), "carl"),
    ],
)
def test_what_cannot_be_handed_over_stays(gate: Gate, to: str) -> None:
    """Where anybody may decide, to nobody, to oneself, and to whoever may not."""
    box = opened(gate)

    said = say(box, "delegate", "ann", to=to)

    assert said == []
    assert box.instance.gates()[0].delegations == []


def test_four_eyes_are_those_of_two_people() -> None:
    """Neither who started the run, nor who decided at another gate of it, also beside it."""

    async def twice(ctx: Context, _: Any = None) -> None:
        await ctx.gather(
            ctx.gate("first", Gate(four_eyes=True)), ctx.gate("second", Gate(four_eyes=True))
        )
        await ctx.gate("third", Gate(four_eyes=True))

    box = Mailbox(twice)
    by = Operator(who="eve")
    box.fold(Start(**box._stamp(), workflow="twice", body=b"", definition="d" * 16, by=by))
    first, second = (each.path for each in box.instance.gates())

    starter = say(box, "approve", "eve", at=first)
    nobody = say(box, "approve", "", at=first)
    say(box, "approve", "ann", at=first)
    again = say(box, "approve", "ann", at=second)
    say(box, "approve", "bob", at=second)
    (third,) = box.instance.gates()

    assert starter == nobody == again == []
    assert third.excluded == ("eve", "ann", "bob")
    say(box, "approve", "carl", at=third.path)
    assert box.instance.status == "completed"
    box.refold()


def test_a_gate_that_is_auto_is_approved_at_once() -> None:
    """Nobody is asked; the event says by which rule, and it is witnessed like a person's word."""
    box = opened(Gate(mode="auto", auto_when="amount < 100", values={"amount": 7}))

    found = told(box.effects, "gate_decided")

    assert "gate_opened" not in events(box.effects)
    assert (found["do"], found["auto"], found["values"]) == ("approve", True, {"amount": 7})
    assert found["text"] == "approved at once, because amount < 100"
    assert box.result == "approve"
    box.refold()


def test_work_that_is_sent_back_is_asked_for_again() -> None:
    """In Python the code does it; the next gate has a path of its own."""
    box = opened(Gate(decisions=("approve", "retry"), retry=("assess",)))

    wrong = say(box, "retry", step="other")
    said = say(box, "retry")
    box.reply("/assess")
    (state,) = box.instance.gates()
    say(box, "approve", at=state.path)

    assert wrong == []
    assert paths(said) == ["/assess"]
    assert told(said, "gate_decided")["text"] == "sent back to assess by ann"
    assert state.path == "/gate.payout#2"
    assert box.result == "approve"
    box.refold()


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Gate(remind="1d"), "nothing expires without 'expires'"),
        (Gate(expires="1d", remind="2d"), "that is before the gate opens"),
        (Gate(mode="sometimes"), "'sometimes' is no mode"),
        (Gate(mode="interactive", auto_when="true"), "a person decides"),
        (Gate(mode="auto", decisions=("skip", "reject")), "'approve' is none of the decisions"),
        (Gate(retry="assess"), "'retry' is none of the decisions"),
        (
            Gate(
                expires="1d",
                on_expiry="escalate",
                escalate=(Escalation(roles="a"), Escalation(roles="b")),
            ),
            "nothing expires without 'expires'",
        ),
        (
            Gate(
                expires="1d",
                on_expiry="escalate",
                escalate=(Escalation(expires="1d", on_expiry="wait"), Escalation(roles="b")),
            ),
            "behind this level comes the next one",
        ),
        (Gate(notify="no such name"), "cannot be asked"),
    ],
)
def test_parts_that_do_not_fit_are_told(gate: Gate, message: str) -> None:
    """Before anybody waits at such a gate."""
    assert any(message in each.message for each in problems(gate))
