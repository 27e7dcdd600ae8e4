"""Signals: what may cut a stay short, what is refused, and what comes too late."""

from __future__ import annotations

from typing import Any

import pytest

from actors.motions.hearing import HELD_MAX
from protocols.machines.machine import Hook, Machine, State
from tests.kernel.mailbox import asks, paths
from tests.motions.machines import in_building, motion, of_motion, told, went

BUILD = "/states/BUILDING/builder.build"


def test_a_signal_of_the_state_cuts_its_stay_short() -> None:
    """The work is given up; its answer, when it comes, is stale and has no effect."""
    box = motion()
    box.start()
    box.reply("/states/FILED/clerk.check")
    box.signal("table", {"who": "ann", "why": "summer"})

    stale = box.reply("/states/REVIEWED/council.vote", {"ayes": 3, "noes": 1})

    assert went(box)[-1] == ("REVIEWED", "TABLED", "signal")
    assert told(box.effects, "transition")[-1]["by"] == "ann"
    assert of_motion(stale) == ["stale"]
    assert told(stale, "stale") == [
        {
            "step": "states/REVIEWED/council%2Evote",
            "path": "/states/REVIEWED/council.vote",
            "attempt": 1,
            "success": True,
        }
    ]
    assert box.instance.state["state"] == "TABLED"
    box.refold()


def test_who_asks_is_told_of_the_transition_or_why_there_is_none() -> None:
    """A signal is accepted at once, and answered when the transition takes effect."""
    box = motion()
    box.start()
    refused = box.signal("table", message_id="m-1", asks=True)
    unreadable = box.signal("table", body=b"{", message_id="m-2", asks=True)
    box.reply("/states/FILED/clerk.check")

    moved = box.signal("table", message_id="m-3", asks=True)
    resumed = box.signal("motion.resume", message_id="m-4", asks=True)

    answers = [
        [
            (each["status"], each["result"] or each["failure"])
            for each in told(x, "update_answered")
        ]
        for x in (refused, unreadable, moved, resumed)
    ]
    reason = told(refused, "transition_refused")[0]["reason"]
    assert [kind for (kind, _), *_ in answers] == ["rejected", "rejected", "accepted", "rejected"]
    assert answers[0][0][1]["message"] == reason
    assert answers[2][1:] == [("completed", {"from": "REVIEWED", "to": "TABLED", "number": 3})]
    box.refold()


def test_a_second_completion_of_a_state_is_stale() -> None:
    """Whatever it says, it asks for nothing and moves nothing."""
    box = in_building()

    effects = box.reply("/states/REVIEWED/council.vote", {"ayes": 0, "noes": 9})

    assert of_motion(effects) == ["stale"]
    assert len(effects) == 1
    assert box.instance.state["state"] == "BUILDING"
    box.refold()


def test_a_parked_motion_waits_for_its_signal() -> None:
    """The condition of the signal has to hold; then the owner is asked anew."""
    box = motion()
    box.start()
    box.reply("/states/FILED/clerk.check")
    box.signal("table")

    refused = box.signal("untable", {"why": "now"})
    (again,) = asks(box.signal("untable", {"who": "bob"}))

    assert told(refused, "transition_refused")[0]["reason"].startswith("the condition of the sig")
    assert again.path == "/states/REVIEWED#2/council.vote"
    assert [each.detail for each in box.instance.waiting() if each.kind == "signal"] == []
    box.refold()


def test_a_parked_motion_tells_what_it_waits_for() -> None:
    """Only that: not the ear that it always has."""
    box = motion()
    box.start()
    box.reply("/states/FILED/clerk.check")

    box.signal("table")

    assert [(each.kind, each.detail) for each in box.instance.waiting()] == [("signal", "untable")]
    assert box.instance.state["next_action"] == "signal untable"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("untable", None, "BUILDING takes no signal 'untable': withdraw"),
        ("unheard-of", None, "BUILDING takes no signal 'unheard-of': withdraw"),
        ("motion.transition", {"to": "DONE"}, "DONE does not follow BUILDING: INSPECTED"),
        ("motion.transition", "INSPECTED", "INSPECTED follows BUILDING only when the work"),
        ("motion.transition", {"to": "Mars"}, "there is no state 'Mars'"),
        ("motion.transition", {"to": 7}, "there is no state ''"),
        ("motion.transition", None, "there is no state ''"),
        ("motion.review", {"to": "INSPECTED"}, "BUILDING waits for no motion.review"),
        ("motion.resume", [], "BUILDING waits for no motion.resume"),
    ],
)
def test_a_signal_that_asks_for_more_is_refused(name: str, data: Any, reason: str) -> None:
    """It is witnessed with who and why, the work goes on, and nothing is kept."""
    box = in_building()

    effects = box.signal(name, data)

    assert of_motion(effects) == ["transition_refused"]
    assert len(effects) == 1
    assert told(effects, "transition_refused")[0]["reason"].startswith(reason)
    assert [each.path for each in box.instance.waiting() if each.kind == "step"] == [BUILD]
    box.refold()


def test_a_transition_may_be_asked_for_by_the_name_of_its_state() -> None:
    """Where one of the state's signals leads there."""
    box = in_building()

    effects = box.signal("motion.transition", {"to": "DENIED", "who": "ann"})

    assert told(effects, "transition")[0]["cause"] == "signal"
    assert box.instance.status == "failed"


def test_a_signal_before_the_start_is_judged_in_the_first_state() -> None:
    """It is kept until somebody can judge it, and refused then."""
    box = motion()
    box.signal("withdraw")

    box.start()

    assert told(box.effects, "transition_refused")[0]["from"] == "FILED"
    assert paths(box.effects) == ["/states/FILED/clerk.check"]
    box.refold()


WITNESSED = Machine(
    name="witnessed",
    initial="A",
    on_transition=(Hook(service="knight", operation="state"),),
    states={
        "A": State(
            owner="x",
            next="B",
            signals={"stop": "C"},
            on_exit=(Hook(service="door", operation="close"),),
        ),
        "B": State(
            owner="y",
            next="C",
            signals={"stop": "C"},
            on_entry=(Hook(service="door", operation="open"),),
        ),
        "C": State(terminal=True),
    },
)


def test_a_transition_takes_effect_only_when_all_who_have_a_say_have_spoken() -> None:
    """Exit hooks, then the witness, then the transition, then entry hooks, then the work."""
    box = motion(WITNESSED)

    asked = [
        paths(box.start()),
        paths(box.reply("/states/A.before/knight.state")),
        paths(box.reply("/states/A/x.a")),
        paths(box.reply("/states/B.before/door.close")),
    ]
    before = [each for each in went(box) if each[1] == "B"]
    asked += [paths(box.reply("/states/B.before/knight.state"))]
    asked += [paths(box.reply("/states/B/door.open"))]

    assert asked == [
        ["/states/A.before/knight.state"],
        ["/states/A/x.a"],
        ["/states/B.before/door.close"],
        ["/states/B.before/knight.state"],
        ["/states/B/door.open"],
        ["/states/B/y.b"],
    ]
    assert before == []
    assert went(box)[-1] == ("A", "B", "completed")
    box.refold()


def test_without_the_witness_there_is_no_transition() -> None:
    """It halts in the state that it wanted to leave; nobody can resume it past the witness."""
    box = motion(WITNESSED)
    box.start()
    box.reply("/states/A.before/knight.state")
    box.reply("/states/A/x.a")
    box.reply("/states/B.before/door.close")

    effects = box.fail("/states/B.before/knight.state", "refused")
    forced = box.signal("motion.resume", {"to": "B", "who": "root"})
    (again,) = asks(box.signal("motion.resume", "retry"))

    assert of_motion(effects) == ["incident"]
    assert told(forced, "transition_refused")[0]["reason"].startswith("a step before a transition")
    assert (again.service, again.key) == ("knight", "m-1/1/states/B.before/knight.state")
    assert went(box)[-1][1] == "A"
    box.reply(again.path)
    assert went(box)[-1] == ("A", "B", "completed")
    box.refold()


def test_a_signal_during_a_transition_is_judged_in_the_state_that_it_leads_to() -> None:
    """It waits for the witness as everybody does."""
    box = motion(WITNESSED)
    box.start()
    box.reply("/states/A.before/knight.state")
    box.reply("/states/A/x.a")
    box.signal("stop")
    box.reply("/states/B.before/door.close")

    effects = box.reply("/states/B.before/knight.state")

    assert [each["to"] for each in told(effects, "transition")] == ["B"]
    assert paths(effects) == ["/states/C.before/knight.state"]
    box.refold()


def test_a_flood_during_a_transition_is_refused() -> None:
    """So many are held, and not one more."""
    box = motion(WITNESSED)
    box.start()
    for _ in range(HELD_MAX):
        assert box.signal("stop") == []

    assert of_motion(box.signal("stop")) == ["transition_refused"]


def test_a_cancel_ends_a_motion_wherever_it_is() -> None:
    """The run is cancelled; its step is given up."""
    box = in_building()

    effects = box.cancel()

    assert box.instance.status == "cancelled"
    assert of_motion(effects) == ["cancelled"]
    box.refold()
