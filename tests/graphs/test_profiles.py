"""Profiles, limits, and what a graph returns: checked when it is loaded, and when it runs."""

from __future__ import annotations

import pytest

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from protocols.errors import InvalidInputError
from protocols.graphs.text import as_text
from protocols.mail import Start
from tests.graphs.orders import graph_of
from tests.kernel.mailbox import Mailbox, paths

FILE = """\
name: payment
input: {amount: number, who: {type: string, optional: true}, limit: {type: integer, default: 3}}
returns: {paid: number, note: {type: string, optional: true}}
limits: {max_active: 2, per: "{{input.who}}", priority: 4}
profiles:
  dev: {services: {bank: sandbox, clerk: robot}, approval_mode: auto, timeout: 1h}
  production: {}
defaults: {on_error: {compliance: {do: review, by: clerk}}}
steps:
  pay:
    service: bank
    operation: pay
    undo: {operation: refund, service: bank}
    fallbacks: [{service: bank, operation: slowly}]
  allow: {gate: {values: {amount: "{{input.amount}}"}}, needs: pay}
outputs: {paid: "{{steps.pay.result}}"}
"""


def started(profile: str = "") -> Mailbox:
    """Return a run under a profile."""
    box = Mailbox(GraphWorkflow(graph_of(FILE)))
    box.fold(
        Start(
            **box._stamp(),
            workflow="payment",
            body=b'{"amount":7}',
            definition="d" * 16,
            profile=profile,
        )
    )
    return box


def test_a_profile_exchanges_services_and_modes() -> None:
    """Also those of undos, fallbacks and directives; the steps are the same."""
    box = started("dev")
    pay, slowly = "/steps/pay/sandbox.pay", "/steps/pay/sandbox.slowly"

    asked = paths(box.effects)
    box.fail(pay, "refused", retryable=False)
    box.reply(slowly, 7)

    assert asked == [pay]
    assert box.result == {"paid": 7}
    assert [each.auto for each in box.instance.gates_ended.values()] == [True]
    box.refold()


def test_texts_tell_of_the_whole() -> None:
    """As ``movant workflow show`` prints them."""
    text = as_text(graph_of(FILE))

    assert "profile dev: sandbox for bank, robot for clerk; gates are auto\n" in text
    assert "profile production: as it stands\n" in text
    assert "returns: paid: number, note: string\n" in text
    assert "at most 2 active runs per {{input.who}}\n" in text


def test_the_undo_and_the_directives_of_a_profile_are_those_of_its_services() -> None:
    """Who did it undoes it, and a review is asked of the other one."""
    box = started("dev")
    box.fail("/steps/pay/sandbox.pay", "compliance", retryable=False)
    reviewed = paths(box.effects)[1:]
    other = started("dev")
    other.reply("/steps/pay/sandbox.pay", 7)

    assert reviewed == ["/steps/pay/sandbox.slowly"]
    assert other.instance.status == "completed"
    assert started("production").instance.waiting()[0].detail == "bank.pay"
    assert paths(started().effects) == ["/steps/pay/bank.pay"]


def test_a_profile_that_is_not_there_blocks_the_run() -> None:
    """It must not run where nobody meant it to."""
    box = started("prod")

    assert box.instance.blocked is not None
    assert "there is no profile 'prod': dev, production" in box.instance.blocked.message


def test_a_result_that_does_not_fit_blocks_the_run() -> None:
    """All is done: other code can tell it, and nothing is undone."""
    box = started("dev")

    box.reply("/steps/pay/sandbox.pay", "seven")

    assert box.instance.status == "blocked"
    assert "does not fit what 'returns' says" in str(box.instance.blocked)


def test_runs_are_counted_by_what_their_input_says() -> None:
    """And have the graph's priority, where their start says none."""
    workflow = GraphWorkflow(graph_of(FILE))

    assert workflow.group_of({"amount": 1, "who": "eve"}) == "eve"
    assert (workflow.options.active_max, workflow.options.priority) == (2, 4)
    assert workflow.options.profiles == ("dev", "production")
    with pytest.raises(InvalidInputError):
        workflow.group_of({})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("outputs: {paid:", "outputs: {payd:", "'payd' is no field of the output"),
        ("{{steps.pay.result}}", "text", "number is expected here, and this is string"),
        ("{{steps.pay.result}}", "x {{input.amount}}", "number is expected here, and this is str"),
        (
            "outputs: {paid:",
            "outputs: {note: 1, paid:",
            "string is expected here, and this is int",
        ),
        ("returns: {paid: number", "returns: {more: any, paid: number", "the outputs lack 'more'"),
        ("returns: {paid: number", "returns: {paid: {type: string, min: 1}", "min belongs to"),
        (
            "{amount: '{{input.amount}}'}",
            "{amount: '{{input.amount}}'}, fields: {amount: string}",
            "string is expected here, and this is number",
        ),
        ("{bank: sandbox", "{bnk: sandbox", "no step asks a service 'bnk'"),
        ("{bank: sandbox", "{bank: 'sand box'", "is no name of a service"),
        ("approval_mode: auto", "approval_mode: aut", "'aut' is no mode of gates"),
        ("max_active: 2, ", "", "there is nothing to count by it"),
        ("{{input.who}}", "{{input.whom}}", "input has no field 'whom'"),
        ("priority: 4", "priority: 10", "<= 9"),
    ],
)
def test_mistakes_are_told_at_load(old: str, new: str, message: str) -> None:
    """With their place: a clash of types is one of them, where it is certain."""
    text = FILE.replace('{amount: "{{input.amount}}"}', "{amount: '{{input.amount}}'}")
    assert parse(text.encode()).problems == []
    if "fields" in new:
        text = text.replace("{gate: {", "{gate: {decisions: [approve, modify], ")

    problems = parse(text.replace(old, new).encode()).problems

    assert any(message in each.message for each in problems), problems


def test_times_that_cannot_be_kept_are_warned_of() -> None:
    """The steps' own limits add up to more than the whole may take."""
    text = "name: x\ntimeout: 5m\nsteps:\n" + "".join(
        f"  s{number}: {{service: s, operation: o, timeout: {seconds}s"
        + (f", needs: s{number - 1}}}\n" if number else "}\n")
        for number, seconds in enumerate((120, 180, 90, 30))
    )

    (problem,) = parse(text.encode()).problems

    assert problem.severity == "warning"
    assert "may take 7m, the whole run only 5m" in problem.message
