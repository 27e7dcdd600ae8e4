"""A motion: states, transitions, signals, time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.motions.progress import motion_progress
from protocols.directives import HALT
from protocols.effects import Arm
from protocols.machines.machine import Machine, State
from tests.kernel.mailbox import BEGIN, SECOND, asks, paths
from tests.motions.machines import PERMIT, in_building, motion, of_motion, told, went


def test_a_motion_goes_through_its_states_to_an_end() -> None:
    """Each owner is asked in turn; the result holds what each said, and folds again the same."""
    box = in_building()
    box.reply("/states/BUILDING/builder.build", {"floors": 2})
    box.reply("/states/INSPECTED/diary.note")
    box.reply("/states/INSPECTED/inspector.inspected", "fine")
    box.reply("/states/DONE/clerk.file")

    assert went(box) == [
        ("", "FILED", "submitted"),
        ("FILED", "REVIEWED", "completed"),
        ("REVIEWED", "BUILDING", "completed"),
        ("BUILDING", "INSPECTED", "completed"),
        ("INSPECTED", "DONE", "completed"),
    ]
    assert box.result["state"] == "DONE"
    assert box.result["data"]["BUILDING"] == {"floors": 2}
    assert box.instance.state["state"] == "DONE"
    box.refold()


def test_a_seven_day_timeout_takes_no_time_on_virtual_time() -> None:
    """The timer is armed for seven days from the entry; a day too early it changes nothing."""
    box = motion()
    box.start()
    effects = box.reply("/states/FILED/clerk.check")
    (arm,) = [each for each in effects if isinstance(each, Arm)]

    assert arm.due == box.at + 7 * 86_400 * SECOND
    box.pass_time(6 * 86_400)
    assert of_motion(box.fire("/states/REVIEWED/deadline")) == []
    box.pass_time(86_400)
    assert of_motion(box.fire("/states/REVIEWED/deadline")) == ["directive", "incident"]
    assert box.instance.state["blocked"].startswith("halted: timeout: council has not answered")


def test_four_weeks_of_timeouts_pass_in_milliseconds() -> None:
    """Four attempts of seven days each, none a second too early; then it halts."""
    machine = Machine(
        name="slow",
        initial="A",
        states={"A": State(owner="x", timeout="7d", next="B"), "B": State(terminal=True)},
    )
    box = motion(machine)
    effects = box.start()
    (ask,) = asks(effects)
    for attempt in (1, 2, 3, 4):
        due = max(ask.due, box.at) + 7 * 86_400 * SECOND
        box.at = due - SECOND
        assert of_motion(box.time_out(ask.path, attempt=attempt)) == []
        box.at = due
        effects = box.time_out(ask.path, attempt=attempt)
        ask = next(iter(asks(effects)), ask)

    assert box.at - BEGIN == (4 * 7 * 86_400 + 5 + 30 + 300) * SECOND
    assert [each["directive"] for each in told(effects, "directive")] == ["retry", HALT.do]
    box.refold()


ENTERED = msgspec.structs.replace(PERMIT, begin=("BUILDING", "TABLED"))


def test_a_motion_may_begin_in_a_later_state() -> None:
    """Where its machine allows it: the owner of that state is asked."""
    box = motion(ENTERED)

    asked = paths(box.start({"state": "BUILDING", "plot": 7}))

    assert asked == ["/states/BUILDING/builder.build"]
    assert went(box) == [("", "BUILDING", "submitted")]


def test_a_motion_may_begin_with_work_that_is_done() -> None:
    """The next owner is asked, and the assumption stands in the transition."""
    box = motion(ENTERED)

    asked = paths(box.start({"state": "BUILDING", "work_done": True, "output": "a house"}))

    assert asked == ["/states/INSPECTED/diary.note"]
    assert went(box)[1:] == [("BUILDING", "INSPECTED", "completed")]
    first, second = told(box.effects, "transition")
    assert (first["work_done"], second["work_done"]) == (True, False)
    assert first["output"] == second["output"] != ""
    box.reply("/states/INSPECTED/diary.note")
    assert b'"BUILDING":"a house"' in asks(box.effects)[-1].body
    box.refold()


@pytest.mark.parametrize("state", ["DONE", "REVIEWED", "Mars", "", 7, ["FILED"], {"a": 1}])
def test_a_motion_may_not_begin_anywhere_else(state: Any) -> None:
    """It fails at once, and no owner is asked."""
    box = motion(ENTERED)

    effects = box.start({"state": state})

    assert asks(effects) == []
    assert box.instance.failure
    assert box.instance.failure.kind == "validation"
    box.refold()


def test_without_such_states_an_input_says_what_it_likes() -> None:
    """``state`` is then a word of the input like others."""
    box = motion()

    assert paths(box.start({"state": "DONE"})) == ["/states/FILED/clerk.check"]


@pytest.mark.parametrize(("history", "shown"), [(0, 0), (2, 2), (4, 3), (20, 3)])
def test_a_motion_shows_its_latest_transitions(history: int, shown: int) -> None:
    """As many as the machine says; the events have all."""
    box = in_building(msgspec.structs.replace(PERMIT, history=history))

    kept = box.instance.state["history"]

    assert [each["to"] for each in kept] == ["FILED", "REVIEWED", "BUILDING"][3 - shown :]
    assert all(each["at"].startswith("2027-01-15T08:00:00") for each in kept)


def test_how_far_a_motion_is_follows_from_its_machine() -> None:
    """States on the shortest way: behind it, and before the nearest end that is completed."""
    found = {
        state: motion_progress(PERMIT, state) for state in ("FILED", "REVIEWED", "TABLED", "DONE")
    }

    assert [(each.percent, each.done, each.total) for each in found.values()] == [
        (0, 0, 5),
        (20, 1, 5),
        (28, 2, 7),
        (80, 4, 5),
    ]
    assert motion_progress(PERMIT, "DONE", ended="completed").percent == 100
    assert motion_progress(PERMIT, "DENIED", ended="failed").percent == 99
    assert motion_progress(PERMIT, "nowhere").percent == 0
