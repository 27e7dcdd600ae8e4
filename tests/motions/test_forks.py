"""Motions that begin with what another motion has done."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.motions.interpreter import MotionWorkflow
from protocols.forking import Forking, ForkOrder
from protocols.machines.machine import Machine, Next, State
from tests.kernel.mailbox import Mailbox, asks
from tests.motions.machines import PERMIT, in_building, motion, went


def denied() -> Mailbox:
    """Return a motion that was withdrawn while it was built."""
    box = in_building()
    box.signal("withdraw")
    assert box.instance.status == "failed"
    return box


def forking(box: Mailbox, state: str, machine: Machine = PERMIT, **more: Any) -> Forking:
    """Return what a motion of a machine would take over."""
    return box.instance.forking(MotionWorkflow(machine), ForkOrder(step=state, **more))


def test_a_motion_begins_in_a_state_with_what_led_there() -> None:
    """Its owner gets the outputs of the states before, and the way back is the same."""
    found = forking(denied(), "BUILDING")
    box = motion()

    effects = box.fork("BUILDING", found.standing, {"plot": 7})

    assert {each.step: each.what for each in found.steps} == {
        "FILED": "taken",
        "REVIEWED": "taken",
        "BUILDING": "again",
        "TABLED": "waiting",
        "INSPECTED": "waiting",
        "DONE": "waiting",
        "DENIED": "waiting",
    }
    assert went(box) == [("", "BUILDING", "forked")]
    (ask,) = asks(effects)
    request = msgspec.json.decode(ask.body)
    assert request["data"] == {"FILED": "complete", "REVIEWED": {"ayes": 3, "noes": 1}}
    assert box.instance.state["previous"] == "REVIEWED"
    box.reply(ask.path, {"floors": 2})
    assert went(box)[-1] == ("BUILDING", "INSPECTED", "completed")
    box.refold()


def test_no_motion_begins_where_the_machine_has_not_led_it() -> None:
    """A fork skips nothing: it stands only where the other motion was."""
    old = denied()

    assert "the motion was never in state 'INSPECTED'" in forking(old, "INSPECTED").problems[0]
    assert "there is no state 'BUILT'" in forking(old, "BUILT").problems[0]


def test_states_that_judged_another_input_have_to_be_accepted() -> None:
    """Who voted saw the other input."""
    old = denied()

    problems = forking(old, "BUILDING", changed=True).problems

    assert [each.split("'")[1] for each in problems] == ["FILED", "REVIEWED"]
    assert forking(old, "BUILDING", changed=True, accept=("all",)).problems == ()


def test_another_machine_may_call_its_states_otherwise() -> None:
    """What the state itself does may be another thing: it is done anew."""
    states = {
        **{name: each for name, each in PERMIT.states.items() if name != "BUILDING"},
        "SITE": State(owner="mason", operation="build", next="INSPECTED"),
        "REVIEWED": State(
            owner="council",
            operation="vote",
            next=(Next(to="SITE", when="result.ayes > 0"), "DENIED"),
            signals={"table": "TABLED"},
        ),
    }
    machine = msgspec.structs.replace(PERMIT, states=states)
    box = motion(machine)

    found = forking(denied(), "SITE", machine, moves={"BUILDING": "SITE"})
    (ask,) = asks(box.fork("SITE", found.standing, {"plot": 7}))

    assert ask.path == "/states/SITE/mason.build"
    box.refold()
