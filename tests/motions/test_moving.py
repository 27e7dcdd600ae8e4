"""Motions that go over to another machine from the state in which they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.motions.interpreter import MotionWorkflow
from protocols.machines.machine import Machine, Next, State
from protocols.moving import machine_move
from tests.kernel.mailbox import Mailbox, events, paths
from tests.motions.machines import PERMIT, in_building, motion, told, went


def changed(**states: State | None) -> Machine:
    """Return the permit with other states; None leaves one out."""
    found = {**PERMIT.states, **states}
    return msgspec.structs.replace(
        PERMIT, states={name: each for name, each in found.items() if each is not None}
    )


SITE = changed(
    BUILDING=None,
    REVIEWED=State(owner="council", operation="vote", next="SITE"),
    SITE=State(owner="builder", operation="build", next="PAID", signals={"stop": "DENIED"}),
    PAID=State(owner="bank", operation="pay", next=(Next(to="INSPECTED", when="has(data.SITE)"),)),
    TABLED=None,
)


def moved() -> Mailbox:
    """Return a motion that goes over while it is built."""
    box = in_building()
    box.others["new"] = MotionWorkflow(SITE)
    box.switch("new", BUILDING="SITE")
    return box


def test_a_motion_goes_on_in_the_state_that_it_is_in() -> None:
    """The owner is asked nothing again; his answer leads where the new machine says."""
    box = in_building()
    box.others["new"] = MotionWorkflow(SITE)

    effects = box.switch("new", BUILDING="SITE")

    assert (paths(effects), events(effects)) == ([], ["migrated"])
    assert box.instance.state["state"] == "SITE"
    assert paths(box.reply("/states/BUILDING/builder.build", {"floors": 2})) == [
        "/states/PAID/bank.pay"
    ]
    box.reply("/states/PAID/bank.pay")
    assert went(box)[-2:] == [("SITE", "PAID", "completed"), ("PAID", "INSPECTED", "completed")]
    box.reply("/states/INSPECTED/diary.note")
    box.reply("/states/INSPECTED/inspector.inspected", "fine")
    box.reply("/states/DONE/clerk.file")
    assert box.result["data"]["SITE"] == {"floors": 2}
    box.refold()


def test_signals_are_those_of_the_new_machine() -> None:
    """What the old one took is refused, and what the new one takes leads on."""
    box = moved()

    assert events(box.signal("withdraw")) == ["transition_refused"]
    box.signal("stop")
    assert went(box)[-1] == ("SITE", "DENIED", "signal")
    box.refold()


def test_a_failure_is_followed_as_the_new_machine_says() -> None:
    """The step was asked for with the policy of before, and ends with the directive of now."""
    box = in_building()
    box.others["new"] = MotionWorkflow(
        changed(BUILDING=State(owner="builder", operation="build", next="INSPECTED",
                               on_error={"network": "continue"}))
    )  # fmt: skip
    box.switch("new")
    for attempt in (1, 2):
        box.fail("/states/BUILDING/builder.build", "network", attempt=attempt)
        for timer in list(box.instance._ledger.timers):
            box.pass_time(5)
            box.fold_fired(timer)

    assert [each["directive"] for each in told(box.effects, "directive")] == ["continue"]
    assert went(box)[-1] == ("BUILDING", "INSPECTED", "continued")
    box.refold()


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (None, "which the new definition does not have"),
        (State(owner="mason", operation="build", next="INSPECTED"), "another owner"),
        (State(owner="builder", operation="mend", next="INSPECTED"), "another operation"),
        (State(parked=True, signals={"done": "INSPECTED"}), "another owner"),
    ],
)
def test_a_state_that_is_open_stays_what_it_was(state: State | None, problem: str) -> None:
    """Its owner works on it; another one would be asked for nothing."""
    found = machine_move(PERMIT, changed(BUILDING=state), "BUILDING", ["FILED"], moves={})

    assert any(problem in each for each in found.problems)


def test_between_two_states_nothing_moves() -> None:
    """The transition was allowed by the old machine; the switch can be sent again."""
    told_of: dict[str, Any] = {"service": "diary", "operation": "seal"}
    machine = msgspec.convert({**msgspec.to_builtins(PERMIT), "on_transition": [told_of]}, Machine)
    box = Mailbox(MotionWorkflow(machine))
    box.others["new"] = MotionWorkflow(machine)
    box.start()

    effects = box.switch("new")

    assert "between two states" in told(effects, "migration_refused")[0]["problems"][0]
    box.refold()


def test_a_switch_to_the_same_machine_changes_nothing() -> None:
    """At whatever place it stands: the same is asked for, and the motion ends in the same way."""
    whole = in_building()
    whole.signal("nonsense")
    whole.reply("/states/BUILDING/builder.build", {"floors": 2})
    whole.reply("/states/INSPECTED/diary.note")
    whole.fail("/states/INSPECTED/inspector.inspected", "system", retryable=False)
    whole.signal("motion.resume", {"decision": "retry", "who": "ann"})
    whole.reply(paths(whole.effects)[-1], "fine")
    whole.reply("/states/DONE/clerk.file")
    assert whole.instance.status == "completed"

    for place in range(1, len(whole.mails)):
        box = motion()
        for mail in whole.mails[:place]:
            box.fold(mail)
        box.switch("again")
        for mail in whole.mails[place:]:
            box.fold(msgspec.structs.replace(mail, seq=mail.seq + 1))

        assert paths(box.effects) == paths(whole.effects)
        assert box.result == whole.result
        box.refold()
