"""A motion: states, transitions, signals, time."""

from __future__ import annotations

from protocols.effects import Arm
from tests.kernel.mailbox import SECOND
from tests.motions.machines import in_building, motion, of_motion, went


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
