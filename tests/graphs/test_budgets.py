"""Budgets: reserved before a call, settled to what was used; and what an empty one leads to."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.files.definitions import parse
from protocols.gates.words import GateWord
from protocols.guardrails.budgets import RELEASED, Account, usage_of
from protocols.mail import Decided
from protocols.witness import Operator
from tests.graphs.orders import graph_of, running, told
from tests.kernel.mailbox import Mailbox, asks, finish, paths

ONE, TWO = "/steps/one/llm.ask", "/steps/two/llm.ask"


def run(budget: str, estimate: str = "", more: str = "") -> Mailbox:
    """Return a run of two steps, one behind the other, with a budget."""
    box = running(
        graph_of(f"""
            name: spend
            input: {{who: string}}
            budgets:
              money: {budget}
            steps:
              one: {{service: llm, operation: ask, {estimate} {more}}}
              two: {{service: llm, operation: ask, needs: one, {estimate} {more}}}
        """)
    )
    box.start({"who": "acme"})
    return box


def body(box: Mailbox, path: str) -> Any:
    """Return what a step was asked with."""
    return next(msgspec.json.decode(each.body) for each in asks(box.effects) if each.path == path)


def test_what_a_result_says_that_it_used_is_what_counts() -> None:
    """Less than was reserved leaves more for the next one."""
    box = run("{cost: 1.0}", "estimate: {cost: 0.6},")
    box.reply(ONE, {"usage": {"cost": 0.25}})

    assert paths(box.effects) == [ONE, TWO]
    assert box.instance.state["budgets.money"] == {"cost": "0.25 of 1"}
    box.reply(TWO, {"text": "no usage"})
    assert box.instance.state["budgets.money"] == {"cost": "0.85 of 1"}
    assert box.instance.status == "completed"
    box.refold()


def test_a_step_for_which_there_is_not_enough_fails_before_it_is_asked_for() -> None:
    """With a kind of its own, and an event that says what is short."""
    box = run("{cost: 1.0}", "estimate: {cost: 0.6},")
    box.reply(ONE, {"usage": {"cost": 0.75}})

    assert paths(box.effects) == [ONE]
    assert finish(box.effects).status == "failed"
    assert box.instance.failure is not None
    assert box.instance.failure.kind == "over_budget"
    (exhausted,) = told(box.effects, "budget_exhausted")
    assert exhausted["reason"] == "0.75 of 1 cost are used or reserved, 0.6 more are wanted"
    box.refold()


def test_steps_side_by_side_reserve_before_anybody_has_answered() -> None:
    """Of three items two fit; the third is not asked for though nothing is used yet."""
    box = running(
        graph_of("""
            name: many
            budgets: {money: {tokens: 100}}
            steps:
              each: {service: llm, operation: ask, foreach: [1, 2, 3], critical: false,
                     estimate: {tokens: 40}}
        """)
    )
    box.start({})

    assert len(paths(box.effects)) == 2
    box.refold()


def test_every_attempt_is_a_call() -> None:
    """Those that failed as well; without a word each costs what was reserved."""
    box = run("{calls: 5, cost: 10}", "estimate: {cost: 1},")
    box.fail(ONE)
    box.pass_time(5)
    box.reply(ONE, "done", attempt=2)

    assert box.instance.state["budgets.money"] == {"cost": "2 of 10", "calls": "2 of 5"}


def test_an_empty_budget_may_ask_a_person() -> None:
    """An approval lets this one step pass; the next one is asked about again."""
    box = run("{calls: 1, then: ask, roles: finance}")
    box.reply(ONE)
    (state,) = box.instance.gates()
    word = {"gate": state.path, "do": "approve", "role": "finance"}
    decided = box.fold(
        Decided(**box._stamp(), word=msgspec.convert(word, GateWord), by=Operator(who="ann"))
    )

    assert (
        state.gate.title
        == "two: budget money: 1 of 1 calls are used or reserved, 1 more are wanted"
    )
    assert state.gate.roles == ("finance",)
    assert paths(decided) == [TWO]
    box.reply(TWO)
    assert box.instance.state["budgets.money"] == {"calls": "2 of 1"}
    box.refold()


def test_time_is_that_of_the_calls_and_not_of_the_run() -> None:
    """A budget of time stops when it is used up: how long a call takes is not known before."""
    box = run("{time: 10s}")
    box.pass_time(12)
    box.reply(ONE)

    assert paths(box.effects) == [ONE]
    assert box.instance.failure is not None
    assert "12 of 10 time" in box.instance.failure.message


def test_a_shared_budget_is_asked_and_settled_by_messages() -> None:
    """Who has it comes from the input; what the reservation said is what is settled."""
    budget = "{cost: 5, window: 1d, key: '{{input.who}}'}"
    reserve, settle = "/steps/one/budget.money", "/steps/one/settle.money"
    box = run(budget, "estimate: {cost: 1},")
    request = body(box, reserve)
    box.reply(reserve, {"granted": True, "account": "a.1/k"})
    box.reply(ONE, {"usage": {"cost": 0.5}})
    settled = body(box, settle)
    box.reply(settle, {"used": {"cost": 0.5}})

    assert request["key"] == "acme"
    assert request["wanted"] == {"calls": 1.0, "cost": 1.0}
    assert settled == {
        "account": "a.1/k",
        "used": {"calls": 1.0, "time": 0.0, "cost": 0.5, "tokens": 0.0},
    }
    assert paths(box.effects) == [reserve, ONE, settle, "/steps/two/budget.money"]
    assert box.instance.state["budgets.money"] == {"cost": "0.5 of 5"}
    box.refold()


def test_a_shared_budget_that_does_not_answer_lets_nothing_through() -> None:
    """Not even where a person is asked about empty ones: nobody knows whether it is empty."""
    box = run("{cost: 5, window: 1d, then: ask}")
    box.fail("/steps/one/budget.money", "refused", retryable=False)

    assert box.instance.failure is not None
    assert box.instance.failure.kind == "over_budget"
    assert "it cannot be asked" in box.instance.failure.message
    assert paths(box.effects) == ["/steps/one/budget.money"]


def test_what_one_budget_refuses_is_given_back_to_the_others() -> None:
    """All of them are reserved, or none."""
    box = running(
        graph_of("""
            name: two
            budgets:
              shared: {calls: 9, window: 1h}
              own: {calls: 0}
            steps:
              one: {service: llm, operation: ask, critical: false}
        """)
    )
    box.start({})
    box.reply("/steps/one/budget.shared", {"granted": True, "account": "a.1/k"})
    settle = "/steps/one/settle.shared"

    assert body(box, settle) == {"account": "a.1/k", "used": {}}
    box.reply(settle, {"used": {"calls": 0}})
    assert box.result == {"one": None}
    box.refold()


def test_an_account_counts_a_repeat_once_and_what_is_open_as_used() -> None:
    """Reserved twice, settled twice: it is the step's key that counts."""
    account = Account(limits={"cost": 10.0})

    first = [account.reserve("a", {"cost": 6.0}) for _ in range(2)]
    short = account.reserve("b", {"cost": 5.0})
    settled = [account.settle("a", {"cost": 2.0}) for _ in range(2)]
    late = account.reserve("a", {"cost": 6.0})

    assert first == ["", ""]
    assert short == "6 of 10 cost are used or reserved, 5 more are wanted"
    assert settled == [True, False]
    assert late == ""
    assert account.spent("cost") == 2.0


def test_usage_is_read_as_models_tell_it() -> None:
    """Whole or by parts; what is no number counts for nothing."""
    assert usage_of({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}) == {"tokens": 7.0}
    assert usage_of({"usage": {"total_tokens": 9, "cost": 0.5}}) == {"tokens": 9.0, "cost": 0.5}
    assert usage_of({"usage": {"cost": True, "tokens": -1}}) == {}
    assert usage_of("text") == {}


def test_a_step_has_a_budget_of_its_own() -> None:
    """The other steps do not use it, and the items of a step share it."""
    box = run("{calls: 9}", more="foreach: [1, 2], concurrency: 1, budget: {calls: 2}, retry: 2")
    first = "/steps/one/items/0/llm.ask"
    box.fail(first)
    box.reply(first, attempt=2)

    assert paths(box.effects) == [first, first]
    assert box.instance.state["budgets.steps.one"] == {"calls": "2 of 2"}
    assert box.instance.state["budgets.money"] == {"calls": "2 of 9"}
    assert box.instance.failure is not None
    assert "budget steps.one: 2 of 2 calls" in box.instance.failure.message
    box.refold()


def test_a_budget_of_a_step_that_all_runs_share_is_that_of_its_workflow() -> None:
    """A step of the same name elsewhere has another one."""
    box = run("{calls: 9}", more="budget: {cost: 2, window: 1d, key: '{{input.who}}'}")
    box.reply("/steps/one/budget", {"granted": True, "account": "a.1/k"})
    box.reply(ONE, {"usage": {"cost": 0.5}})
    box.reply("/steps/one/settle", {"used": {"cost": 0.5}})

    request = body(box, "/steps/one/budget")
    assert (request["name"], request["key"]) == ("spend.steps.one", "acme")
    assert box.instance.state["budgets.steps.one"] == {"cost": "0.5 of 2"}
    box.refold()


def test_what_is_wrong_with_a_budget_is_told_at_its_place() -> None:
    """Limits, keys, references."""
    text = """\
name: spend
input: {who: string}
budgets:
  empty: {}
  own: {calls: 3, key: "{{input.who}}"}
  other: {calls: 3, window: 1d, key: "{{input.whom}}"}
steps:
  one: {service: s, operation: o, estimate: {calls: 4}}
  two: {sleep: 1s, estimate: {cost: 1}}
  three: {service: s, operation: o, estimate: {calls: 2}, budget: {calls: 1, roles: boss}}
"""
    found = [(each.line, each.message, each.severity) for each in parse(text.encode()).problems]

    assert (4, "it bounds nothing", "error") in found
    assert (5, "a budget of the run is the run's alone", "error") in found
    assert (6, "input has no field 'whom'", "error") in found
    assert (8, "the budget own has only 3", "warning") in found
    assert (9, "a step with 'sleep' takes no 'estimate'", "error") in found
    assert (10, "the budget of the step has only 1", "warning") in found
    assert (10, "nobody is asked", "error") in found


def test_a_deadline_that_cuts_a_reservation_releases_it() -> None:
    """One that is granted by its account, one that is under way by the key of its step."""
    box = running(
        graph_of("""
            name: cut
            budgets:
              first: {calls: 5, window: 1d}
              second: {calls: 5, window: 1d, key: all}
            steps:
              one: {service: llm, operation: ask, deadline: 1m, critical: false}
        """)
    )
    box.start({})
    box.reply("/steps/one/budget.first", {"granted": True, "account": "acc.1/i-1/1/first"})
    box.pass_time(60)

    box.fire("/steps/one/deadline")

    (released,) = told(box.effects, RELEASED)
    assert released["accounts"] == ["acc.1/i-1/1/first"]
    assert [(each["step"], each["name"], each["key"]) for each in released["asked"]] == [
        ("i-1/1/steps/one/budget.second", "second", "all")
    ]
    assert "/steps/one/llm.ask" not in paths(box.effects)
    assert box.instance.status == "completed"
    box.refold()
