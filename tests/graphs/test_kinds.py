"""Steps that ask no service: they sleep, wait for signals, run children, set facts."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.files.definitions import parse
from protocols.effects import Arm, CancelChild, Spawn, UndoChild, Waiting
from protocols.failure import Failure
from protocols.gates.gate import Choice
from protocols.gates.words import GateWord
from protocols.graphs.graph import KINDS, Graph
from protocols.graphs.text import as_mermaid, as_text, plan, plan_text
from protocols.mail import Decided
from tests.graphs.orders import graph_of, running, steps, told
from tests.kernel.mailbox import BEGIN, SECOND, Mailbox, asks, paths

DAY = 86_400

TRIP = """
name: trip
timeout: 30d
steps:
  cool: {sleep: 2h}
  paid: {signal: paid, needs: cool, timeout: 3d, on_error: {timeout: continue}}
  legs: {child: leg, needs: cool, foreach: "{{input.legs}}", params: "{{item}}", undo: true}
  sum: {set: {legs: "{{steps.legs.result}}", paid: "{{steps.paid.result ?? 'no'}}"},
        needs: [paid, legs]}
  rest: {sleep: {until: "{{input.due}}"}, needs: sum}
outputs: "{{steps.sum.result}}"
"""
DUE = "2027-02-01T08:00:00+01:00"


def box_of(text: str, value: Any = None) -> Mailbox:
    """Return a started run of a graph."""
    box = running(graph_of(text))
    box.start(value)
    return box


def step_of(line: str, more: str = "") -> str:
    """Return a graph of one step, and whatever else."""
    return f"name: small\nsteps:\n  a: {line}\n{more}"


def slept(value: Any = None) -> Mailbox:
    """Return a trip whose first sleep is over."""
    box = box_of(TRIP, value or {"legs": ["x", "y"], "due": DUE})
    box.pass_time(7200)
    box.fire("/steps/cool/sleep")
    return box


def test_all_kinds_of_steps_in_one_run() -> None:
    """Time passes, a signal comes, children end, facts are shown, and a moment comes."""
    box = slept()
    asleep = steps(box)
    box.signal("paid", {"by": "card"})
    box.end_child("/steps/legs/items/1/leg", "Y")
    halfway = steps(box)
    box.end_child("/steps/legs/items/0/leg", "X")
    resting = steps(box)["rest"]
    (due,) = [each.due for each in box.effects if isinstance(each, Arm) and "rest" in each.name]
    box.at = due
    box.fire("/steps/rest/sleep")

    spawned = [each for each in box.effects if isinstance(each, Spawn)]
    assert [(each.workflow, each.body, each.parent.path) for each in spawned] == [
        ("leg", b'"x"', "/steps/legs/items/0/leg"),
        ("leg", b'"y"', "/steps/legs/items/1/leg"),
    ]
    assert len({each.child for each in spawned}) == 2
    assert asleep == {"cool": "done", "paid": "waits for signal paid", "legs": "running"}
    assert halfway == {"cool": "done", "paid": "done", "legs": "1 of 2"}
    assert resting == f"sleeps until {DUE}"
    assert due == 1_801_465_200 * SECOND
    assert box.result == {"legs": ["X", "Y"], "paid": {"by": "card"}}
    assert box.instance.state["legs"] == ["X", "Y"]
    assert asks(box.effects) == []
    box.refold()


def test_a_signal_from_before_its_step_is_kept() -> None:
    """Also one from before the start."""
    box = running(graph_of(TRIP))
    box.signal("paid", 7)
    box.start({"legs": [], "due": "2020-01-01T00:00:00Z"})
    box.pass_time(7200)
    box.fire("/steps/cool/sleep")

    assert box.result == {"legs": [], "paid": 7}


def test_a_signal_that_does_not_come_is_a_timeout() -> None:
    """Here the run goes on without it, as its directive says."""
    box = slept({"legs": [], "due": "2020-01-01T00:00:00Z"})
    box.pass_time(3 * DAY)
    box.fire("/steps/paid/timeout")

    assert box.result == {"legs": [], "paid": "no"}
    assert steps(box)["paid"] == "failed: timeout: no signal paid within 3d"
    assert told(box.effects, "directive")[0]["directive"] == "continue"
    box.refold()


@pytest.mark.parametrize("word", ["", "compensate"])
def test_without_a_directive_a_missing_signal_fails_the_run(word: str) -> None:
    """And what was done before is undone."""
    on_error = f", on_error: {word}" if word else ""
    box = box_of(f"""
        name: small
        steps:
          a: {{service: s, operation: a, undo: away}}
          b: {{signal: go, needs: a, timeout: 1h{on_error}}}
    """)
    box.reply("/steps/a/s.a")
    box.pass_time(3600)
    (undo,) = asks(box.fire("/steps/b/timeout"))
    box.reply(undo.path)

    assert undo.operation == "away"
    assert box.instance.status == "compensated"
    assert box.instance.failure
    assert box.instance.failure.kind == "timeout"
    box.refold()


def test_a_missing_signal_may_halt_and_be_waited_for_again() -> None:
    """Or an operator gives the data himself."""
    text = step_of("{signal: go, timeout: 1h, on_error: halt_and_alert}")
    boxes = [box_of(text) for _ in range(2)]
    for box in boxes:
        box.pass_time(3600)
        box.fire("/steps/a/timeout")
    shown = steps(boxes[0])["a"]
    boxes[0].signal("resume.a")
    boxes[0].signal("go", "late")
    boxes[1].signal("resume.a", {"result": "by hand"})

    assert shown == "halted, signal resume.a: timeout: no signal go within 1h"
    assert [box.result for box in boxes] == [{"a": "late"}, {"a": "by hand"}]
    for box in boxes:
        box.refold()


def test_items_may_wait_for_signals_of_their_own() -> None:
    """The name is made of the item; their data come in the order of the list."""
    box = box_of(step_of("{signal: 'done.{{item}}', foreach: [x, y]}"))
    box.signal("done.y", 2)
    box.signal("done.x", 1)

    assert box.result == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("line", "value", "message"),
    [
        ("{sleep: '{{input}}'}", 0, "sleep is 0: there is nothing to wait for"),
        ("{sleep: '{{input}}'}", "soon", "sleep 'soon' is not understood"),
        ("{sleep: '{{input}}'}", True, "sleep is no duration"),
        ("{sleep: {until: '{{input}}'}}", "2030-01-01", "until is no moment with a zone"),
        ("{sleep: {until: '{{input}}'}}", 7, "until is no moment with a zone"),
        ("{sleep: {until: '{{input}}'}}", "2200-01-01T00:00:00Z", "until is more than 100 years"),
        ("{signal: '{{input}}'}", "a b", "signal name 'a b' is not valid"),
        ("{signal: '{{input}}'}", 7, "a signal has a name"),
        ("{signal: '{{input}}'}", "resume.a", "a signal has a name, and none that begins with"),
        ("{set: {x: '{{input.y}}'}}", {}, "input has no field 'y'"),
    ],
)
def test_what_cannot_be_waited_for_fails_the_step(line: str, value: Any, message: str) -> None:
    """With the kind validation; one that is not critical leaves a warning."""
    failed = box_of(step_of(line), value)
    warned = box_of(step_of(line[:-1] + ", critical: false}"), value)

    assert failed.instance.failure
    assert failed.instance.failure.kind == "validation"
    assert message in failed.instance.failure.message
    assert warned.result == {"a": None}
    assert told(warned.effects, "warning")[0]["error"]["kind"] == "validation"
    failed.refold()


def test_a_sleep_may_be_as_long_as_the_input_says() -> None:
    """In seconds or as text."""
    for value, due_s in ((90, 90), ("1h30m", 5400)):
        box = box_of(step_of("{sleep: '{{input}}'}"), value)

        assert [each.due for each in box.effects if isinstance(each, Arm)] == [
            BEGIN + due_s * SECOND
        ]


CHILD = """
    name: small
    steps:
      a: {{child: other, undo: true, timeout: 1h{more}}}
      b: {{service: s, operation: b, needs: a}}
"""
BROKEN = Failure(kind="too_large", message="no room")


def test_a_child_is_undone_with_the_run() -> None:
    """Its own steps know how; this graph only asks for it."""
    box = box_of(CHILD.format(more=""))
    box.end_child("/steps/a/other", 1)
    effects = box.fail("/steps/b/s.b", "refused", retryable=False)

    (undo,) = [each for each in effects if isinstance(each, UndoChild)]
    (spawn,) = [each for each in box.effects if isinstance(each, Spawn)]
    assert undo.child == spawn.child
    box.refold()


def test_a_child_that_fails_fails_its_step_with_its_kind() -> None:
    """A directive for the kind is followed, as for a service."""
    plain = box_of(CHILD.format(more=""))
    plain.end_child("/steps/a/other", status="failed", failure=BROKEN)
    text = CHILD.format(more=", on_error: {too_large: continue}").replace(
        "name: small", "name: small\n    kinds: [too_large]"
    )
    going_on = box_of(text)
    effects = going_on.end_child("/steps/a/other", status="failed", failure=BROKEN)

    assert plain.instance.failure
    assert plain.instance.failure.kind == "too_large"
    assert paths(effects) == ["/steps/b/s.b"]
    going_on.refold()


def test_a_child_that_takes_too_long_is_cancelled() -> None:
    """And nothing is undone before it has ended."""
    box = box_of(CHILD.format(more=""))
    box.pass_time(3600)
    effects = box.fire("/steps/a/timeout")
    waits = box.instance.status
    box.end_child("/steps/a/other", status="cancelled")

    assert [type(each) for each in effects if isinstance(each, CancelChild)] == [CancelChild]
    assert waits != "failed"
    assert box.instance.failure
    assert box.instance.failure.kind == "timeout"
    assert box.instance.failure.message.endswith("child other has not ended within 1h")
    box.refold()


def test_directives_of_services_pass_other_kinds_by() -> None:
    """What the defaults say of them leads to what comes behind, or to the end of the step."""
    box = box_of("""
        name: small
        defaults:
          on_error:
            timeout: {do: fallback, services: [t], unknown: switch}
            any: {do: fallback, services: [t], then: continue}
        steps:
          a: {signal: go, timeout: 1h, critical: false}
          b: {child: other}
    """)
    box.pass_time(3600)
    box.fire("/steps/a/timeout")
    box.end_child("/steps/b/other", status="failed", failure=BROKEN)

    assert asks(box.effects) == []
    assert box.result == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("line", "column", "message", "hint"),
    [
        ("{}", 3, "a does nothing", "write one of 'service', 'sleep', 'signal', 'child', 'set'"),
        ("{sleep: 1h, signal: x}", 18, "'signal' stands beside 'sleep'", "make two steps of it"),
        ("{service: s, operation: o, set: {x: 1}}", 33, "'set' stands beside 'service'", "make"),
        ("{sleep: 0}", 14, "sleep is 0", ""),
        ("{sleep: 2x}", 14, "sleep '2x' is not understood", ""),
        ("{sleep: {until: soon}}", 22, "until is no moment with a zone", ""),
        ("{sleep: {duration: 1h, until: x}}", 14, "sleep takes either a duration or 'un", ""),
        ("{sleep: '{{inptu.x}}'}", 17, "nothing here is called 'inptu'", "did you mean 'input'?"),
        ("{sleep: {until: '{{inptu}}'}}", 25, "nothing here is called 'inptu'", "did you"),
        ("{sleep: 1h, foreach: [1]}", 18, "a step with 'sleep' takes no 'foreach'", "it belon"),
        ("{sleep: 1h, undo: x}", 18, "a step with 'sleep' takes no 'undo'", "it belongs to"),
        ("{sleep: 1h, timeout: 2h}", 18, "a step with 'sleep' takes no 'timeout'", "it takes"),
        ("{set: {x: 1}, on_error: continue}", 20, "a step with 'set' takes no 'on_error'", ""),
        ("{set: {}}", 7, "0 facts", "1 to 100"),
        ("{set: {steps.a: 1}}", 13, "'steps.a': facts that begin with 'steps.'", "choose"),
        ("{set: {x: '{{item}}'}}", 19, "nothing here is called 'item'", "item is known in"),
        ("{signal: x, params: 1}", 18, "a step with 'signal' takes no 'params'", "it belongs"),
        ("{signal: x, deadline: 1h}", 18, "a step with 'signal' takes no 'deadline'", "write"),
        ("{signal: x, idempotent: false}", 18, "a step with 'signal' takes no 'idem", "it be"),
        ("{signal: x, operation: y}", 18, "a step with 'signal' takes no 'operation'", "it b"),
        ("{signal: a b}", 15, "'a b' is no name of a signal", "letters"),
        ("{signal: resume.b}", 15, "resume.* are the signals of halted steps", "choose"),
        ("{signal: x, on_error: {timeout: retry}}", 38, "retry is nothing that a step with", "on"),
        ("{child: x, retry: 3}", 17, "a step with 'child' takes no 'retry'", "the steps of"),
        (
            "{child: x, undo: y}",
            23,
            "a child is undone by the undos of its own steps",
            "write 'und",
        ),
        ("{child: a b}", 14, "'a b' is no name of a workflow", ""),
        ("{service: s, operation: o, undo: true}", 39, "a service has no undo of itself", "write"),
    ],
)
def test_a_key_that_would_mean_nothing_is_refused_at_its_place(
    line: str, column: int, message: str, hint: str
) -> None:
    """Nothing that somebody has written is ignored."""
    document = parse(step_of(line).encode())

    (problem,) = document.problems

    assert (problem.line, problem.column) == (3, column), problem
    assert problem.message.startswith(message)
    assert problem.hint.startswith(hint)
    assert "^" in document.excerpt(problem)


@pytest.mark.parametrize(
    ("line", "column"), [("{signal: x, timeout: 2h}", 27), ("{sleep: 2h}", 14)]
)
def test_a_wait_that_the_run_has_no_time_for_is_refused(line: str, column: int) -> None:
    """As for a call of a service."""
    (problem,) = parse(step_of(line, "timeout: 1h\n").encode()).problems

    assert (problem.line, problem.column, problem.severity) == (3, column, "error")
    assert "may take 2h, but the whole run only 1h" in problem.message


def test_plans_and_pictures_tell_what_each_step_does() -> None:
    """With what bounds its wait, and what does not."""
    graph = graph_of(TRIP)
    found = plan(graph)

    assert "  paid  signal paid; up to 3d\n" in plan_text(found)
    assert (
        "  legs  child leg; for each of {{input.legs}}; nobody can tell how long; undone by the"
        in (plan_text(found))
    )
    assert (found.worst_s, found.longest) == (3 * DAY + 7200, ("cool", "paid"))
    assert found.no_undo == ()
    assert "not counted, for nobody can tell how long they wait: legs, rest\n" in plan_text(found)
    assert "paid  signal paid\n    after cool\n    within 3d\n" in as_text(graph)
    assert "rest  sleep until {{input.due}}\n" in as_text(graph)
    assert '    s0(["cool<br/>sleep 2h"])\n    s1{{"paid<br/>signal paid"}}\n' in as_mermaid(graph)
    assert msgspec.json.decode(msgspec.json.encode(graph), type=Graph) == graph


def test_the_schema_wants_one_kind_of_each_step() -> None:
    """So an editor tells what the reader would tell."""
    schema = msgspec.json.schema(Graph)
    whole = {"name": "x", "steps": {"a": {"sleep": "2h"}, "b": {"signal": "go", "needs": "a"}}}
    jsonschema.validate(whole, schema)

    for wrong in ({"needs": "b"}, {"sleep": "2h", "signal": "go"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**whole, "steps": {"a": wrong}}, schema)


LINES = {
    "service": "service: s, operation: o",
    "sleep": "sleep: 1h",
    "signal": "signal: go, timeout: 2h",
    "child": "child: other",
    "set": "set: {x: 1}",
    "gate": "gate: {expires: 3h, decisions: [approve, reject, skip, cancel]}",
}


def answer(box: Mailbox, each: Waiting, data: Any) -> None:
    """Let what a run waits for come about, well or not."""
    well = data.draw(st.booleans())
    if each.kind == "step":
        box.reply(each.path) if well else box.fail(each.path, "refused", retryable=False)
    elif each.kind == "child":
        box.end_child(each.path, status="completed" if well else "failed")
    elif each.kind == "signal":
        box.signal("go", 1)
    elif each.kind == "gate" and well:
        choices: list[Choice] = ["approve", "reject", "skip", "cancel"]
        word = GateWord(gate=each.path, do=data.draw(st.sampled_from(choices)))
        box.fold(Decided(**box._stamp(), word=word))
    else:
        box.at = max(box.at, each.due)
        box.fire(each.path)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_comes_in_whatever_order_a_run_ends_and_folds_again(data: Any) -> None:
    """Steps of all kinds in any order, answered in any order, some of them with failures."""
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    lines = []
    for number, kind in enumerate(kinds):
        needs = data.draw(st.sets(st.integers(0, number - 1), max_size=2)) if number else ()
        told_needs = ", ".join(f"s{each}" for each in sorted(needs))
        critical = str(data.draw(st.booleans())).lower()
        lines.append(
            f"  s{number}: {{{LINES[kind]}, needs: [{told_needs}], critical: {critical}}}"
        )
    box = box_of("name: any\nsteps:\n" + "\n".join(lines))
    for _ in range(40):
        waiting = box.instance.waiting()
        if box.instance.status != "running" or not waiting:
            break
        answer(box, data.draw(st.sampled_from(waiting)), data)

    ends = {"completed", "failed"} | ({"cancelled"} if "gate" in kinds else set())
    assert box.instance.status in ends, box.instance.blocked
    ended = steps(box)
    for number, kind in enumerate(kinds):
        if "gate" in kinds:  # what needs one may be left out
            break
        if box.instance.status == "completed" and kind in {"sleep", "set"}:
            assert ended[f"s{number}"] == "done"
    box.refold()
