"""The witness of a machine: no statement, no transition."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.motions.rules import STATEMENT_BYTES_MAX
from protocols import codec
from protocols.machines.check import check
from protocols.machines.machine import Hook, Machine, State
from protocols.machines.text import as_text
from tests.kernel.mailbox import asks, paths
from tests.motions.machines import motion, told, went

MACHINE = Machine(
    name="witnessed",
    initial="A",
    on_transition=(Hook(service="diary", operation="note"),),
    witness=Hook(service="notary", operation="state"),
    states={
        "A": State(owner="x", next="B", signals={"stop": "B"}),
        "B": State(terminal=True),
    },
)
STATE = "/states/B.before/notary.state"


def begun() -> Any:
    """Return a motion in A whose work is done, and whose diary is written."""
    box = motion(MACHINE)
    box.start({"plot": 7})
    box.reply("/states/A.before/diary.note")
    box.reply("/states/A.before/notary.state", {"says": "it begins"})
    box.reply("/states/A/x.a", 1)
    box.reply("/states/B.before/diary.note")
    return box


def test_the_witness_speaks_last_and_its_statement_is_part_of_the_transition() -> None:
    """It is asked for what the transition tells, after the other steps."""
    box = begun()
    (asked,) = [each for each in asks(box.effects) if each.path == STATE]

    assert went(box) == [("", "A", "submitted")]
    box.reply(STATE, {"says": "from A to B", "number": 2})

    request = codec.decode(asked.body)
    assert (request["from"], request["to"], request["motion"]["input"]) == ("A", "B", {"plot": 7})
    first, second = told(box.effects, "transition")
    assert first["statement"] == {"says": "it begins"}
    assert second["statement"] == {"says": "from A to B", "number": 2}
    assert box.result["state"] == "B"
    box.refold()


def test_a_motion_shows_that_it_waits_for_its_witness() -> None:
    """It is in the state that it wants to leave."""
    box = begun()

    assert box.instance.state["state"] == "A"
    assert box.instance.state["next_action"] == "notary state"


@pytest.mark.parametrize("said", [None, "", {}, [], 0, "x" * (STATEMENT_BYTES_MAX + 1)])
def test_a_statement_that_is_none_holds_the_motion(said: Any) -> None:
    """It is asked again when an operator says so, and cannot be passed over."""
    box = begun()

    effects = box.reply(STATE, said)
    forced = box.signal("motion.resume", {"to": "B", "who": "root"})
    (again,) = asks(box.signal("motion.resume", "retry"))

    assert told(effects, "incident")[0]["reason"] == "halted"
    assert told(forced, "transition_refused")[0]["by"] == "root"
    assert went(box) == [("", "A", "submitted")]
    box.reply(again.path, "I have seen it")
    assert went(box)[-1] == ("A", "B", "completed")
    box.refold()


def test_a_signal_needs_the_witness_as_well() -> None:
    """Nobody leaves a state unseen."""
    box = motion(MACHINE)
    box.start()
    box.reply("/states/A.before/diary.note")
    box.reply("/states/A.before/notary.state", "seen")
    box.signal("stop", {"who": "ann"})

    assert paths(box.reply("/states/B.before/diary.note")) == [STATE]
    assert went(box) == [("", "A", "submitted")]
    box.reply(STATE, "seen")
    assert went(box)[-1] == ("A", "B", "signal")


def test_a_machine_without_a_witness_tells_transitions_as_before() -> None:
    """What older motions have told is told again the same."""
    box = motion(msgspec.structs.replace(MACHINE, witness=None))
    box.start()
    box.reply("/states/A.before/diary.note")

    assert "statement" not in told(box.effects, "transition")[0]


def test_a_witness_is_checked_like_every_step() -> None:
    """Its names, and that it may not be passed over."""
    wrong = Hook(service="no tary", operation="state", critical=False)

    found = check(msgspec.structs.replace(MACHINE, witness=wrong))

    assert [each.where for each in found] == ["witness.service", "witness.critical"]
    assert "each transition is witnessed: notary.state" in as_text(MACHINE)
