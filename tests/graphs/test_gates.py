"""Gates in graphs: what each decision does to the steps that need one, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols.effects import Arm
from protocols.gates.gate import Escalation, Gate
from protocols.gates.words import GateWord
from protocols.graphs.graph import Field, Graph, GraphStep
from protocols.graphs.text import as_mermaid, as_text, plan, plan_text
from protocols.mail import Decided
from protocols.witness import Operator
from tests.graphs.orders import steps
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

GATE = "/steps/allow/gate.allow"
PAY, SHIP, BACK = "/steps/pay/bank.pay", "/steps/ship/depot.ship", "/steps/book/hotel.book/undo"
ALLOW = Gate(
    title="Pay {{steps.book.result.price}} for {{input.who}}?",
    values={"amount": "{{steps.book.result.price}}"},
    fields={"amount": "number"},
    decisions=("approve", "modify", "reject", "skip", "cancel"),
    excluded="{{input.who}}",
)
TRIP = Graph(
    name="trip",
    input={"who": Field(type="string")},
    steps={
        "book": GraphStep(service="hotel", operation="book", undo="free"),
        "allow": GraphStep(gate=ALLOW, needs="book"),
        "pay": GraphStep(
            service="bank",
            operation="pay",
            needs="allow",
            params={"amount": "{{steps.allow.result.values.amount}}"},
        ),
        "ship": GraphStep(service="depot", operation="ship", needs="pay"),
    },
    outputs={"by": "{{steps.allow.result.by}}", "paid": "{{steps.pay.result}}"},
)


def waiting(graph: Graph = TRIP) -> Mailbox:
    """Return a run at its gate."""
    box = Mailbox(GraphWorkflow(graph))
    box.start({"who": "eve"})
    box.reply("/steps/book/hotel.book", {"price": 120})
    return box


def with_gate(**more: Any) -> Graph:
    """Return the trip with another gate step."""
    told: dict[str, Any] = {"gate": ALLOW, "needs": "book", **more}
    return msgspec.structs.replace(TRIP, steps={**TRIP.steps, "allow": GraphStep(**told)})


def say(box: Mailbox, do: str, who: str = "ann", values: Any = None) -> list[Any]:
    """Let a person decide."""
    word = msgspec.convert({"gate": GATE, "do": do, "values": values}, GateWord)
    return box.fold(Decided(**box._stamp(), word=word, by=Operator(who=who)))


def test_a_gate_shows_what_stands_in_its_references() -> None:
    """And which steps begin with an approval, and which a skip leaves out."""
    box = waiting()

    (state,) = box.instance.gates()

    assert (state.path, state.name) == (GATE, "allow")
    assert state.gate.title == "Pay 120 for eve?"
    assert state.gate.values == {"amount": 120}
    assert state.gate.excluded == ("eve",)
    assert (state.gate.meaning("approve"), state.gate.meaning("skip")) == (
        "begins pay",
        "skips pay",
    )
    assert steps(box)["allow"] == "waits for a decision"


@pytest.mark.parametrize(
    ("do", "values", "amount"), [("approve", None, 120), ("modify", {"amount": 9}, 9)]
)
def test_an_approval_begins_the_steps_that_need_it(do: str, values: Any, amount: int) -> None:
    """With the values of the decision; nothing before it is done again."""
    box = waiting()

    own = say(box, do, "eve", values)
    said = say(box, do, values=values)
    box.reply(PAY, "p-1")
    box.reply(SHIP)

    assert own == []
    assert paths(said) == [PAY]
    assert msgspec.json.decode(asks(said)[0].body) == {"amount": amount}
    assert box.result == {"by": "ann", "paid": "p-1"}
    assert paths(box.effects).count("/steps/book/hotel.book") == 1
    box.refold()


def test_a_skip_leaves_out_what_needs_the_gate_and_nothing_else() -> None:
    """What comes behind those steps goes on."""
    box = waiting()

    said = say(box, "skip")
    box.reply(SHIP)

    assert paths(said) == [SHIP]
    assert steps(box)["allow"] == "skipped by ann"
    assert steps(box)["pay"] == "skipped: gate allow skipped by ann"
    assert box.result == {"by": "ann", "paid": None}
    box.refold()


def test_a_rejection_fails_the_run_whatever_the_defaults_say() -> None:
    """A default that lets failures pass must not let through what somebody has refused."""
    defaults = msgspec.structs.replace(TRIP.defaults, on_error={"any": "continue"})
    box = waiting(msgspec.structs.replace(TRIP, defaults=defaults))

    say(box, "reject")
    ended = box.reply(BACK)

    assert finish(ended).status == "compensated"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "rejected"
    box.refold()


def test_a_gate_that_is_not_critical_keeps_its_steps_from_beginning() -> None:
    """The run goes on without them, with a warning."""
    box = waiting(with_gate(critical=False))

    said = say(box, "reject")

    assert "warning" in events(said)
    assert paths(said) == [SHIP]
    assert steps(box)["pay"].startswith("skipped: gate allow failed: rejected")
    box.refold()


def test_a_cancel_undoes_what_was_done() -> None:
    """The run is cancelled."""
    box = waiting()

    said = say(box, "cancel")

    assert paths(said) == [BACK]
    assert finish(box.reply(BACK)).status == "compensated"
    box.refold()


def test_a_gate_expires() -> None:
    """With a durable timer of its own."""
    gate = msgspec.structs.replace(ALLOW, expires="2d", on_expiry="approve")
    box = waiting(with_gate(gate=gate))
    (armed,) = [each for each in box.effects if isinstance(each, Arm)]
    box.pass_time(2 * 86_400)

    fired = box.fold_fired(armed.name)

    assert paths(fired) == [PAY]
    box.refold()


def test_references_that_do_not_fit_fail_the_step() -> None:
    """Names are texts."""
    gate = msgspec.structs.replace(ALLOW, excluded=("{{steps.book.result.price}}",))
    box = waiting(with_gate(gate=gate))

    box.reply(BACK)

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "validation"
    assert "are names" in box.instance.failure.message


def test_a_gate_is_told_in_texts_and_plans() -> None:
    """It may take as long as it says; without an expiry nothing bounds it."""
    escalate = Escalation(roles="board", expires="1d")
    gate = msgspec.structs.replace(ALLOW, expires="2d", on_expiry="escalate", escalate=escalate)

    (bounded,) = [each for each in plan(with_gate(gate=gate)).steps if each.name == "allow"]

    assert bounded.worst_s == 3 * 86_400
    assert "for nobody can tell how long they wait: allow" in plan_text(plan(TRIP))
    assert plan(TRIP).gates == {"allow": ("book",)}
    assert "before gate allow: book; a rejection undoes book\n" in plan_text(plan(TRIP))
    assert "gate: approve, modify, reject, skip, cancel" in as_text(TRIP)
    assert '{"allow<br/>gate' in as_mermaid(TRIP)


@pytest.mark.parametrize(
    ("do", "before", "after"),
    [
        ("approve", "5f4dd83d1e263395", "6439df0b158e037d"),
        ("modify", "5f4dd83d1e263395", "d8a828f7d70b7050"),
        ("skip", "5f4dd83d1e263395", "a9bb97e418a8ecb0"),
        ("reject", "5f4dd83d1e263395", "bfa222125fd48dea"),
        ("cancel", "5f4dd83d1e263395", "580fc4a581753156"),
    ],
)
def test_what_was_recorded_folds_as_it_did(do: str, before: str, after: str) -> None:
    """The state of a run at its gate and behind it, as the first code with gates had it."""
    box = waiting()

    at = box.instance.state_hash()
    say(box, do, values={"amount": 9} if do == "modify" else None)

    assert at.startswith(before)
    assert box.instance.state_hash().startswith(after)


FILE = """\
name: trip
steps:
  book: {service: hotel, operation: book}
  allow:
    needs: book
    gate:
      title: Pay?
      decisions: [approve, reject]
  pay: {service: bank, operation: pay, needs: allow}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("[approve, reject]", "[approve, sign]", 8, "'sign' is none of the words"),
        ("[approve, reject]", "[approve, modify]", 8, "'modify' and 'fields' belong together"),
        ("[approve, reject]", "[reject]", 8, "no decision lets the run go on"),
        ("title: Pay?", "titel: Pay?", 7, "'titel' is not known here"),
        (
            "title: Pay?",
            "roles: x\n      expires: 1d\n      on_expiry: escalate\n      escalate: {}",
            10,
            "names nobody",
        ),
        ("title: Pay?", "quorum: 2\n      approvers: [ann]", 7, "2 have to approve, and 1 may"),
        ("title: Pay?", "on_expiry: wait", 7, "nothing expires without 'expires'"),
        ("title: Pay?", "title: '{{steps.pay.result}}'", 7, "does not wait for pay"),
        ("title: Pay?", "quorum: 0", 7, ">= 1"),
        ("title: Pay?", "expires: 0s", 7, "expires is 0"),
        ("    needs: book\n    gate", "    needs: book\n    timeout: 1d\n    gate", 6, "takes no"),
        (
            "    needs: book\n    gate",
            "    needs: book\n    on_error: continue\n    gate",
            6,
            "takes no",
        ),
        (
            "    needs: book\n    gate",
            "    needs: book\n    service: x\n    operation: y\n    gate",
            8,
            "'gate' stands",
        ),
    ],
)
def test_mistakes_are_told_at_load(old: str, new: str, line: int, message: str) -> None:
    """With their line; a decision that is not implemented is one of them."""
    assert parse(FILE.encode()).problems == []

    found = parse(FILE.replace(old, new).encode()).problems

    told = [(each.line, each.message) for each in found]
    assert any(at == line and message in text for at, text in told), told
