"""Guardrails of graphs: what each type finds, what each severity leads to, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols import codec
from protocols.errors import ConfigurationError
from protocols.gates.words import GateWord
from protocols.graphs.graph import Graph
from protocols.mail import Decided, Start
from protocols.witness import Operator
from tests.graphs.orders import graph_of, running, steps, told
from tests.kernel.mailbox import DEFINITION, Mailbox, events, finish, paths

ASK, NEXT = "/steps/ask/web.ask", "/steps/next/web.next"
SAGA = "/steps/ask/guarded/web.ask"


def guarded(rule: str, step: str = "", more: str = "") -> Graph:
    """Return a graph whose first step is held to a rule."""
    return graph_of(f"""
        name: search
        input: {{who: {{type: string, optional: true}}, note: {{type: any, optional: true}}}}
        guardrails:
          rule: {rule}
        {more}
        steps:
          ask:
            service: web
            operation: ask
            params: {{note: "{{{{input.note}}}}"}}
            guardrails: rule
            {step}
          next: {{service: web, operation: next, needs: ask}}
    """)


def run(graph: Graph, note: Any = None, **given: Any) -> Mailbox:
    """Return a run that was started."""
    box = running(graph)
    box.start({"note": note, **given})
    return box


def say(box: Mailbox, do: str, gate: str = "/steps/ask/gate.ask", who: str = "ann") -> list[Any]:
    """Let a person decide at a gate."""
    word = msgspec.convert({"gate": gate, "do": do}, GateWord)
    return box.fold(Decided(**box._stamp(), word=word, by=Operator(who=who)))


def violations(box: Mailbox) -> list[dict[str, Any]]:
    """Return what was published of violations."""
    return told(box.effects, "guardrail_violated")


def test_a_critical_rule_blocks_a_step_before_it_is_asked_for() -> None:
    """The run fails, nothing was sent, and nothing that is told holds the value."""
    box = run(guarded("{type: data-privacy}"), {"text": "card 4111 1111 1111 1111"})

    assert paths(box.effects) == []
    assert finish(box.effects).status == "failed"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "compliance"
    (violation,) = violations(box)
    assert violation["action"] == "block"
    assert violation["reason"] == "card at note.text"
    assert violation["confidence"] == 1.0
    shown = box.instance.state["guardrails"]
    assert shown == ["block before /steps/ask: rule (critical): card at note.text"]
    assert "4111" not in msgspec.json.encode(msgspec.to_builtins(box.instance.state)).decode()
    box.refold()


def test_a_rule_that_holds_changes_nothing() -> None:
    """The step is asked for under the path that it has without rules."""
    box = run(guarded("{type: data-privacy}"), "nothing private")
    box.reply(ASK, {"found": 1})
    box.reply(NEXT, 2)

    assert box.result == {"next": 2}
    assert violations(box) == []
    box.refold()


@pytest.mark.parametrize(("severity", "action"), [("medium", "warn"), ("low", "inform")])
def test_lesser_severities_are_told_and_go_on(severity: str, action: str) -> None:
    """After the step as well: what it gave is its result."""
    box = run(guarded(f"{{type: security, severity: {severity}}}"), "password: hunter22")
    box.reply(ASK, {"api_key": "sk-123"})

    assert paths(box.effects) == [ASK, NEXT]
    assert [each["action"] for each in violations(box)] == [action, action]
    assert [each["when"] for each in violations(box)] == ["before", "after"]
    box.refold()


@pytest.mark.parametrize("do", ["approve", "reject"])
def test_high_asks_a_person_outside_of_the_deadline(do: str) -> None:
    """An approval does the step, once; a rejection fails it."""
    rule = "{type: compliance, deny: 'params.note == 1', severity: high, roles: [legal]}"
    box = run(guarded(rule, "deadline: 1h"), 1)

    (state,) = box.instance.gates()
    assert state.gate.title == "ask: guardrail rule (high): params.note == 1 is true"
    assert state.gate.roles == ("legal",)
    assert paths(box.effects) == []
    assert steps(box)["ask"].startswith("waits for a decision")
    word = msgspec.convert({"gate": state.path, "do": do, "role": "legal"}, GateWord)
    box.pass_time(3 * 3600)
    box.fold(Decided(**box._stamp(), word=word, by=Operator(who="ann")))

    if do == "approve":
        assert paths(box.effects) == [ASK]
        box.reply(ASK)
        assert len(violations(box)) == 1
    else:
        assert finish(box.effects).status == "failed"
        assert box.instance.failure is not None
        assert box.instance.failure.kind == "rejected"
    box.refold()


def test_what_is_blocked_after_the_step_is_undone() -> None:
    """Its effect exists: the undo runs at once, and gets what the step gave."""
    graph = guarded("{type: data-privacy, find: email, at: after}", "undo: forget")
    box = run(graph)
    found = box.reply(SAGA, {"mail": "ann@example.org"})

    assert paths(found) == [f"{SAGA}/undo"]
    ended = box.reply(f"{SAGA}/undo")
    assert finish(ended).status == "compensated"
    assert paths(box.effects) == [SAGA, f"{SAGA}/undo"]
    box.refold()


def test_what_holds_after_the_step_is_undone_with_the_run_and_not_before() -> None:
    """The saga around a guarded step hands its undo on when all is well."""
    graph = guarded("{type: data-privacy, find: email, at: after}", "undo: forget")
    box = run(graph)

    assert paths(box.reply(SAGA, {"mail": "none"})) == [NEXT]
    assert paths(box.fail(NEXT, retryable=False)) == [f"{SAGA}/undo"]
    box.refold()


def test_a_person_may_let_a_result_pass() -> None:
    """The gate waits inside of the step; the service is not asked again."""
    graph = guarded("{type: data-privacy, find: email, at: after, severity: high}", "undo: x")
    box = run(graph)
    box.reply(SAGA, "ann@example.org")
    found = say(box, "approve", "/steps/ask/guarded/gate.ask")

    assert paths(found) == [NEXT]
    box.refold()


def test_a_result_that_is_not_valid_is_asked_for_again_under_another_key() -> None:
    """As often as the retry says; the kind is one of its own."""
    rule = "{type: output, result: {type: object, fields: {total: {type: integer, min: 1}}}}"
    box = run(guarded(rule, "retry: 2"))
    box.reply(ASK, {"total": 0})
    first = paths(box.effects)
    (wait,) = [each for each in box.instance.waiting() if each.kind == "timer"]
    box.pass_time(5)
    box.fire(wait.path)
    again = f"{ASK}#2"

    assert first == [ASK]
    assert paths(box.effects) == [ASK, again]
    keys = {each.key for each in box.effects if hasattr(each, "key")}
    assert len(keys) == 2
    box.reply(again, {"total": "x"})
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "invalid_output"
    assert "result.total" in box.instance.failure.message
    box.refold()


def test_conditions_of_a_result_may_look_at_what_is_not_there() -> None:
    """For an output that is a result that is not valid, for every other rule a broken rule."""
    output = run(guarded("{type: output, require: 'result.total > 0'}", "retry: 1"))
    output.reply(ASK, {})
    broken = run(guarded("{type: compliance, require: 'result.total > 0', severity: low}"))
    broken.reply(ASK, {})

    assert output.instance.failure is not None
    assert output.instance.failure.kind == "invalid_output"
    assert broken.instance.failure is not None
    assert broken.instance.failure.kind == "compliance"
    assert violations(broken)[0]["broken"] is True


def test_a_directive_follows_a_violation_as_any_failure() -> None:
    """Another service may be asked, and is held to the same rules."""
    rule = "{type: allowlist, allow: {hosts: [example.org]}}"
    step = "on_error: {compliance: {do: continue}}"
    box = run(guarded(rule, step), {"url": "https://evil.example/x"})

    assert paths(box.effects) == [NEXT]
    assert steps(box)["ask"].startswith("failed: compliance")
    assert run(guarded(rule), {"url": "https://user@EXAMPLE.org:8/x"}).instance.failure is None
    box.refold()


def test_rules_for_every_step_hold_for_those_that_name_none() -> None:
    """Each item of a list is looked at by itself."""
    box = running(
        graph_of("""
            name: many
            input: {notes: array}
            guardrails: {clean: {type: security, every: true}}
            steps:
              each:
                {service: s, operation: one, foreach: "{{input.notes}}", params: "{{item}}",
                 critical: false}
        """)
    )
    box.start({"notes": ["fine", "password: hunter22", "good"]})
    box.reply("/steps/each/items/0/s.one")
    box.reply("/steps/each/items/2/s.one")

    assert paths(box.effects) == ["/steps/each/items/0/s.one", "/steps/each/items/2/s.one"]
    assert violations(box)[0]["step"] == "/steps/each/items/1"
    box.refold()


def test_costs_and_times_are_bounded_step_by_step() -> None:
    """By what the result says that it has used, and by the time of the mailbox."""
    cost = run(guarded("{type: cost, max_tokens: 10, severity: medium}"))
    cost.reply(ASK, {"usage": {"prompt_tokens": 8, "completion_tokens": 5}})
    slow = run(guarded("{type: performance, max_time: 2s, max_bytes: 5, severity: low}"))
    slow.pass_time(3)
    slow.reply(ASK, "long text")

    assert [each["reason"] for each in violations(cost)] == ["it used 13 tokens, at most 10"]
    assert [each["reason"] for each in violations(slow)] == [
        "it took 3 s, at most 2s",
        "the result has 11 bytes, at most 5",
    ]


def test_calls_of_a_run_are_counted() -> None:
    """All items of a list count toward one limit."""
    box = running(
        graph_of("""
            name: many
            guardrails: {few: {type: rate-limit, max_calls: 2}}
            steps:
              each:
                {service: s, operation: o, foreach: [1, 2, 3], guardrails: few, critical: false}
        """)
    )
    box.start({})

    assert len(paths(box.effects)) == 2
    assert violations(box)[0]["reason"] == "2 calls of this run are made, the limit"
    box.refold()


def test_what_a_rule_names_is_counted_in_place_of_calls() -> None:
    """Items of a list or a number; a call for which there is none counts for nothing."""
    rule = "{type: rate-limit, max_calls: 3, count: '{{params.note ?? 0}}'}"
    shared = "{type: rate-limit, max_calls: 3, window: 1d, count: '{{params.note ?? 0}}'}"
    asked = run(guarded(shared), ["a", "b"])
    free, odd = run(guarded(shared), None), run(guarded(shared), "many")
    over, just = run(guarded(rule), ["a", "b", "c", "d"]), run(guarded(rule), 3)

    (use,) = [each for each in asked.effects if getattr(each, "service", "") == "movant-budgets"]
    assert msgspec.json.decode(use.body)["wanted"] == {"calls": 2.0}  # type: ignore[union-attr]
    assert paths(free.effects) == paths(just.effects) == [ASK]
    assert violations(over)[0]["reason"] == "0 and 4 more of at most 3"
    assert violations(odd)[0]["reason"] == "it cannot be evaluated: str is nothing to count"
    over.refold()


def test_a_limit_that_all_runs_share_is_asked_for_as_a_step() -> None:
    """Its verdict is a message of the run; without one the step is blocked."""
    rule = "{type: rate-limit, max_calls: 25, window: 1d, key: '{{input.who}}'}"
    verdict = "/steps/ask/guardrail.rule"
    box = run(guarded(rule), who="acme")
    request = next(each for each in box.effects if getattr(each, "path", "") == verdict)
    granted = box.reply(verdict, {"granted": True})
    refused = run(guarded(rule), who="acme")
    refused.reply(verdict, {"granted": False, "why": "25 of 25 calls are used or reserved"})
    silent = run(guarded(rule), who="acme")
    silent.reply(verdict, "yes")

    assert request.service == "movant-budgets"  # type: ignore[union-attr]
    assert msgspec.json.decode(request.body)["key"] == "acme"  # type: ignore[union-attr]
    assert paths(granted) == [ASK]
    assert violations(refused)[0]["reason"] == "25 of 25 calls are used or reserved in 1d"
    assert silent.instance.status == "failed"
    refused.refold()


def test_a_function_answers_as_a_step_and_whatever_is_no_clear_yes_blocks() -> None:
    """Its answer is recorded; it is not run again by a fold."""

    def check(facts: Any) -> Any:
        raise AssertionError(facts)  # the tests answer in its place

    graph = guarded("{type: python, function: 'rules:check', severity: low}")
    path = "/steps/ask/guardrail.rule"
    said: dict[str, Any] = {}
    for answer in (True, {"compliant": False, "reason": "no"}, "yes", None):
        box = Mailbox(GraphWorkflow(graph, functions={"rules:check": check}))
        box.start({"note": 1})
        box.reply(path, answer)
        said[str(answer)] = (paths(box.effects)[1:], [each["action"] for each in violations(box)])
        box.refold()
    late = Mailbox(GraphWorkflow(graph, functions={"rules:check": check}))
    late.start({"note": 1})
    late.pass_time(6)
    late.time_out(path)

    assert [*said.values()] == [([ASK], []), ([ASK], ["inform"]), ([], ["block"]), ([], ["block"])]
    assert late.instance.status == "failed"
    assert "cannot be evaluated: timeout" in violations(late)[0]["reason"]


WRONG = [
    ("{type: data-privacy, find: [ssm]}", "did you mean 'ssn'?"),
    ("{type: data-privcy}", "did you mean 'data-privacy'?"),
    ("{type: cost}", "bounds nothing"),
    ("{type: cost, max_cost: 1, find: [ssn]}", "takes no 'find'"),
    ("{type: compliance, require: 'parms.x > 1'}", "did you mean 'params'?"),
    ("{type: compliance, require: 'params.x >'}", "something is missing"),
    ("{type: compliance, deny: 'steps.akk.result == 1'}", "did you mean 'ask'?"),
    ("{type: python, function: rules}", "is no function"),
    ("{type: rate-limit, max_calls: 1, key: '{{input.who}}'}", "write 'window: 1d'"),
    ("{type: compliance, deny: 'params.x', roles: [a]}", "write 'high'"),
    ("{type: allowlist, allow: {services: [wob]}}", "did you mean 'wob'?"),
]


@pytest.mark.parametrize(("rule", "text"), WRONG)
def test_what_is_wrong_with_a_rule_is_told_at_its_place(rule: str, text: str) -> None:
    """With advice, before anything is deployed."""
    source = f"""
name: search
guardrails:
  rule: {rule}
steps:
  ask: {{service: web, operation: ask, guardrails: rule}}
"""
    problems = parse(source.encode()).problems

    assert any(text in f"{each.message} {each.hint}" for each in problems), problems
    assert all(each.line in {4, 6} for each in problems)


def test_a_name_that_nobody_defines_is_a_warning_in_a_file_and_refused_at_load() -> None:
    """It may be a shared one, which the daemon puts in; a near miss is a mistake at once."""
    text = (
        "name: a\nguardrails: {no-pii: {type: security}}\n"
        "steps:\n  b: {service: s, operation: o, guardrails: %s}\n"
    )
    near = parse((text % "no-pie").encode())
    far = parse((text % "fair-housing").encode())

    assert [(each.severity, each.line, each.hint) for each in near.problems] == [
        ("error", 4, "did you mean 'no-pii'?")
    ]
    assert [each.severity for each in far.problems] == ["warning"]
    assert isinstance(far.value, Graph)
    with pytest.raises(ConfigurationError, match="no guardrail 'fair-housing'"):
        GraphWorkflow(far.value)


def test_a_run_publishes_no_event_of_rules_that_hold() -> None:
    """What a graph without guardrails does is what it did before there were any."""
    box = running(graph_of("name: a\nsteps:\n  b: {service: s, operation: o}\n"))
    box.start({})

    assert events(box.effects) == ["started"]
    assert "guardrails" not in box.instance.state


def test_what_a_fallback_asks_is_held_to_the_same_rules() -> None:
    """Other params are looked at, and another service has to be allowed as well."""
    step = (
        "retry: 1\n            fallbacks: [{service: other, params: {note: 'password: hunter22'}}]"
    )
    box = run(guarded("{type: security}", step))
    box.fail(ASK)
    free = run(guarded("{type: security, at: after}", step))
    free.fail(ASK)
    free.reply("/steps/ask/other.ask", {"api_key": "sk-1"})

    assert paths(box.effects) == [ASK]
    assert violations(box)[0]["reason"] == "password at note"
    assert paths(free.effects) == [ASK, "/steps/ask/other.ask"]
    assert violations(free)[0]["when"] == "after"
    box.refold()
    free.refold()


def test_the_profile_of_a_run_chooses_what_it_may_ask() -> None:
    """A profile that the rule does not name has what all others have."""
    rule = "{type: allowlist, allow: {services: [other]}, profiles: {dev: {services: [web]}}}"
    graph = guarded(rule, "", "profiles: {dev: {}, production: {}}")
    found = {}
    for profile in ("dev", "production"):
        box = found[profile] = running(graph)
        body = codec.encode({"note": 1})
        box.fold(
            Start(
                **box._stamp(),
                workflow=box.code.name,
                body=body,
                definition=DEFINITION,
                profile=profile,
            )
        )

    assert paths(found["dev"].effects) == [ASK]
    assert paths(found["production"].effects) == []
    assert violations(found["production"])[0]["reason"] == "service web is not allowed"
