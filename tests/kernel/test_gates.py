"""Gates in the fold: decisions, people, time, repeats, and what comes too late."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.kernel.context import Context
from protocols.compensation import Undo
from protocols.effects import Arm, Emit
from protocols.errors import StepFailedError
from protocols.gates.gate import GATE_BYTES_MAX, Escalation, Gate
from protocols.gates.words import Change, GateDecision, GateWord
from protocols.graphs.field import Field
from protocols.mail import Decided
from protocols.witness import Operator
from tests.kernel.mailbox import SECOND, Mailbox, asks, events, finish, paths

PATH = "/gate.payout"
DAY = 86_400
WHOLE = Gate(
    title="Pay 120?",
    values={"amount": 120, "to": "bob"},
    fields={"amount": Field(type="number", max=500), "note": Field(optional=True)},
    decisions=("approve", "modify", "reject", "skip", "cancel"),
)
TWO = Gate(title="Open the vault", quorum=2, approvers=("ann", "bob", "carl"), excluded=("carl",))


def opened(gate: Gate = WHOLE) -> Mailbox:
    """Return an instance that has booked something and waits at its gate."""

    async def order(ctx: Context, _: Any = None) -> Any:
        await ctx.call("hotel", "book", name="book", undo=Undo("free"))
        decision = await ctx.gate("payout", gate)
        if decision.do != "skip":
            await ctx.call("bank", "pay", decision.values, name="pay")
        return decision.do

    box = Mailbox(order)
    box.start()
    box.reply("/book", "room 7")
    return box


def say(
    box: Mailbox,
    do: str,
    who: str = "ann",
    *,
    gate: str = PATH,
    values: dict[str, Any] | None = None,
    role: str = "",
    message_id: str = "",
) -> list[Any]:
    """Let a person say something at the gate."""
    word = msgspec.convert({"gate": gate, "do": do, "values": values, "role": role}, GateWord)
    by = Operator(who=who, where="desk 4", why="I know them") if who else None
    return box.fold(Decided(**box._stamp(), word=word, by=by, message_id=message_id))


def decision(box: Mailbox) -> GateDecision:
    """Return how the gate has ended."""
    (found,) = box.instance.gates_ended.values()
    return found


def told(effects: list[Any], event: str) -> Any:
    """Return the data of the one event of a kind."""
    (found,) = [each for each in effects if isinstance(each, Emit) and each.event == event]
    return found.data


def test_an_open_gate_asks_for_nothing_and_shows_what_is_to_be_decided() -> None:
    """No request, no timer: it waits for ever. The event has the values and what follows."""
    box = opened()

    (waiting,) = box.instance.waiting()
    (state,) = box.instance.gates()
    facts = told(box.effects, "gate_opened")

    assert paths(box.effects) == ["/book"]
    assert not any(isinstance(each, Arm) for each in box.effects)
    assert (waiting.kind, waiting.path, waiting.detail) == ("gate", PATH, "Pay 120?")
    assert (state.path, state.votes, state.due) == (PATH, [], 0)
    assert facts["values"] == {"amount": 120, "to": "bob"}
    assert list(facts["decisions"]) == ["approve", "modify", "reject", "skip", "cancel"]
    assert facts["decisions"]["reject"].endswith("the run fails and is undone")
    box.refold()


def test_an_approval_goes_on_with_the_values_and_repeats_nothing() -> None:
    """Who decided, from where and why is witnessed; what was booked is not booked again."""
    box = opened()

    said = say(box, "approve")
    box.reply("/pay")

    (event,) = [x for x in said if isinstance(x, Emit) and x.event == "gate_decided"]
    assert event.statement is not None
    assert event.statement.statement().by == Operator(who="ann", where="desk 4", why="I know them")
    assert event.data["do"] == "approve"
    assert event.data["text"] == "approved by ann at desk 4: I know them"
    assert paths(box.effects) == ["/book", "/pay"]
    assert msgspec.json.decode(asks(box.effects)[1].body) == {"amount": 120, "to": "bob"}
    assert box.result == "approve"
    box.refold()


def test_a_modification_is_checked_and_its_difference_recorded() -> None:
    """Only declared fields, only values of their type; the others stay as they are."""
    box = opened()

    wrong = [
        say(box, "modify", values={"amount": 501}),
        say(box, "modify", values={"amount": "much"}),
        say(box, "modify", values={"to": "eve"}),
        say(box, "modify"),
        say(box, "modify", values={"amount": 1, "note": "x" * GATE_BYTES_MAX}),
        say(box, "approve", values={"amount": 1}),
    ]
    said = say(box, "modify", values={"amount": 90})

    assert wrong == [[]] * 6
    assert box.instance.counters.late == 6
    assert told(said, "gate_decided")["changes"] == [
        {"field": "amount", "before": 120, "after": 90}
    ]
    assert decision(box).changes == (Change(field="amount", before=120, after=90),)
    assert msgspec.json.decode(asks(said)[0].body) == {"amount": 90, "to": "bob"}
    box.refold()


def test_a_rejection_fails_the_run_and_undoes_it() -> None:
    """Unless the code catches it; the failure says who and why."""
    box = opened()

    say(box, "reject")
    ended = box.reply("/book/undo")

    assert finish(ended).status == "compensated"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "rejected"
    assert "rejected by ann at desk 4: I know them" in box.instance.failure.message
    box.refold()


def test_a_skip_goes_on_without_values() -> None:
    """The code is told, and does not do what the gate was for."""
    box = opened()

    say(box, "skip")

    assert decision(box).values is None
    assert paths(box.effects) == ["/book"]
    assert box.result == "skip"
    box.refold()


def test_a_cancel_cancels_the_run_and_undoes_it() -> None:
    """As ``movant run cancel`` does."""
    box = opened()

    said = say(box, "cancel")
    ended = box.reply("/book/undo")

    assert events(said)[0] == "gate_decided"
    assert finish(ended).status == "compensated"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "cancelled"
    assert "gate_withdrawn" not in events(box.effects)
    box.refold()


def test_a_cancel_reaches_a_gate_that_is_hidden_from_it() -> None:
    """The gate is over: what stands behind it must not wait for ever."""

    async def hidden(ctx: Context, _: Any = None) -> str:
        with ctx.shield():
            try:
                await ctx.gate("payout", WHOLE)
            except StepFailedError as error:
                await ctx.call("log", "note", error.failure.kind, name="note")
        return "noted"

    box = Mailbox(hidden)
    box.start()

    say(box, "cancel")
    box.reply("/note")

    assert box.result == "noted"
    box.refold()


def test_the_first_decision_stands() -> None:
    """Later ones, repeats and words for gates that are not there change nothing."""
    box = opened()

    first = say(box, "approve", message_id="m")
    second = say(box, "reject", "bob")
    again = say(box, "approve", message_id="m")
    other = say(box, "approve", gate="/gate.other")

    assert paths(first) == ["/pay"]
    assert second == again == other == []
    assert decision(box).message_id == "m"
    assert decision(box).by is not None
    assert decision(box).text.startswith("approved by ann")
    assert (box.instance.counters.late, box.instance.counters.duplicates) == (2, 1)
    box.refold()


def test_a_signal_decides_nothing() -> None:
    """Whoever may send signals has no say at a gate; the API alone writes decisions."""
    box = opened()

    forged = [box.signal("payout", "approve"), box.signal("gate.payout", {"do": "approve"})]

    assert forged == [[], []]
    assert [each.path for each in box.instance.gates()] == [PATH]
    box.refold()


@pytest.mark.parametrize(
    ("do", "who", "role"),
    [("skip", "ann", ""), ("approve", "carl", ""), ("approve", "eve", ""), ("approve", "", "")],
)
def test_whoever_may_not_decide_does_not(do: str, who: str, role: str) -> None:
    """A decision that is not offered, a person excluded, one not asked, and nobody."""
    box = opened(TWO)

    said = say(box, do, who, role=role)

    assert said == []
    assert box.instance.counters.late == 1
    box.refold()


def test_a_quorum_counts_each_person_once() -> None:
    """The second approval of one person is none; the last one needed decides."""
    box = opened(TWO)

    first = say(box, "approve", "ann")
    twice = say(box, "approve", "ann")
    second = say(box, "approve", "bob")

    assert events(first) == ["gate_voted"]
    assert told(first, "gate_voted")["approved"] == 1
    assert twice == []
    assert paths(second) == ["/pay"]
    assert decision(box).text.startswith("approved by ann and bob")
    assert [each.by.who for each in decision(box).votes] == ["ann", "bob"]
    box.refold()


def test_one_rejection_is_enough() -> None:
    """However many have approved."""
    box = opened(TWO)
    say(box, "approve", "ann")

    said = say(box, "reject", "bob")

    assert paths(said) == ["/book/undo"]
    box.refold()


def test_a_role_is_what_the_client_says() -> None:
    """One of the gate's roles decides; the decision has it."""
    box = opened(Gate(roles=("finance",)))

    other = say(box, "approve", "ann", role="sales")
    said = say(box, "approve", "ann", role="finance")

    assert other == []
    assert told(said, "gate_decided")["role"] == "finance"
    box.refold()


def test_a_gate_that_expires_is_rejected_not_before_its_time() -> None:
    """A timer that comes too early is armed anew; nobody is named as who decided."""
    box = opened(Gate(expires="2d"))
    (armed,) = [each for each in box.effects if isinstance(each, Arm)]

    box.pass_time(DAY)
    early = box.fold_fired(armed.name)
    box.pass_time(DAY)
    box.fold_fired(armed.name)
    late = say(box, "approve")
    ended = box.reply("/book/undo")

    assert armed.due == box.mails[1].at + 2 * DAY * SECOND
    assert [type(each) for each in early] == [Arm]
    assert late == []
    assert decision(box).expired
    assert decision(box).text == "rejected because nobody decided in time"
    assert finish(ended).status == "compensated"
    box.refold()


def test_what_is_decided_in_time_is_not_decided_again_by_the_timer() -> None:
    """The firing comes all the same, and finds nobody."""
    box = opened(Gate(expires="2d", on_expiry="approve"))
    (armed,) = [each for each in box.effects if isinstance(each, Arm)]
    say(box, "approve")
    box.pass_time(2 * DAY)

    fired = box.fold_fired(armed.name)

    assert fired == []
    assert not decision(box).expired
    box.refold()


def test_a_gate_may_approve_itself() -> None:
    """Where its author says so."""
    box = opened(Gate(values={"amount": 1}, expires="2d", on_expiry="approve"))
    box.pass_time(2 * DAY)

    box.fold_fired(next(each.name for each in box.effects if isinstance(each, Arm)))

    assert (decision(box).do, decision(box).expired) == ("approve", True)
    assert decision(box).values == {"amount": 1}
    assert paths(box.effects) == ["/book", "/pay"]
    box.refold()


def test_a_gate_may_wait_on() -> None:
    """An event says that it is late; it can still be decided."""
    box = opened(Gate(expires="2d", on_expiry="wait"))
    box.pass_time(2 * DAY)

    fired = box.fold_fired(next(each.name for each in box.effects if isinstance(each, Arm)))
    said = say(box, "approve")

    assert events(fired) == ["gate_overdue"]
    assert paths(said) == ["/pay"]
    box.refold()


def test_a_gate_may_escalate() -> None:
    """Others may decide as well then, for a time of their own; the first ones still may."""
    gate = Gate(
        approvers="ann",
        expires="2d",
        on_expiry="escalate",
        escalate=Escalation(roles="board", expires="1d"),
    )
    box, other = opened(gate), opened(gate)
    name = next(each.name for each in box.effects if isinstance(each, Arm))
    before = say(box, "approve", "zoe", role="board")
    say(other, "approve", "zoe", role="board")
    for each in (box, other):
        each.pass_time(2 * DAY)

    fired = box.fold_fired(name)
    repeated = box.fold_fired(name)
    said = say(box, "approve", "zoe", role="board")
    other.fold_fired(name)
    other.pass_time(DAY)
    other.fold_fired(name)

    assert before == []
    assert told(fired, "gate_escalated")["roles"] == ["board"]
    assert [type(each) for each in repeated] == [Arm]
    assert paths(said) == ["/pay"]
    assert (decision(other).do, decision(other).expired) == ("reject", True)
    box.refold()
    other.refold()


def test_a_gate_that_is_given_up_says_so() -> None:
    """Its time around is over, or another branch was first."""

    async def raced(ctx: Context, _: Any = None) -> str:
        with ctx.move_on_after(60):
            await ctx.gate("payout", WHOLE)
        await ctx.call("bank", "pay", name="pay")
        return "paid"

    box = Mailbox(raced)
    box.start()
    box.pass_time(60)

    fired = box.fire("/timeout")
    late = say(box, "approve")

    assert events(fired) == ["gate_withdrawn"]
    assert late == []
    assert box.instance.gates() == []
    box.refold()


def test_a_gate_with_parts_that_do_not_fit_blocks() -> None:
    """Its code can be repaired; nothing is decided by chance."""

    async def wrong(ctx: Context, _: Any = None) -> None:
        await ctx.gate("payout", Gate(decisions=("approve", "modify")))

    box = Mailbox(wrong)
    box.start()

    assert box.instance.blocked is not None
    assert "'modify' and 'fields' belong together" in box.instance.blocked.message
