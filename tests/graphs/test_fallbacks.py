"""Fallbacks: retries first, then one after the other, each with attempts of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX, LARGE
from protocols.gates.gate import Gate, nobody_may
from protocols.graphs.text import as_text, plan
from protocols.headers import JSON
from protocols.mail import Start
from tests.graphs.orders import graph_of, steps
from tests.graphs.test_people import say, started
from tests.kernel.mailbox import DEFINITION, Mailbox, asks, events, paths

FILE = """\
name: leads
steps:
  search:
    service: scraper
    operation: search
    params: {place: Delft, limit: 100}
    retry: 2
    undo: forget
    fallbacks:
      - {service: other, retry: 2}
      - {params: {limit: 25}}
      - {skip: report, result: {brief: true}}
  report: {service: office, operation: report, needs: search}
  tell: {service: mail, operation: send, needs: search, params: "{{steps.search.result}}"}
"""
FIRST, OTHER = "/steps/search/scraper.search", "/steps/search/other.search"
AGAIN = "/steps/search/scraper.search#2"


def failing(box: Mailbox, path: str, times: int, kind: str = "failed") -> list[Any]:
    """Let the attempts of a call fail."""
    found: list[Any] = []
    for attempt in range(1, times + 1):
        box.pass_time(10)
        found = box.fail(path, kind, attempt=attempt)
    return found


def test_fallbacks_come_behind_all_retries_in_their_order() -> None:
    """Another service, then other params under the key of the step, then on without it."""
    box = started(graph_of(FILE))

    other = failing(box, FIRST, 2)
    less = failing(box, OTHER, 2)
    last = failing(box, AGAIN, 2)
    box.reply("/steps/tell/mail.send", "told")

    assert paths(other) == [OTHER]
    assert paths(less) == [AGAIN]
    assert msgspec.json.decode(asks(less)[0].body) == {"place": "Delft", "limit": 25}
    assert asks(less)[0].key == box.effects[1].key  # type: ignore[union-attr]
    assert paths(last) == ["/steps/tell/mail.send"]
    assert asks(last)[0].body == b'{"brief":true}'
    assert steps(box)["report"] == "skipped: a fallback of search"
    assert events(box.effects).count("fallback") == 3
    assert box.result == {"report": None, "tell": "told"}
    box.refold()


def test_the_first_that_helps_ends_it() -> None:
    """Its answer is the step's, and nothing is skipped."""
    box = started(graph_of(FILE))

    failing(box, FIRST, 2)
    said = box.reply(OTHER, [1])

    assert sorted(paths(said)) == ["/steps/report/office.report", "/steps/tell/mail.send"]
    assert "warning" not in events(box.effects)
    box.refold()


@pytest.mark.parametrize(("word", "path"), [("", AGAIN), (", unknown: switch", OTHER)])
def test_nobody_else_is_asked_when_the_work_may_have_been_done(word: str, path: str) -> None:
    """Unless the fallback says so; the same service has the key, and is asked again."""
    box = started(graph_of(FILE.replace("retry: 2}", "retry: 2" + word + "}")))

    box.pass_time(60)
    box.time_out(FIRST)
    box.pass_time(70)
    said = box.time_out(FIRST, attempt=2)

    assert paths(said) == [path]
    box.refold()


def test_a_kind_that_the_step_names_goes_its_own_way() -> None:
    """What a rule forbids is not tried elsewhere."""
    box = started(
        graph_of(FILE.replace("    undo:", "    on_error: {compliance: compensate}\n    undo:"))
    )

    box.fail(FIRST, "compliance", retryable=False)

    assert box.instance.status == "failed"
    assert "fallback" not in events(box.effects)


MANUAL = FILE.replace(
    "      - {skip: report, result: {brief: true}}\n", "      - gate: Who searches by hand?\n"
).replace("    undo: forget", "    deadline: 1h")
GATE = "/steps/search/gate.search"


@pytest.mark.parametrize("size", [70_000, 300_000])
@pytest.mark.parametrize("shown", ["values: {got: '{{input.leads}}'}", "text: '{{input.leads}}'"])
def test_a_person_is_asked_also_when_what_is_to_be_shown_is_too_large(
    shown: str, size: int
) -> None:
    """Who stands in for a service at night is there to help, not to be one more failure."""
    text = MANUAL.replace("gate: Who searches by hand?", f"gate: {{title: Who?, {shown}}}")
    box = Mailbox(GraphWorkflow(graph_of(text)))
    body = codec.encode({"leads": "x" * size}, limit=BLOB_BYTES_MAX)
    box.fold(
        Start(
            **box._stamp(),
            workflow="leads",
            body=body,
            content_type=JSON + LARGE,
            definition=DEFINITION,
            kernel=2,
        )
    )
    failing(box, FIRST, 2)
    failing(box, OTHER, 2)
    failing(box, AGAIN, 2)

    assert box.instance.blocked is None
    (state,) = box.instance.gates()
    assert state.gate.values is None
    assert state.gate.text == "search has failed: failed: no luck"
    say(box, "approve", state.path)
    box.refold()


def at_the_gate() -> Mailbox:
    """Return a run in which a person has to stand in."""
    box = started(graph_of(MANUAL))
    failing(box, FIRST, 2)
    failing(box, OTHER, 2)
    failing(box, AGAIN, 2)
    return box


def test_a_person_decides_outside_of_the_deadline() -> None:
    """What was done by hand counts; the gate says why it is asked."""
    box = at_the_gate()
    (state,) = box.instance.gates()
    box.pass_time(7 * 86_400)

    said = say(box, "approve", GATE)

    assert state.gate.title == "Who searches by hand?"
    assert state.gate.text == "search has failed: failed: no luck"
    assert state.gate.meaning("skip") == "the run goes on without its result"
    assert sorted(paths(said)) == ["/steps/report/office.report", "/steps/tell/mail.send"]
    box.refold()


@pytest.mark.parametrize(
    ("do", "asked", "status"),
    [
        ("retry", ["/steps/search/scraper.search#3"], "running"),
        ("skip", ["/steps/report/office.report", "/steps/tell/mail.send"], "running"),
        ("reject", [], "failed"),
    ],
)
def test_a_person_may_try_again_go_on_or_give_up(do: str, asked: list[str], status: str) -> None:
    """A retry has all attempts, and all fallbacks behind them."""
    box = at_the_gate()

    said = say(box, do, GATE)

    assert sorted(paths(said)) == asked
    assert box.instance.status == status
    box.refold()


def test_when_the_time_is_over_only_that_is_left_which_asks_no_service() -> None:
    """A person, or going on without."""
    box = started(graph_of(MANUAL))
    box.pass_time(3_600)

    said = box.fire("/steps/search/deadline")

    assert paths(said) == []
    assert [each.path for each in box.instance.gates()] == [GATE]
    box.refold()


WHOLE = """\
name: market
fallbacks:
  - {type: workflow-modification, modifications: {skipSteps: [report, print]}}
  - {type: manual-intervention, reason: Market analysis failed}
steps:
  collect: {service: web, operation: collect, retry: 1}
  report: {service: llm, operation: report, needs: collect, retry: 1}
  print: {service: office, operation: print, needs: report}
  save: {service: db, operation: save, needs: report}
  many: {service: db, operation: one, foreach: [1], needs: save, retry: 1}
"""


def test_a_graph_may_leave_steps_out_before_it_fails() -> None:
    """Those that it names; then come the steps behind them."""
    box = started(graph_of(WHOLE))
    box.reply("/steps/collect/web.collect")

    said = box.fail("/steps/report/llm.report", retryable=False)

    assert paths(said) == ["/steps/save/db.save"]
    assert steps(box)["report"].startswith("failed: failed")
    assert steps(box)["print"] == "skipped: a fallback of report"
    box.refold()


def test_a_person_is_asked_before_a_graph_fails() -> None:
    """For a step that cannot be left out; items are not done twice."""
    box = started(graph_of(WHOLE))

    box.fail("/steps/collect/web.collect", retryable=False)
    (state,) = box.instance.gates()
    said = say(box, "retry", state.path)
    box.reply("/steps/collect/web.collect#2")
    box.reply("/steps/report/llm.report")
    box.reply("/steps/print/office.print")
    box.reply("/steps/save/db.save")
    box.fail("/steps/many/items/0/db.one", retryable=False)
    (other,) = box.instance.gates()
    say(box, "skip", other.path)

    assert state.gate.title == "Market analysis failed"
    assert paths(said) == ["/steps/collect/web.collect#2"]
    assert other.gate.decisions == ("approve", "skip", "reject")
    assert box.instance.status == "completed"
    box.refold()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{service: other, retry: 2}", "{service: 'o o'}", "is no name of a service"),
        ("{service: other, retry: 2}", "{service: other, result: 1}", "does one thing"),
        ("skip: report", "skip: raport", "there is no step 'raport'"),
        ("{place: Delft, limit: 100}", "{place: '{{steps.tell.result}}'}", "does not wait for"),
        ("{params: {limit: 25}}", "{params: {limit: '{{input.x.}}'}}", "the name of a field is"),
        ("- {service: other, retry: 2}", "- {gate: Who?}", "nothing comes behind"),
        ("name: leads", "name: leads\nfallbacks: [{service: x}]", "asks nobody"),
        ("name: leads", "name: leads\nfallbacks: [{result: 1}]", "which steps can be left out"),
        ("skip: report, result: {brief: true}", "gate: {decisions: [reject]}", "no decision lets"),
    ],
)
def test_mistakes_in_fallbacks_are_told(old: str, new: str, message: str) -> None:
    """Before anything runs."""
    assert parse(FILE.encode()).problems == []

    problems = parse(FILE.replace(old, new).encode()).problems

    assert any(message in each.message for each in problems), problems


def test_fallbacks_are_part_of_texts_and_plans() -> None:
    """What they may take is counted."""
    graph = graph_of(FILE)
    (search,) = [each for each in plan(graph).steps if each.name == "search"]

    assert "else: other, then with other limit, then without it, skip report" in as_text(graph)
    assert search.worst_s > 6 * 60


@pytest.mark.parametrize(
    ("word", "asked", "status"),
    [("retry", ["/steps/search/scraper.search#3"], "running"), ("halt", [], "failed")],
)
def test_a_gate_whose_people_nobody_can_name_is_left_to_operators(
    word: str, asked: list[str], status: str
) -> None:
    """It could never be decided: the step is halted, and a signal ends that."""
    who = "{title: Who?, approvers: ['{{steps.first.result.boss}}']}"
    text = MANUAL.replace("gate: Who searches by hand?", f"gate: {who}")
    text = text.replace("  search:\n", "  first: {service: hr, operation: ask}\n  search:\n", 1)
    text = text.replace("operation: search\n", "operation: search\n    needs: first\n", 1)
    box = started(graph_of(text))
    box.reply("/steps/first/hr.ask", {})
    failing(box, FIRST, 2)
    failing(box, OTHER, 2)
    failing(box, AGAIN, 2)
    gates, shown = box.instance.gates(), steps(box)["search"]

    said = box.signal("resume.search", word)

    assert gates == []
    assert shown == "halted, signal resume.search: nobody may decide"
    assert paths(said) == asked
    assert box.instance.status == status
    box.refold()


def test_a_gate_whose_people_nobody_can_name_ends_when_its_time_is_over() -> None:
    """Where the gate itself says what comes then, that is what comes."""
    unnamed = Gate(title="Who?", approvers=("{{steps.first.result.boss}}",))

    assert nobody_may(unnamed)
    assert not nobody_may(msgspec.structs.replace(unnamed, expires=60.0))
    assert not nobody_may(msgspec.structs.replace(unnamed, roles=("boss",)))
    assert not nobody_may(msgspec.structs.replace(unnamed, approvers=("ann", "{{x}}")))
