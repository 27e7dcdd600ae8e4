"""The directive ``compensate``: what the states of a motion did is undone, newest first."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from protocols.compensation import NEVER_SEEN
from protocols.directives import Directive, Do
from protocols.machines.machine import Hook, Machine, State, StateUndo
from protocols.machines.text import as_mermaid, as_text
from protocols.policy import NO_RETRY
from tests.kernel.mailbox import Mailbox, asks, events, paths
from tests.motions.machines import PERMIT, motion, of_motion, told, went

ON_ERROR: Final[dict[str, Directive | Do]] = {
    "refused": "compensate",
    "timeout": "compensate",
    "network": Directive(do="fallback", services=("other",), then="compensate"),
    "permission": Directive(do="review", by="boss", then="compensate"),
    "compliance": Directive(do="compensate", to="CALLED_OFF"),
    "validation": Directive(do="return_to_previous", then="compensate"),
}
TRIP: Final = Machine(
    name="trip",
    initial="HOTEL",
    on_error=ON_ERROR,
    states={
        "HOTEL": State(owner="hotel", operation="book", undo="cancel", next="FLIGHT"),
        "FLIGHT": State(
            owner="airline",
            operation="book",
            undo=StateUndo(operation="refund", service="bank", policy=NO_RETRY),
            signals={"call-off": "CALLED_OFF"},
            next="CAR",
        ),
        "CAR": State(
            owner="car",
            operation="rent",
            undo=StateUndo(operation="return", policy=NO_RETRY),
            timeout="7d",
            next="TICKETS",
        ),
        "TICKETS": State(owner="post", operation="send", next="DONE"),
        "DONE": State(terminal=True),
        "CALLED_OFF": State(owner="post", operation="excuse", terminal="failed"),
    },
)
"""Three states that can be undone, and one that cannot."""
WORK: Final = {
    "HOTEL": "/states/HOTEL/hotel.book",
    "FLIGHT": "/states/FLIGHT/airline.book",
    "CAR": "/states/CAR/car.rent",
    "TICKETS": "/states/TICKETS/post.send",
}
UNDONE: Final = {
    "HOTEL": ("hotel", "cancel"),
    "FLIGHT": ("bank", "refund"),
    "CAR": ("car", "return"),
}


def trip(until: str, machine: Machine = TRIP) -> Mailbox:
    """Return a motion whose work is done before a state."""
    box = motion(machine)
    box.start({"to": "Bern"})
    for state, path in WORK.items():
        if state == until:
            break
        box.reply(path, state.lower())
    return box


def fates(box: Mailbox) -> dict[str, str]:
    """Return what became of each step that can be undone."""
    return {each.path: each.fate for each in box.instance.steps if each.service}


def undo_all(box: Mailbox) -> list[tuple[str, str]]:
    """Answer every undo until the motion has ended; return service and operation of each."""
    asked = []
    while box.instance.status == "running":
        (path,) = [each.path for each in box.instance.waiting() if each.kind == "step"]
        (ask,) = [each for each in asks(box.effects) if each.path == path]
        assert ask.undoes == ask.path.replace("/undo", "").replace("/states", "m-1/1/states", 1)
        asked.append((ask.service, ask.operation))
        box.reply(path)
    return asked


def ended(box: Mailbox) -> tuple[str, str]:
    """Return the status and the kind of the failure of a motion that has ended."""
    assert box.instance.failure is not None, box.instance.status
    return box.instance.status, box.instance.failure.kind


@pytest.mark.parametrize("failing", WORK)
def test_what_the_states_before_a_failure_did_is_undone_in_reverse_order(failing: str) -> None:
    """Each at its service or the one that its state names; the failure stays the reason."""
    box = trip(failing)
    before = list(WORK)[: list(WORK).index(failing)]

    effects = box.fail(WORK[failing], "refused", retryable=False)

    assert [each["directive"] for each in told(effects, "directive")] == ["compensate"]
    assert undo_all(box) == [UNDONE[state] for state in reversed(before)]
    assert ended(box) == ("compensated" if before else "failed", "refused")
    assert fates(box) == {WORK[state]: "undone" for state in before}
    failure = box.instance.failure
    assert failure is not None
    assert failure.details["state"] == failing
    assert failure.details["data"] == {state: state.lower() for state in before}
    assert failure.details["error"]["message"] == "no luck"
    box.refold()


@pytest.mark.parametrize("failing", list(WORK)[:3])
def test_work_that_may_have_been_done_is_undone_as_well(failing: str) -> None:
    """The time of the state is over: nobody knows, so its own undo comes first."""
    box = trip(failing)
    before = list(WORK)[: list(WORK).index(failing)]
    box.pass_time(8 * 86_400)

    box.time_out(WORK[failing])

    assert undo_all(box) == [UNDONE[state] for state in (failing, *reversed(before))]
    assert ended(box) == ("compensated", "timeout")
    box.refold()


@pytest.mark.parametrize("cut", ["deadline", "cancel"])
def test_what_was_cut_short_is_waited_for_a_minute_and_then_undone(cut: str) -> None:
    """Not for the week that its owner had; a reply within the minute is undone at once."""
    box = trip("CAR")
    if cut == "deadline":
        box.pass_time(7 * 86_400)
        effects = box.fire("/states/CAR/deadline")
    else:
        effects = box.cancel("enough")
    box.pass_time(59)

    assert paths(effects) == []
    assert paths(box.fire("/states/CAR/car.rent/_until")) == []
    box.pass_time(1)
    assert paths(box.fire("/states/CAR/car.rent/_until")) == ["/states/CAR/car.rent/undo"]
    assert undo_all(box) == [UNDONE["CAR"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "timeout" if cut == "deadline" else "cancelled")
    box.refold()


def test_a_cancel_undoes_the_newest_first_as_soon_as_all_is_decided() -> None:
    """The owner's answer ends the wait, also that of a state without an undo."""
    box = trip("TICKETS")

    cancelled = box.cancel("enough")
    decided = box.reply(WORK["TICKETS"])

    assert paths(cancelled) == []
    assert paths(decided) == ["/states/CAR/car.rent/undo"]
    assert undo_all(box) == [UNDONE["CAR"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "cancelled")
    box.refold()


def test_a_motion_that_completes_undoes_nothing() -> None:
    """All stands."""
    box = trip("")

    assert box.result["state"] == "DONE"
    assert set(fates(box).values()) == {"done"}
    box.refold()


def test_an_undo_that_does_not_work_is_an_incident_and_the_others_still_run() -> None:
    """The end tells which state's work stands."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "refused", retryable=False)

    failed = box.fail("/states/FLIGHT/airline.book/undo", "closed", retryable=False)
    box.reply("/states/HOTEL/hotel.book/undo")

    assert events(failed) == ["incident"]
    assert told(failed, "incident")[0]["reason"] == "undo_could_not"
    assert ended(box) == ("compensation_incomplete", "refused")
    assert fates(box) == {WORK["HOTEL"]: "undone", WORK["FLIGHT"]: "could_not"}
    box.refold()


def changed(state: str, **fields: Any) -> Machine:
    """Return the trip with a state that is another one."""
    states = dict(TRIP.states)
    states[state] = msgspec.structs.replace(states[state], **fields)
    return msgspec.structs.replace(TRIP, states=states)


def test_a_service_that_cannot_refuse_a_key_later_is_given_its_time() -> None:
    """The undo waits for ``settle`` beyond the whole time of the state; then nobody may know."""
    settles = StateUndo(operation="return", settle="30s", policy=NO_RETRY)
    box = trip("CAR", changed("CAR", undo=settles, timeout=100))
    box.pass_time(100)
    box.fire("/states/CAR/deadline")

    box.pass_time(129)
    assert paths(box.fire("/states/CAR/car.rent/_until")) == []
    box.pass_time(1)
    assert paths(box.fire("/states/CAR/car.rent/_until")) == ["/states/CAR/car.rent/undo"]
    box.fail("/states/CAR/car.rent/undo", NEVER_SEEN, retryable=False)
    undo_all(box)

    assert ended(box) == ("compensation_incomplete", "timeout")
    assert fates(box)[WORK["CAR"]] == "unknown"
    box.refold()


# The point of no return

PIVOT: Final = changed("FLIGHT", pivot=True)


def test_behind_a_pivot_nothing_is_undone_and_what_is_then_comes() -> None:
    """``compensate`` cannot help any more; by default it halts, and a cancel undoes nothing."""
    box = trip("CAR", PIVOT)

    effects = box.fail(WORK["CAR"], "refused", retryable=False)

    assert [each["directive"] for each in told(effects, "directive")] == [
        "compensate",
        "halt_and_alert",
    ]
    box.cancel()
    assert ended(box)[0] == "cancelled"
    assert set(fates(box).values()) == {"done"}
    box.refold()


@pytest.mark.parametrize("kind", ["refused", "network"])
def test_a_pivot_that_is_not_done_is_no_pivot(kind: str) -> None:
    """Its failure undoes what came before."""
    box = trip("FLIGHT", PIVOT)

    box.fail(WORK["FLIGHT"], kind, retryable=False)
    if kind == "network":
        for attempt in (2, 3, 4):
            box.fail(WORK["FLIGHT"], kind, attempt=attempt, retryable=False)
        box.fail("/states/FLIGHT/other.book", "refused", retryable=False)

    assert undo_all(box) == [UNDONE["HOTEL"]]
    assert ended(box)[0] == "compensated"
    box.refold()


def test_a_pivot_is_done_with_the_owner_s_answer_whatever_it_says() -> None:
    """It asks for a state that may not follow: the work is done all the same."""
    box = trip("FLIGHT", PIVOT)

    box.reply(WORK["FLIGHT"], {"success": True, "next_state": "DONE"})
    box.cancel()

    assert ended(box)[0] == "cancelled"
    assert set(fates(box).values()) == {"done"}
    box.refold()


def test_a_pivot_is_done_as_well_when_a_person_says_so() -> None:
    """Their word stands for the output."""
    box = trip("FLIGHT", PIVOT)
    box.fail(WORK["FLIGHT"], "odd", retryable=False)
    box.signal("motion.resume", {"to": "CAR", "result": "by phone", "who": "ann"})

    box.cancel()
    box.reply(WORK["CAR"])

    assert undo_all(box) == [UNDONE["CAR"]]  # it was in flight, and nobody wants it
    assert fates(box) == {WORK["HOTEL"]: "done", WORK["CAR"]: "undone"}


# An end of its own, and what comes before and after the directive


def test_a_motion_may_be_undone_behind_an_end_of_its_own() -> None:
    """Its owner works first, and learns why; the transition says that it is undone."""
    box = trip("CAR")

    effects = box.fail(WORK["CAR"], "compliance", retryable=False)

    (excuse,) = asks(effects)
    assert (excuse.service, excuse.operation) == ("post", "excuse")
    assert went(box)[-1] == ("CAR", "CALLED_OFF", "compensated")
    assert told(effects, "transition")[0]["error"]["kind"] == "compliance"
    assert msgspec.json.decode(excuse.body)["error"]["state"] == "CAR"
    asked = box.reply("/states/CALLED_OFF/post.excuse", "sorry")
    assert paths(asked) == ["/states/FLIGHT/airline.book/undo"]
    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "CALLED_OFF")
    box.refold()


def test_every_end_that_failed_is_undone() -> None:
    """Also when a signal leads there: what was in flight is undone first."""
    box = trip("FLIGHT")
    box.signal("call-off")
    box.reply("/states/CALLED_OFF/post.excuse")

    asked = box.reply(WORK["FLIGHT"], "LX 1")

    assert paths(asked) == ["/states/FLIGHT/airline.book/undo"]
    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "CALLED_OFF")
    box.refold()


def test_a_failure_of_the_end_s_owner_is_undone_where_it_is() -> None:
    """There is no other end to go to."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "compliance", retryable=False)

    box.fail("/states/CALLED_OFF/post.excuse", "compliance", retryable=False)

    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "compliance")
    box.refold()


def test_a_reviewer_who_does_not_help_leads_to_the_undo() -> None:
    """``then`` stands behind every directive."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "permission", retryable=False)

    box.reply("/states/CAR/boss.review", "halt")

    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "permission")
    box.refold()


def test_the_witness_speaks_before_the_end_and_nothing_is_undone_before() -> None:
    """A transition to the end is one like others."""
    machine = msgspec.structs.replace(
        TRIP, on_transition=(Hook(service="knight", operation="state"),)
    )
    box = motion(machine)
    box.start()
    box.reply("/states/HOTEL.before/knight.state")
    box.reply(WORK["HOTEL"])
    box.reply("/states/FLIGHT.before/knight.state")

    effects = box.fail(WORK["FLIGHT"], "compliance", retryable=False)

    assert paths(effects) == ["/states/CALLED_OFF.before/knight.state"]
    assert paths(box.reply("/states/CALLED_OFF.before/knight.state")) == [
        "/states/CALLED_OFF/post.excuse"
    ]
    box.reply("/states/CALLED_OFF/post.excuse")
    assert undo_all(box) == [UNDONE["HOTEL"]]
    box.refold()


# States that are visited and asked several times


def test_a_state_that_is_entered_anew_is_a_step_of_its_own() -> None:
    """Both visits are undone, the newer one first, each by its key."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "validation", retryable=False)
    box.reply("/states/FLIGHT#2/airline.book", "LX 2")
    box.fail("/states/CAR#2/car.rent", "refused", retryable=False)

    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    keys = [each.undoes for each in asks(box.effects) if each.undoes]
    assert keys == [
        "m-1/1/states/FLIGHT#2/airline.book",
        "m-1/1/states/FLIGHT/airline.book",
        "m-1/1/states/HOTEL/hotel.book",
    ]
    box.refold()


@pytest.mark.parametrize("unknown", [False, True])
def test_work_that_is_asked_for_again_is_undone_once(unknown: bool) -> None:  # noqa: FBT001
    """Resumed by an operator: the same key, whatever became of the first request."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "system", retryable=False, unknown=unknown)
    (again,) = asks(box.signal("motion.resume", "retry"))
    box.reply(again.path, "a red one")
    box.fail(WORK["TICKETS"], "refused", retryable=False)

    assert again.key == "m-1/1/states/CAR/car.rent"
    assert [path for path in paths(box.effects) if path.endswith("undo")] == [
        "/states/CAR/car.rent/undo"
    ]
    assert undo_all(box) == [UNDONE["CAR"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert len(fates(box)) == 3
    box.refold()


def test_work_that_came_late_and_was_undone_is_asked_for_under_a_key_of_its_own() -> None:
    """Its service refuses the first key from then on."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "system", retryable=False, unknown=True)
    late = box.reply(WORK["CAR"], "a red one")
    box.reply("/states/CAR/car.rent/undo")

    (again,) = asks(box.signal("motion.resume", "retry"))
    box.reply(again.path, "a blue one")
    box.fail(WORK["TICKETS"], "refused", retryable=False)

    assert paths(late) == ["/states/CAR/car.rent/undo"]
    assert again.key == "m-1/1/states/CAR/car.rent#2"
    assert undo_all(box) == [UNDONE["CAR"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert fates(box)["/states/CAR/car.rent#2"] == "undone"
    box.refold()


def test_a_service_in_the_owner_s_place_undoes_what_it_did() -> None:
    """The one that did the work, unless the state names another one."""
    box = trip("HOTEL")
    for attempt in (1, 2, 3, 4):
        box.fail(WORK["HOTEL"], "network", attempt=attempt, retryable=False)
    box.reply("/states/HOTEL/other.book")
    box.fail(WORK["FLIGHT"], "refused", retryable=False)

    assert undo_all(box) == [("other", "cancel")]
    assert ended(box) == ("compensated", "refused")
    box.refold()


def test_work_that_was_done_before_the_motion_began_is_not_undone() -> None:
    """Nobody was asked for it."""
    box = motion(msgspec.structs.replace(TRIP, begin=("FLIGHT",)))
    box.start({"state": "FLIGHT", "work_done": True, "output": "LX 9"})

    box.fail(WORK["CAR"], "refused", retryable=False)

    assert ended(box) == ("failed", "refused")
    assert of_motion(box.effects)[-1] == "failed"


def test_a_key_of_its_own_is_the_one_that_is_asked_for_from_then_on() -> None:
    """Nobody knows of the second request either: the third one carries its key."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "system", retryable=False, unknown=True)
    box.reply(WORK["CAR"], "a red one")
    box.reply("/states/CAR/car.rent/undo")
    (second,) = asks(box.signal("motion.resume", "retry"))
    box.fail(second.path, "system", retryable=False, unknown=True)

    (third,) = asks(box.signal("motion.resume", "retry"))
    box.reply(third.path, "a blue one")
    box.fail(WORK["TICKETS"], "refused", retryable=False)

    assert second.key == third.key == "m-1/1/states/CAR/car.rent#2"
    assert undo_all(box) == [UNDONE["CAR"], UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    box.refold()


def test_people_see_what_can_be_undone() -> None:
    """As text and in a diagram: by whom, and where the point of no return is."""
    machine = msgspec.structs.replace(
        PIVOT, on_error={"refused": Directive(do="compensate", to="CALLED_OFF")}
    )

    text, diagram = as_text(machine), as_mermaid(machine)

    assert "on refused: compensate (CALLED_OFF)\n" in text
    assert "    undone by hotel.cancel\n" in text
    assert "    undone by bank.refund\n    nothing is undone any more when it is done\n" in text
    assert "    note right of HOTEL : undone by hotel.cancel\n" in diagram
    assert (
        "    note right of FLIGHT : undone by bank.refund, "
        "nothing is undone any more when it is done\n"
    ) in diagram
    assert "note right of CALLED_OFF" not in diagram


def test_a_machine_without_an_undo_is_stored_as_it_was() -> None:
    """Its hash is that of before: fields with their defaults are not written. Others come back."""
    (state, *_) = msgspec.to_builtins(PERMIT)["states"].values()

    assert state == {"owner": "clerk", "operation": "check", "next": ({"to": "REVIEWED"},)}
    assert msgspec.json.decode(msgspec.json.encode(PIVOT), type=Machine) == PIVOT


def test_a_cancel_waits_no_longer_for_a_reviewer() -> None:
    """A minute, and not the day that they have."""
    box = trip("CAR")
    box.fail(WORK["CAR"], "permission", retryable=False)
    box.cancel()
    box.pass_time(60)

    box.fire("/states/FLIGHT/airline.book/_until")

    assert undo_all(box) == [UNDONE["FLIGHT"], UNDONE["HOTEL"]]
    assert ended(box) == ("compensated", "cancelled")
    box.refold()
