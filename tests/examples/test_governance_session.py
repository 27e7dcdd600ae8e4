"""A session: so many motions at once, and the others in order."""

from __future__ import annotations

from typing import Any

import msgspec

from examples.governance.session import PETITION_BYTES_MAX, PETITIONS_MAX, session
from protocols.effects import Spawn
from protocols.failure import Failure
from tests.kernel.mailbox import Mailbox, asks, events
from tests.motions.machines import told


def opened(room: int = 2, **more: Any) -> Mailbox:
    """Return a session with so much room."""
    box = Mailbox(session, "session")
    box.start({"max_concurrent_motions": room, **more})
    return box


def petition(box: Mailbox, motion: str, **more: Any) -> None:
    """Hand in a petition."""
    box.signal("petition", {"id": motion, "text": f"Title: {motion}", **more})


def introduce(box: Mailbox, motion: str) -> list[Any]:
    """Let the King read a petition."""
    return box.reply(f"/motions/{motion}/king_service.introduce", {"title": motion})


def begun(box: Mailbox) -> list[str]:
    """Return the motions that have been started, in order."""
    return [each.child for each in box.effects if isinstance(each, Spawn)]


def test_a_petition_is_introduced_by_the_king_and_becomes_a_motion() -> None:
    """The motion has the id of the petition; what the King has read is its input."""
    box = opened()
    petition(box, "lamps")
    (asked,) = asks(box.effects)

    (spawn,) = [each for each in introduce(box, "lamps") if isinstance(each, Spawn)]

    assert (asked.service, asked.operation) == ("king_service", "introduce")
    assert (spawn.workflow, spawn.child) == ("governance", "lamps")
    assert spawn.body == b'{"motion":{"title":"lamps"}}'
    box.refold()


def test_motions_beyond_the_room_wait_in_order_and_are_seen() -> None:
    """The first in the queue is let in when one ends, however it ends."""
    box = opened(room=2)
    for motion in ("a", "b", "c", "d", "e"):
        petition(box, motion)
    waiting = list(box.instance.state["waiting"])
    queued = [(each["motion_id"], each["place"]) for each in told(box.effects, "queued")]
    introduce(box, "b")
    introduce(box, "a")
    box.end_child("/motions/b/governance", {"state": "ACKNOWLEDGED"})
    introduce(box, "c")
    box.end_child("/motions/a/governance", status="failed")
    introduce(box, "d")

    assert waiting == ["c", "d", "e"]
    assert queued == [("c", 1), ("d", 2), ("e", 3)]
    assert begun(box) == ["b", "a", "c", "d"]
    assert box.instance.state["active"] == ["c", "d"]
    assert box.instance.state["waiting"] == ["e"]
    assert box.instance.state["ended"] == {"completed": 1, "failed": 1, "refused": 0}
    box.refold()


def test_what_the_king_cannot_read_is_refused_and_makes_room() -> None:
    """It never becomes a motion; the reason is told."""
    box = opened(room=1)
    petition(box, "noise")
    petition(box, "lamps")

    box.fail("/motions/noise/king_service.introduce", "validation", retryable=False)

    assert told(box.effects, "refused") == [{"motion_id": "noise", "reason": "no luck"}]
    assert box.instance.state["active"] == ["lamps"]


def test_a_petition_that_comes_twice_is_one_motion() -> None:
    """Whoever asks again changes nothing."""
    box = opened()
    petition(box, "lamps")
    petition(box, "lamps", text="Title: something else")

    assert len(asks(box.effects)) == 1


def test_what_is_no_petition_is_told_and_stops_nobody() -> None:
    """Strangers may send anything."""
    box = opened()
    box.signal("petition", {"text": 7})
    box.signal("something", "else")
    box.signal("petition", body=b"{")
    petition(box, "no id of a run")
    petition(box, "x" * 65)
    petition(box, "")
    petition(box, "long", output="x" * PETITION_BYTES_MAX)
    petition(box, "lamps")

    assert len(told(box.effects, "refused")) == 7
    assert all(len(each["reason"]) < 300 for each in told(box.effects, "refused"))
    assert box.instance.state["active"] == ["lamps"]


def test_a_session_that_is_adjourned_waits_for_the_motions_that_came_before() -> None:
    """Its result counts them; who comes later is not heard."""
    box = opened(room=1)
    petition(box, "a")
    petition(box, "b")
    box.signal("adjourn")
    petition(box, "late")
    for motion in ("a", "b"):
        introduce(box, motion)
        box.end_child(f"/motions/{motion}/governance", {})

    assert box.result == {"completed": 2, "failed": 0, "refused": 0}
    assert begun(box) == ["a", "b"]


def test_a_long_session_goes_on_as_new_when_it_is_empty() -> None:
    """Its mailbox has an end, the queue has none: the petition that came is taken along."""
    box = opened(room=PETITIONS_MAX)
    for number in range(PETITIONS_MAX):
        petition(box, f"m-{number}")
        box.fail(f"/motions/m-{number}/king_service.introduce", "validation", retryable=False)
    petition(box, "lamps")

    assert box.instance.generation == 2
    assert "continued" in events(box.effects)
    assert box.instance.state["active"] == ["lamps"]


def test_a_motion_may_enter_in_a_later_state() -> None:
    """What is said of its state is its input, for the machine to judge."""
    box = opened()
    petition(box, "lamps", state="JUDGING", output={"done": []})

    (spawn,) = [each for each in introduce(box, "lamps") if isinstance(each, Spawn)]

    assert msgspec.json.decode(spawn.body) == {
        "motion": {"title": "lamps"},
        "state": "JUDGING",
        "work_done": True,
        "output": {"done": []},
    }


def test_a_motion_whose_id_is_taken_makes_room() -> None:
    """The id belongs to another run: the petition has failed."""
    box = opened(room=1)
    petition(box, "taken")
    petition(box, "lamps")
    introduce(box, "taken")

    box.end_child(
        "/motions/taken/governance", status="failed", failure=Failure(kind="exists", message="x")
    )

    assert box.instance.state["active"] == ["lamps"]
