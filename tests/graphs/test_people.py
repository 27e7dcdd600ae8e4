"""Gates among other steps: work sent back, one for each item, places, rules, who is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols.effects import Emit
from protocols.gates.words import GateWord
from protocols.graphs.graph import Graph
from protocols.graphs.text import as_text, plan, plan_text
from protocols.mail import Decided
from protocols.witness import Operator
from tests.graphs.orders import graph_of, steps
from tests.kernel.mailbox import Mailbox, asks, events, finish, paths

DRAFT = """\
name: letter
steps:
  plan: {service: office, operation: plan, undo: forget}
  draft: {service: office, operation: draft, needs: plan, undo: shred}
  check: {service: office, operation: check, needs: draft, when: steps.draft.result.long}
  allow:
    needs: check
    gate: {decisions: [approve, retry, reject], retry: [draft, plan]}
  send: {service: mail, operation: send, needs: [allow, draft], params: "{{steps.draft.result}}"}
"""
GATE = "/steps/allow/gate.allow"


def started(graph: Graph, value: Any = None, kernel: int = 2) -> Mailbox:
    """Return a run of a graph that has begun."""
    box = Mailbox(GraphWorkflow(graph, kernel))
    box.start(value)
    return box


def say(box: Mailbox, do: str, at: str = GATE, who: str = "ann", **more: Any) -> list[Any]:
    """Let a person say something at a gate."""
    word = msgspec.convert({"gate": at, "do": do, **more}, GateWord)
    return box.fold(Decided(**box._stamp(), word=word, by=Operator(who=who)))


def drafted() -> Mailbox:
    """Return a run whose letter was drafted, and waits to be allowed."""
    box = started(graph_of(DRAFT))
    box.reply("/steps/plan/office.plan", "p")
    box.reply("/steps/draft/office.draft", {"long": False, "text": "bad"})
    return box


def test_work_is_sent_back_and_done_once_more() -> None:
    """With keys of its own, from the named step to the gate; what it did is undone before."""
    box = drafted()

    said = say(box, "retry")
    begun = box.reply("/steps/draft/office.draft/undo")
    box.reply("/steps/draft#2/office.draft", {"long": True, "text": "good"})
    box.reply("/steps/check/office.check")
    (state,) = box.instance.gates()
    sent = say(box, "approve", state.path)
    box.reply("/steps/send/mail.send", "sent")

    assert paths(said) == ["/steps/draft/office.draft/undo"]
    assert paths(begun) == ["/steps/draft#2/office.draft"]
    assert begun[-1] != said[-1]
    assert state.path == "/steps/allow#2/gate.allow"
    assert msgspec.json.decode(asks(sent)[0].body)["text"] == "good"
    assert box.result == {"send": "sent"}
    assert paths(box.effects).count("/steps/plan/office.plan") == 1
    box.refold()


def test_the_named_step_decides_how_far_it_goes_back() -> None:
    """Its work and all between are undone, the newest first, and done once more in order."""
    box = drafted()

    said = say(box, "retry", step="plan")
    more = box.reply("/steps/draft/office.draft/undo")
    begun = box.reply("/steps/plan/office.plan/undo")
    shown = steps(box)
    box.reply("/steps/plan#2/office.plan", "q")
    box.reply("/steps/draft#2/office.draft", {"long": False})
    (state,) = box.instance.gates()
    say(box, "reject", state.path)
    box.reply("/steps/draft#2/office.draft/undo")
    ended = box.reply("/steps/plan#2/office.plan/undo")

    assert paths(said) == ["/steps/draft/office.draft/undo"]
    assert paths(more) == ["/steps/plan/office.plan/undo"]
    assert paths(begun) == ["/steps/plan#2/office.plan"]
    assert (shown["plan"], shown["draft"]) == ("running", "once more, by ann")
    assert finish(ended).status == "compensated"
    box.refold()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("retry: [draft, plan]", "retry: [drafd]", "there is no step 'drafd'"),
        ("retry: [draft, plan]", "retry: send", "allow does not wait for send"),
        ("needs: [allow, draft]", "needs: draft", "send may begin before allow is decided"),
        (
            "needs: [allow, draft]",
            "needs: [allow, draft], join: any",
            "send may begin before allow is decided",
        ),
        ("    needs: check\n", "", "there is no work before it to do once more"),
        ("    needs: check\n", "    needs: check\n    foreach: [1]\n", "sends no work back"),
    ],
)
def test_what_cannot_be_sent_back_is_told_at_load(old: str, new: str, message: str) -> None:
    """A step that has begun with the work before would keep what it got."""
    text = DRAFT.replace(", retry: [draft, plan]", "") if "no work" in message else DRAFT
    assert parse(DRAFT.encode()).problems == []

    problems = parse(text.replace(old, new).encode()).problems

    assert any(message in each.message for each in problems), problems


BILLS = """\
name: bills
input: {bills: {type: array}}
steps:
  allow:
    foreach: "{{input.bills}}"
    critical: false
    gate:
      title: "Pay {{item.amount}}?"
      values: {amount: "{{item.amount}}"}
      decisions: [approve, reject, skip]
      auto_when: item.amount < 10
  pay:
    service: bank
    operation: pay
    needs: allow
    foreach: "{{steps.allow.result}}"
    params: {to: "{{item.item.to}}", amount: "{{item.values.amount}}"}
"""


def test_each_item_has_a_gate_of_its_own() -> None:
    """All at once; the result has those that were approved, each with its item."""
    box = started(
        graph_of(BILLS),
        {"bills": [{"to": name, "amount": n * 8} for n, name in enumerate("abcd")]},
    )
    named = [(each.name, each.gate.title) for each in box.instance.gates()]

    say(box, "reject", "/steps/allow/items/2/gate.allow.2")
    said = say(box, "approve", "/steps/allow/items/3/gate.allow.3")

    assert named == [("allow.2", "Pay 16?"), ("allow.3", "Pay 24?")]
    assert [msgspec.json.decode(each.body) for each in asks(said)] == [
        {"to": "a", "amount": 0},
        {"to": "b", "amount": 8},
        {"to": "d", "amount": 24},
    ]
    box.refold()


def test_nothing_approved_lets_nothing_begin() -> None:
    """As with a gate that is skipped."""
    box = started(graph_of(BILLS), {"bills": [{"to": "a", "amount": 99}]})

    say(box, "skip", "/steps/allow/items/0/gate.allow.0")

    assert steps(box)["pay"] == "skipped: gate allow nothing was approved"
    assert box.result == {"pay": None}
    box.refold()


def test_a_rejected_item_of_a_critical_gate_fails_the_run() -> None:
    """When all of them are decided."""
    graph = graph_of(BILLS.replace("    critical: false\n", ""))
    box = started(graph, {"bills": [{"to": "a", "amount": 99}, {"to": "b", "amount": 98}]})

    say(box, "reject", "/steps/allow/items/0/gate.allow.0")
    running = box.instance.status
    say(box, "approve", "/steps/allow/items/1/gate.allow.1")

    assert running == "running"
    assert box.instance.status == "failed"
    box.refold()


PLACES = """\
name: places
concurrency: 1
steps:
  allow: {gate: {}}
  work: {service: office, operation: work}
  more: {service: office, operation: work, needs: allow}
"""


def test_a_gate_that_waits_takes_no_place() -> None:
    """Others run meanwhile; definitions that were packed before are run as they were."""
    box, before = started(graph_of(PLACES)), started(graph_of(PLACES), kernel=1)

    said = say(before, "approve")

    assert paths(box.effects) == ["/steps/work/office.work"]
    assert paths(say(box, "approve")) == []
    assert paths(box.reply("/steps/work/office.work")) == ["/steps/more/office.work"]
    assert paths(said) == ["/steps/work/office.work"]
    box.refold()
    before.refold()


MODES = """\
name: modes
approval_mode: "{{input.mode ?? ''}}"
input: {amount: number, mode: {type: string, optional: true}}
steps:
  small: {gate: {auto_when: input.amount < 10, values: {amount: "{{input.amount}}"}}}
  plain: {gate: {}, needs: small}
  never: {gate: {mode: interactive}, needs: plain}
"""


@pytest.mark.parametrize(
    ("mode", "amount", "waits", "shown"),
    [
        (None, 5, "plain", ""),
        (None, 50, "small", ""),
        ("auto", 5, "never", "interactive"),
        ("auto", 50, "small", ""),
        ("batch", 50, "small", "batch"),
        ("interactive", 5, "small", "interactive"),
    ],
)
def test_the_mode_comes_from_the_run_the_gate_and_its_rule(
    mode: str | None, amount: int, waits: str, shown: str
) -> None:
    """The gate's own word goes first; what a rule approves is on record as such."""
    box = started(graph_of(MODES), {"amount": amount, "mode": mode})

    (state,) = box.instance.gates()
    rules = [each.rule for each in box.instance.gates_ended.values() if each.auto]

    assert (state.name, state.gate.mode) == (waits, shown)
    assert rules[:1] == ([] if waits == "small" else ["input.amount < 10"])
    box.refold()


def test_an_unknown_mode_of_a_run_fails_it() -> None:
    """It waves nothing through."""
    box = started(graph_of(MODES), {"amount": 5, "mode": "yes"})

    assert box.instance.status == "failed"
    assert "is no mode of a gate" in str(box.instance.failure)


TOLD = """\
name: told
steps:
  allow: {gate: {title: "Go?", notify: mail, remind_every: 1d}}
"""


def test_a_service_is_told_of_a_gate() -> None:
    """When it opens and when people are reminded; one that fails holds nobody up."""
    box = started(graph_of(TOLD))
    first = "/steps/allow/notify/told/mail.notify"
    gate = box.instance.gates()[0]

    opened = asks(box.effects)
    box.fail(first, "failed", retryable=False)
    box.pass_time(86_400)
    reminded = asks(box.fire(gate.path))
    say(box, "approve", gate.path)

    assert [each.path for each in opened] == [first]
    assert msgspec.json.decode(opened[0].body)["event"] == "gate_opened"
    assert msgspec.json.decode(opened[0].body)["title"] == "Go?"
    assert msgspec.json.decode(reminded[0].body)["number"] == 1
    assert box.instance.status == "completed"
    assert "warning" in events(box.effects)
    box.refold()


def test_who_has_started_a_run_can_be_referred_to() -> None:
    """As nobody, where the start does not say."""
    graph = graph_of(
        "name: x\noutputs: '{{run.profile}}'\n"
        "steps: {a: {gate: {excluded: '{{run.started_by}}'}}}\n"
    )
    box = started(graph)

    (state,) = box.instance.gates()
    say(box, "approve", state.path)

    assert state.excluded == ()
    assert box.result is None


def test_texts_tell_of_what_is_tried_and_approved() -> None:
    """As ``movant workflow show`` prints them."""
    data = [each.data for each in drafted().effects if isinstance(each, Emit)]

    assert "gate: approve, retry, reject" in as_text(graph_of(DRAFT))
    assert "sent back at gate allow, done again without an undo: check" in plan_text(
        plan(graph_of(DRAFT))
    )
    assert any(
        isinstance(each, dict)
        and each.get("decisions", {}).get("retry")
        == "draft is done once more, with check behind it; "
        "plan is done once more, with draft, check behind it"
        for each in data
    )
