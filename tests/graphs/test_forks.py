"""Runs of graphs that begin with what another run has done."""

from __future__ import annotations

from typing import Any, Final

import pytest

from actors.graphs.interpreter import GraphWorkflow
from protocols.forking import Forking, ForkOrder
from protocols.graphs.graph import Graph
from tests.graphs.orders import graph_of, running, steps, told
from tests.kernel.mailbox import DEFINITION, Mailbox, asks, paths

PLAIN: Final = graph_of("""
    name: order
    steps:
      charge: {service: bank, operation: charge, params: {n: "{{input.n}}"}}
      gift: {service: shop, operation: gift, needs: charge, critical: false}
      poor: {service: shop, operation: poor, needs: charge, when: "input.n < 3"}
      pack: {service: depot, operation: pack, needs: [charge, gift, poor],
             params: {paid: "{{steps.charge.result}}", gift: "{{steps.gift.status}}"}}
      ship: {service: depot, operation: ship, needs: pack, params: "{{steps.pack.result}}"}
""")
UNDONE: Final = graph_of("""
    name: order
    steps:
      charge: {service: bank, operation: charge, undo: refund}
      pack: {service: depot, operation: pack, needs: charge}
""")
CHARGE, PACK = "/steps/charge/bank.charge", "/steps/pack/depot.pack"


def failed_at_pack() -> Mailbox:
    """Return an order that was charged and could not be packed."""
    box = running(PLAIN)
    box.start({"n": 5})
    box.reply(CHARGE, "paid")
    box.fail("/steps/gift/shop.gift", retryable=False)
    box.fail(PACK, retryable=False)
    assert box.instance.status == "failed"
    return box


def forking(box: Mailbox, step: str, graph: Graph = PLAIN, **more: Any) -> Forking:
    """Return what a run of a graph would take over."""
    return box.instance.forking(GraphWorkflow(graph), ForkOrder(step=step, **more))


def what(found: Forking) -> dict[str, str]:
    """Return what becomes of each step."""
    return {each.step: each.what for each in found.steps}


def test_a_run_begins_at_a_step_with_what_was_done_before() -> None:
    """Nothing of that is asked for again; the conditions of steps that were skipped hold anew."""
    old = failed_at_pack()
    found = forking(old, "pack")
    box = running(PLAIN)

    effects = box.fork("pack", found.standing, {"n": 5})

    assert what(found) == {
        "charge": "taken",
        "gift": "taken",
        "poor": "waiting",
        "pack": "again",
        "ship": "waiting",
    }
    (ask,) = asks(effects)
    assert (ask.path, ask.body) == (PACK, b'{"gift":"failed","paid":"paid"}')
    assert ask.key == "i-1/1" + PACK
    assert told(box.effects, "started")[0]["forked_from"]["run"] == "i-0"
    assert box.instance.origin is not None
    assert box.instance.origin.step == "pack"
    assert steps(box)["charge"] == "done: in i-0"
    box.reply(PACK, "box-1")
    box.reply("/steps/ship/depot.ship", "sent")
    assert box.result == {"ship": "sent"}
    assert old.instance.status == "failed"
    box.refold()


def test_another_input_reaches_what_is_done_anew() -> None:
    """A step that was skipped is done, when its condition holds with it."""
    box = running(PLAIN)

    effects = box.fork("pack", forking(failed_at_pack(), "pack").standing, {"n": 1})

    assert paths(effects) == ["/steps/poor/shop.poor"]


def test_a_start_that_is_not_the_one_takes_nothing_over() -> None:
    """Whoever starts the id with another input, or another message, begins at the beginning."""
    standing = forking(failed_at_pack(), "pack").standing
    other, stranger = running(PLAIN), running(PLAIN)
    stranger.fork("pack", standing, {"n": 5}, message_id="m")
    mails = stranger.mails[:1]

    for box, value, message_id in ((other, {"n": 6}, "m"), (running(PLAIN), {"n": 5}, "x")):
        assert box.fold(mails[0]) == []
        assert box.instance.status == "pending"
        assert paths(box.start(value, message_id=message_id)) == [CHARGE]
        assert box.instance.origin is None
        box.refold()


def test_a_fork_behind_its_start_and_a_repeat_do_nothing() -> None:
    """What a run begins with is decided by its start, once."""
    standing = forking(failed_at_pack(), "pack").standing
    box = running(PLAIN)
    box.start({"n": 5}, message_id="m")

    box.fork("pack", standing, {"n": 5})

    assert box.instance.counters.late == 1
    assert [each.path for each in box.instance.waiting()] == [CHARGE]


def test_what_was_undone_is_not_taken_over_unasked() -> None:
    """Its result tells of what is not there any more."""
    old = running(UNDONE)
    old.start()
    old.reply(CHARGE, "paid")
    (undo,) = asks(old.fail(PACK, retryable=False))
    old.reply(undo.path)
    assert old.instance.status == "compensated"

    refused = forking(old, "pack", UNDONE)
    accepted = forking(old, "pack", UNDONE, accept=("charge",))

    assert refused.problems == ("step 'charge' was undone: begin there, or accept it",)
    assert forking(old, "charge", UNDONE).problems == ()
    box = running(UNDONE)
    box.fork("pack", accepted.standing)
    box.fail(PACK, retryable=False)
    assert box.instance.status == "failed"  # what was taken over is the other run's to undo
    box.refold()


def test_a_gate_that_saw_another_input_is_asked_again_or_accepted() -> None:
    """A person has approved what was shown, and nothing else."""
    graph = graph_of("""
        name: pay
        steps:
          ok: {gate: {title: "Pay {{input.n}}?"}}
          pay: {service: bank, operation: pay, needs: ok, params: {n: "{{input.n}}"}}
    """)
    old = running(graph)
    old.start({"n": 1})
    old.decide("/steps/ok/gate.ok", "approve")
    old.fail("/steps/pay/bank.pay", retryable=False)

    same, changed = forking(old, "pay", graph), forking(old, "pay", graph, changed=True)

    assert same.problems == ()
    assert "step 'ok' was decided with another input" in changed.problems[0]
    assert forking(old, "pay", graph, changed=True, accept=("all",)).problems == ()
    box = running(graph)
    assert paths(box.fork("pay", same.standing, {"n": 1})) == ["/steps/pay/bank.pay"]
    box.refold()


def test_another_definition_takes_over_under_its_names() -> None:
    """What a step asks for may not be another thing, unless that is accepted."""
    graph = graph_of("""
        name: order
        steps:
          pay: {service: bank, operation: charge, params: {n: "{{input.n}}"}}
          check: {service: desk, operation: check, needs: pay}
          pack: {service: depot, operation: wrap, needs: check, params: "{{steps.pay.result}}"}
    """)
    old = failed_at_pack()
    box = running(graph)

    found = forking(old, "pack", graph, moves={"charge": "pay"})
    effects = box.fork("pack", found.standing, {"n": 5})

    assert what(found) == {"pay": "taken", "check": "waiting", "pack": "again"}
    assert paths(effects) == ["/steps/check/desk.check"]
    box.reply("/steps/check/desk.check")
    assert [each.body for each in asks(box.effects)][-1] == b'"paid"'
    other = graph_of("name: order\nsteps: {charge: {service: bank, operation: take},"
                     " pack: {service: depot, operation: pack, needs: charge}}")  # fmt: skip
    assert "another operation" in forking(old, "pack", other).problems[0]


@pytest.mark.parametrize("step", ["packs", "pack"])
def test_a_step_that_is_not_there_and_a_run_that_goes_on_are_refused(step: str) -> None:
    """Each with what to do instead."""
    box = failed_at_pack()
    if step == "pack":
        box = running(PLAIN)
        box.start({"n": 5})

    (problem,) = forking(box, step).problems

    assert problem in {
        "there is no step 'packs'; did you mean 'pack'?",
        "the run is running: wait for its end, or cancel it",
    }


def test_a_fork_can_be_forked_and_moved() -> None:
    """It is a run like every other; what it took over can be taken over again."""
    box = running(PLAIN)
    box.fork("pack", forking(failed_at_pack(), "pack").standing, {"n": 5})
    box.others["new"] = GraphWorkflow(PLAIN)
    box.switch("new")
    box.reply(PACK, "box-1")
    box.fail("/steps/ship/depot.ship", retryable=False)

    found = forking(box, "ship")
    again = running(PLAIN)

    assert what(found)["charge"] == what(found)["pack"] == "taken"
    assert paths(again.fork("ship", found.standing, {"n": 5})) == ["/steps/ship/depot.ship"]
    assert again.instance.definition == DEFINITION
    box.refold()
