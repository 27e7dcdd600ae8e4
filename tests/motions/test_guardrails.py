"""Machines whose states are held to guardrails: verdicts lead where directives say."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import msgspec
import pytest

from actors.files.definitions import load_document, parse
from actors.motions.interpreter import MotionWorkflow
from protocols.errors import ConfigurationError
from protocols.gates.words import GateWord
from protocols.guardrails.guardrail import Guardrail
from protocols.machines.machine import Machine, State
from protocols.machines.text import as_text
from protocols.mail import Decided
from protocols.witness import Operator
from tests.kernel.mailbox import Mailbox, asks, paths
from tests.motions.machines import motion, told, went

WORK: Final = "/states/DRAFT/writer.write"
SAGA: Final = "/states/DRAFT/guarded/writer.write"


def machine(rule: str, state: str = "", more: str = "") -> Machine:
    """Return a machine whose first state is held to a rule."""
    document = parse(
        textwrap.dedent(f"""
        name: letter
        initial: DRAFT
        guardrails:
          rule: {rule}
        {more}
        states:
          DRAFT:
            owner: writer
            operation: write
            guardrails: rule
            next: SENT
            {state}
          SENT: {{owner: post, operation: send, terminal: true}}
        """).encode()
    )
    assert document.problems == []
    assert isinstance(document.value, Machine)
    return document.value


def run(rule: str, state: str = "", given: Any = None, more: str = "") -> Mailbox:
    """Return a motion that was started."""
    box = motion(machine(rule, state, more))
    box.start(given)
    return box


def decide(box: Mailbox, do: str) -> None:
    """Let a person decide at the gate that waits."""
    (state,) = box.instance.gates()
    word = msgspec.convert({"gate": state.path, "do": do}, GateWord)
    box.fold(Decided(**box._stamp(), word=word, by=Operator(who="ann")))


def test_a_violation_before_is_a_failure_of_the_state() -> None:
    """Nobody was asked; the directive for ``compliance`` leads on, and a statement tells it."""
    step = "on_error: {compliance: {do: continue, to: SENT}}"
    box = run("{type: data-privacy}", step, {"iban": "DE89 3704 0044 0532 0130 00"})

    assert paths(box.effects) == ["/states/SENT/post.send"]
    assert went(box)[-1] == ("DRAFT", "SENT", "continued")
    (violation,) = told(box.effects, "guardrail_violated")
    assert (violation["step"], violation["reason"]) == ("/states/DRAFT", "iban at input.iban")
    assert box.instance.state["guardrails"][0].startswith("block before /states/DRAFT: rule")
    box.refold()


def test_rules_that_hold_change_no_path_and_no_event() -> None:
    """With rules that find nothing a motion goes as without any."""
    held, free = run("{type: data-privacy}"), motion(machine("{type: data-privacy}"))
    plain = msgspec.structs.replace(free.code.machine, guardrails={})  # type: ignore[attr-defined]
    states = {**plain.states, "DRAFT": State(owner="writer", operation="write", next="SENT")}
    free = motion(msgspec.structs.replace(plain, states=states))
    free.start(None)
    for box in (held, free):
        box.reply(WORK, "a letter")
        box.reply("/states/SENT/post.send")

    assert held.effects == free.effects
    assert held.result == free.result
    held.refold()


@pytest.mark.parametrize("do", ["approve", "reject", ""])
def test_a_person_is_asked_outside_of_the_time_of_the_state(do: str) -> None:
    """A signal cuts the wait short, as it cuts the work."""
    rule = "{type: compliance, deny: 'params.input == 1', severity: high, roles: [legal]}"
    step = "timeout: 1h\n            signals: {drop: SENT}"
    box = run(rule, step, 1)

    assert paths(box.effects) == []
    assert box.instance.state["next_action"] == "gate DRAFT"
    assert box.instance.state["blocked"].startswith("DRAFT: guardrail rule (high)")
    (state,) = box.instance.gates()
    assert state.gate.roles == ("legal",)
    box.pass_time(3 * 3600)
    if not do:
        box.signal("drop")
        assert went(box)[-1] == ("DRAFT", "SENT", "signal")
        assert box.instance.gates() == []
    elif do == "approve":
        word = msgspec.convert({"gate": state.path, "do": do, "role": "legal"}, GateWord)
        box.fold(Decided(**box._stamp(), word=word, by=Operator(who="ann")))
        assert paths(box.effects) == [WORK]
        assert box.instance.state["blocked"] is None
        assert box.instance.state["next_action"] == "writer write"
    else:
        word = msgspec.convert({"gate": state.path, "do": do, "role": "legal"}, GateWord)
        box.fold(Decided(**box._stamp(), word=word, by=Operator(who="ann")))
        assert box.instance.state["blocked"].startswith("halted: rejected")
    box.refold()


def test_what_was_done_and_is_not_wanted_is_undone_and_asked_for_under_a_new_key() -> None:
    """As its directive says, and once more when an operator resumes."""
    rule = "{type: output, require: size(result) > 3}"
    retry = "{do: retry, policy: {attempts: 2, delays: [1], jitter: 0}}"
    box = run(rule, f"undo: tear\n            on_error: {{invalid_output: {retry}}}")
    box.reply(SAGA, "no")
    box.reply(f"{SAGA}/undo")
    box.pass_time(1)
    box.fire("/states/DRAFT/again")
    second = SAGA.replace("guarded", "guarded#2")
    box.reply(second, "no")
    box.reply(f"{second}/undo")
    halted = box.instance.state["blocked"]
    box.signal("motion.resume", "retry")
    box.reply(SAGA.replace("guarded", "guarded#3"), "a letter")

    assert "invalid_output" in halted
    assert went(box)[-1] == ("DRAFT", "SENT", "completed")
    keys = [each.key for each in asks(box.effects) if each.operation == "write"]
    assert len(set(keys)) == len(keys) == 3
    box.refold()


def test_whoever_works_in_its_place_is_held_to_the_same() -> None:
    """A fallback may not be asked when it is not on the list."""
    rule = "{type: allowlist, allow: {services: [writer]}, severity: critical}"
    step = "on_error: {refused: {do: fallback, services: [poet]}}"
    box = run(rule, step)
    box.fail(WORK, "refused", retryable=False)

    assert paths(box.effects) == [WORK]
    assert told(box.effects, "guardrail_violated")[0]["reason"] == "service poet is not allowed"
    assert box.instance.state["blocked"].startswith("halted: refused")
    box.refold()


def test_the_same_machine_in_yaml_and_in_python_leaves_the_same_trace() -> None:
    """With a rule in it that a function answers, and one that warns."""
    yaml = machine(
        "{type: python, function: 'rules:check', at: after}",
        more="  loud: {type: security, severity: low, every: true}",
    )
    python = Machine(
        name="letter",
        initial="DRAFT",
        guardrails={
            "rule": Guardrail(type="python", function="rules:check", at="after"),
            "loud": Guardrail(type="security", severity="low", every=True),
        },
        states={
            "DRAFT": State(owner="writer", operation="write", guardrails="rule", next="SENT"),
            "SENT": State(owner="post", operation="send", terminal=True),
        },
    )
    boxes = []
    for each in (yaml, python):
        box = Mailbox(MotionWorkflow(each, {"rules:check": print}), "m-1")
        box.start({"password": "hunter22"})
        box.reply(WORK, "a letter")
        box.reply("/states/DRAFT/guardrail.rule", value=True)
        box.reply("/states/SENT/post.send")
        boxes.append(box)

    assert yaml == python
    assert boxes[0].effects == boxes[1].effects
    assert boxes[0].result["state"] == "SENT"
    assert len(told(boxes[0].effects, "guardrail_violated")) == 2
    boxes[0].refold()


WRONG = [
    ("{type: cost}", "guardrails: rule", "bounds nothing", 4),
    ("{type: security}", "guardrails: rul", "did you mean 'rule'?", 8),
    ("{type: security}", "guardrails: [rule, rule]", "stands twice", 8),
    ("{type: compliance, deny: 'steps.x == 1'}", "guardrails: rule", "only graphs have", 4),
    ("{type: allowlist, allow: {services: [x]}}", "guardrails: rule", "does not allow", 7),
    ("{type: allowlist, allow: {operations: [x]}}", "guardrails: rule", "does not allow", 6),
]


@pytest.mark.parametrize(("rule", "named", "text", "line"), WRONG)
def test_what_is_wrong_is_told_at_its_place(rule: str, named: str, text: str, line: int) -> None:
    """With advice, before anything is deployed."""
    source = (
        f"name: letter\ninitial: DRAFT\nguardrails:\n  rule: {rule}\nstates:\n"
        f"  DRAFT:\n    owner: writer\n    {named}\n    next: SENT\n  SENT: {{terminal: true}}\n"
    )
    problems = parse(source.encode()).problems

    assert any(text in f"{each.message} {each.hint}" for each in problems), problems
    assert {each.line for each in problems} == {line}


def test_a_name_that_nobody_defines_is_a_warning_in_a_file_and_refused_at_load() -> None:
    """It may be a shared one, which the daemon puts in."""
    source = (
        "name: a\ninitial: A\nstates:\n  A: {owner: s, guardrails: fair, next: B}\n"
        "  B: {terminal: true}\n"
    )
    document = parse(source.encode())

    assert [(each.severity, each.line) for each in document.problems] == [("warning", 4)]
    assert isinstance(document.value, Machine)
    with pytest.raises(ConfigurationError, match="no guardrail 'fair'"):
        MotionWorkflow(document.value)


def test_a_machine_is_shown_with_what_holds_it() -> None:
    """As text, for people."""
    shown = as_text(machine("{type: security}", more="  all: {type: data-privacy, every: true}"))

    assert "each state is held to: all" in shown
    assert "    held to: rule" in shown


def test_a_file_without_guardrails_is_stored_as_before() -> None:
    """No key more: the hashes of what is registered stay."""
    document = load_document("tests/motions/permit.yaml")

    assert b"guardrails" not in msgspec.json.encode(document.value)
