"""Directives: what each failure of a state leads to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.motions.rules import ILLEGAL
from protocols.directives import Directive
from protocols.failure import NO_RESPONDERS
from protocols.machines.machine import Machine, Next, State
from tests.kernel.mailbox import SECOND, asks, paths
from tests.motions.machines import PERMIT, in_building, motion, of_motion, told, went

BUILD = "/states/BUILDING/builder.build"
BY_A_PERSON = Machine(
    name="plain",
    initial="A",
    states={
        "A": State(
            owner="x", next="B", on_error={"refused": Directive(do="review", timeout="2d")}
        ),
        "B": State(terminal=True),
    },
)


def test_a_retry_asks_the_same_service_with_the_same_key() -> None:
    """The policy of the kind that failed; the number rises, the key stays."""
    box = in_building()
    (first,) = [ask for ask in asks(box.effects) if ask.path == BUILD]
    box.pass_time(3600)

    (second,) = asks(box.time_out(BUILD))

    assert (second.attempt, second.key) == (2, first.key)
    assert second.due == box.at + 5 * SECOND


@pytest.mark.parametrize("kind", ["timeout", "network", "no_responders", "over_limit"])
def test_what_passes_is_retried_by_default_with_the_three_delays(kind: str) -> None:
    """Four calls, 5, 30 and 300 s apart, then it halts."""
    box = motion()
    box.start()
    delays = []
    for attempt in (1, 2, 3):
        box.pass_time(90_000)
        give_up = box.time_out if kind == "timeout" else None
        path = "/states/FILED/clerk.check"
        (ask,) = asks(
            give_up(path, attempt=attempt)
            if give_up
            else box.fail(path, kind, attempt=attempt, retryable=False)
        )
        delays.append((ask.due - box.at) / SECOND)
    box.pass_time(90_000)
    end = (
        box.time_out("/states/FILED/clerk.check", attempt=4)
        if kind == "timeout"
        else box.fail("/states/FILED/clerk.check", kind, attempt=4)
    )

    assert delays == [5, 30, 300]
    assert [each["directive"] for each in told(end, "directive")] == ["retry", "halt_and_alert"]
    box.refold()


def test_a_fallback_asks_the_next_service_after_the_retries() -> None:
    """Each in its turn, with a key of its own; the first that answers counts."""
    box = in_building()
    box.fail(BUILD, "network")
    (mason,) = asks(box.fail(BUILD, "network", attempt=2))
    (carpenter,) = asks(box.fail("/states/BUILDING/mason.build", "busy"))
    box.reply("/states/BUILDING/carpenter.build", "a hut")

    assert (mason.service, carpenter.service) == ("mason", "carpenter")
    assert len({mason.key, carpenter.key}) == 2
    assert told(box.effects, "transition")[-1]["owner"] == "carpenter"
    box.refold()


def test_no_other_service_is_asked_when_the_work_may_have_been_done() -> None:
    """A failure with an unknown outcome stops a fallback that has no word for it."""
    box = in_building()
    box.fail(BUILD, "network", unknown=True)

    effects = box.fail(BUILD, "network", attempt=2, unknown=True)

    assert paths(effects) == []
    assert [each["directive"] for each in told(effects, "directive")] == [
        "retry",
        "fallback",
        "halt_and_alert",
    ]


def test_wrong_input_goes_back_to_the_state_before() -> None:
    """The former owner is asked anew, with a new key and with what was wrong."""
    box = in_building()
    (before,) = [ask for ask in asks(box.effects) if ask.service == "council"]

    (again,) = asks(box.fail(BUILD, "validation_error", retryable=False, details={"floors": -1}))

    assert went(box)[-1] == ("BUILDING", "REVIEWED", "returned")
    assert (again.service, again.path) == ("council", "/states/REVIEWED#2/council.vote")
    assert again.key != before.key
    assert b'"details":{"floors":-1}' in again.body
    box.refold()


def test_two_states_that_send_a_motion_to_and_fro_come_to_an_end() -> None:
    """Three returns in a row, then it halts."""
    box = in_building()
    for entry in ("", "#2", "#3"):
        box.fail(f"/states/BUILDING{entry}/builder.build", "validation")
        number = int(entry[1:] or 1) + 1
        box.reply(f"/states/REVIEWED#{number}/council.vote", {"ayes": 3, "noes": 1})

    effects = box.fail("/states/BUILDING#4/builder.build", "validation")

    assert went(box)[-1] == ("REVIEWED", "BUILDING", "completed")
    assert of_motion(effects) == ["directive", "directive", "incident"]


def test_nothing_comes_before_the_first_state() -> None:
    """There is nowhere to return to: it halts."""
    box = motion()
    box.start()

    effects = box.fail("/states/FILED/clerk.check", "validation")

    assert [each["directive"] for each in told(effects, "directive")] == [
        "return_to_previous",
        "halt_and_alert",
    ]


@pytest.mark.parametrize("kind", ["permission", "compliance_error"])
def test_what_a_rule_forbids_is_reviewed(kind: str) -> None:
    """The reviewer of the machine is told what failed; the state stays."""
    box = in_building()

    (review,) = asks(box.fail(BUILD, kind, retryable=False))

    assert (review.service, review.operation) == ("council", "review")
    assert box.instance.state["state"] == "BUILDING"
    assert box.instance.state["blocked"] == f"{kind}: no luck"
    assert b'"allowed":["INSPECTED"]' in review.body
    box.refold()


def test_a_reviewer_may_have_the_work_asked_for_again_under_its_key() -> None:
    """The same work: a service that has done it meanwhile answers what it answered then."""
    box = in_building()
    (first,) = [ask for ask in asks(box.effects) if ask.path == BUILD]
    box.fail(BUILD, "permission")

    (again,) = asks(box.reply("/states/BUILDING/council.review", "retry"))

    assert (again.path, again.key) == (BUILD + "#2", first.key)
    box.refold()


def test_a_reviewer_may_let_the_motion_go_on_with_a_result() -> None:
    """An allowed state, with what stands for the owner's output."""
    box = in_building()
    box.fail(BUILD, "permission")

    box.reply(
        "/states/BUILDING/council.review", {"to": "INSPECTED", "result": "as is", "why": "old"}
    )

    assert went(box)[-1] == ("BUILDING", "INSPECTED", "reviewed")
    facts = told(box.effects, "transition")[-1]
    assert (facts["by"], facts["why"], facts["owner"]) == ("council", "old", "builder")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ({"to": "DONE"}, "DONE does not follow BUILDING: INSPECTED"),
        ({"to": "DENIED"}, "DENIED does not follow BUILDING: INSPECTED"),
        ({"do": "transition"}, "a transition needs 'to': the name of a state"),
        ("perhaps", "no decision: "),
        (7, "no decision: "),
    ],
)
def test_a_reviewer_is_not_privileged(word: Any, reason: str) -> None:
    """What may not follow is refused for the reviewer too, and the motion halts."""
    box = in_building()
    box.fail(BUILD, "permission")

    effects = box.reply("/states/BUILDING/council.review", word)

    (refused,) = told(effects, "transition_refused")
    assert refused["reason"].startswith(reason)
    assert box.instance.state["blocked"].startswith("halted: permission")
    box.refold()


def test_a_person_reviews_where_no_service_is_named() -> None:
    """A signal decides; one that is none is refused, and the wait goes on."""
    box = motion(BY_A_PERSON)
    box.start()
    box.fail("/states/A/x.a", "refused")

    refused = box.signal("motion.review", {"to": "C", "who": "ann"})
    effects = box.signal("motion.review", {"to": "B", "who": "ann", "why": "I know them"})

    assert told(refused, "transition_refused")[0]["by"] == "ann"
    assert told(effects, "transition")[0]["by"] == "ann"
    assert box.result["state"] == "B"
    box.refold()


def test_nobody_who_reviews_in_time_leads_to_what_comes_then() -> None:
    """After two days it halts, and the review comes too late: refused."""
    box = motion(BY_A_PERSON)
    box.start()
    box.fail("/states/A/x.a", "refused")
    box.pass_time(2 * 86_400)

    halted = box.fire("/states/A/review/deadline")
    late = box.signal("motion.review", "retry")

    assert of_motion(halted) == ["directive", "incident"]
    assert told(late, "transition_refused")[0]["reason"] == "A waits for no motion.review"


@pytest.mark.parametrize("kind", ["system", "refused", "never heard of", "error", "code"])
def test_everything_else_halts_until_an_operator_resumes(kind: str) -> None:
    """An incident tells people; nothing is asked until the signal; then under the same key."""
    box = in_building()
    (first,) = [ask for ask in asks(box.effects) if ask.path == BUILD]

    effects = box.fail(BUILD, kind)

    assert of_motion(effects) == ["directive", "incident"]
    assert paths(effects) == []
    assert box.instance.state["next_action"] == "an operator: signal motion.resume"
    (again,) = asks(box.signal("motion.resume"))
    assert again.key == first.key
    assert box.instance.state["blocked"] is None
    box.refold()


def test_an_operator_is_not_privileged() -> None:
    """A skipped state is refused; an allowed one is entered, with who and why."""
    box = in_building()
    box.fail(BUILD, "system")

    refused = box.signal("motion.resume", {"to": "DONE", "who": "root"})
    moved = box.signal("motion.resume", {"to": "INSPECTED", "who": "root", "why": "by hand"})

    assert told(refused, "transition_refused")[0]["cause"] == "resumed"
    assert told(refused, "transition") == []
    assert told(moved, "transition")[0]["cause"] == "resumed"
    assert told(moved, "transition")[0]["by"] == "root"


def test_a_word_before_the_halt_does_not_resume_it() -> None:
    """A resume that nobody asked for is refused and not kept."""
    box = in_building()
    early = box.signal("motion.resume")
    box.fail(BUILD, "system")

    assert told(early, "transition_refused")[0]["reason"] == "BUILDING waits for no motion.resume"
    assert box.instance.state["blocked"].startswith("halted")


def test_what_is_not_critical_goes_on_with_a_warning() -> None:
    """Without a result; the warning is an event, is shown, and stands in the outcome."""
    machine = Machine(
        name="plain",
        initial="A",
        states={
            "A": State(owner="x", next=("B",), on_error={"refused": "continue"}),
            "B": State(owner="y", terminal=True, on_error={"system": "continue"}),
        },
    )
    box = motion(machine)
    box.start()
    effects = box.fail("/states/A/x.a", "refused")
    box.fail("/states/B/y.b", "system")

    assert of_motion(effects) == ["directive", "warning", "transition"]
    assert [each["state"] for each in box.result["warnings"]] == ["A", "B"]
    assert box.result["data"] == {}
    box.refold()


def test_an_owner_may_not_skip_a_state() -> None:
    """The completion is refused and witnessed, and the motion halts in its state."""
    box = in_building()

    effects = box.reply(BUILD, {"success": True, "output": 1, "next_state": "DONE"})

    assert of_motion(effects) == ["transition_refused", "directive", "incident"]
    (refused,) = told(effects, "transition_refused")
    assert (refused["from"], refused["to"], refused["cause"]) == ("BUILDING", "DONE", "completed")
    assert told(effects, "directive")[0]["error"]["kind"] == ILLEGAL
    box.refold()


def test_an_owner_chooses_among_the_states_that_may_follow() -> None:
    """next_state is taken when it is allowed and its condition holds."""
    box = motion()
    box.start()
    box.reply("/states/FILED/clerk.check")
    vote = "/states/REVIEWED/council.vote"

    held = box.reply(
        vote, {"success": True, "output": {"ayes": 0, "noes": 1}, "next_state": "BUILDING"}
    )
    box.signal("motion.resume", "retry")
    box.reply(
        vote + "#2",
        {"success": True, "output": {"ayes": 9, "noes": 1}, "next_state": "DENIED"},
    )

    assert told(held, "transition_refused")[0]["reason"] == (
        "BUILDING may follow REVIEWED, but result.ayes > result.noes is false"
    )
    assert box.instance.status == "failed"
    assert box.instance.failure
    assert box.instance.failure.kind == "DENIED"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("validation_error", "validation_error"),
        ({"kind": "permission", "message": "no"}, "permission"),
        ("the dog ate it", "unsuccessful"),
        (None, "unsuccessful"),
    ],
)
def test_a_result_without_success_is_a_failure(error: Any, kind: str) -> None:
    """Nothing that says ``success: false`` passes as a completion."""
    box = in_building()

    effects = box.reply(BUILD, {"success": False, "error": error})

    assert told(effects, "directive")[0]["error"]["kind"] == kind


def test_a_guard_over_data_that_is_not_there_stays_closed() -> None:
    """No condition can be decided: the way with none is taken, or it halts."""
    machine = Machine(
        name="plain",
        initial="A",
        states={
            "A": State(owner="x", next=(Next(to="B", when="result.sum > 3"),)),
            "B": State(terminal=True),
        },
    )
    box = motion(machine)
    box.start()

    effects = box.reply("/states/A/x.a", {"total": 9})

    assert "the field 'sum' is not there" in told(effects, "transition_refused")[0]["reason"]
    assert box.instance.state["blocked"].startswith("halted: illegal_transition")


def test_a_service_that_is_absent_is_waited_for_until_the_time_is_over() -> None:
    """Nothing burns attempts; all attempts' time together ends the wait."""
    box = in_building()
    box.pass_time(2 * 3600 + 5)

    effects = box.fire("/states/BUILDING/deadline")

    assert [each["directive"] for each in told(effects, "directive")] == [
        "retry",
        "halt_and_alert",
    ]
    assert told(effects, "directive")[0]["error"]["unknown"]


def test_an_absent_service_fails_a_state_only_where_a_directive_says_what_then() -> None:
    """Without a word the request waits for the service, and burns no attempt."""
    waits = in_building()
    machine = msgspec.structs.replace(
        PERMIT,
        on_error={"no_responders": Directive(do="fallback", services=("agency",))},
    )
    box = motion(machine)
    box.start()

    effects = box.refuse("/states/FILED/clerk.check", NO_RESPONDERS)

    assert {ask.options.absent for ask in asks(waits.effects)} == {"wait"}
    assert asks(box.effects)[0].options.absent == "fail"
    assert [(ask.service, ask.operation) for ask in asks(effects)] == [("agency", "check")]


def test_going_back_is_never_a_way_forward() -> None:
    """Who sends a motion back has not led there: from the state before, back is further back."""
    box = in_building()
    box.fail(BUILD, "system")
    box.signal("motion.resume", {"do": "return_to_previous", "who": "root"})

    box.fail("/states/REVIEWED#2/council.vote", "validation")

    assert went(box)[-2:] == [
        ("BUILDING", "REVIEWED", "resumed"),
        ("REVIEWED", "FILED", "returned"),
    ]
    box.refold()


def test_an_operator_who_resumes_begins_the_count_anew() -> None:
    """Three reviews were used up; after a word by hand there are three more."""
    box = in_building()
    for number in range(1, 4):
        again = "" if number == 1 else f"#{number}"
        box.fail(BUILD + again, "permission")
        box.reply("/states/BUILDING/council.review" + again, "retry")
    halted = box.fail(BUILD + "#4", "permission")
    box.signal("motion.resume")

    (review,) = asks(box.fail(BUILD + "#5", "permission"))

    assert of_motion(halted) == ["directive", "directive", "incident"]
    assert review.path == "/states/BUILDING/council.review#4"


def test_a_motion_that_went_on_is_not_shown_as_halted() -> None:
    """What was shown of the halt goes with the state."""
    box = in_building()
    box.fail(BUILD, "system")

    box.signal("motion.resume", {"to": "INSPECTED"})
    box.reply("/states/INSPECTED/diary.note")

    assert box.instance.state["blocked"] is None
    assert box.instance.state["next_action"] == "inspector inspected"


def test_outputs_that_grow_too_large_hold_the_motion_and_ask_nothing_wrong() -> None:
    """It halts in its state; a retry asks nobody, and never under the key of another step."""
    box = motion()
    box.start("x" * 200_000)
    box.reply("/states/FILED/clerk.check", "y" * 100_000)

    effects = box.signal("motion.resume", "retry")

    assert box.instance.state["blocked"].startswith("halted: over_limit: ")
    assert asks(effects) == []
    assert of_motion(effects) == ["directive", "directive", "incident"]
    box.refold()


def test_an_output_beyond_the_limit_is_a_failure_of_the_owner() -> None:
    """Whoever says it: the owner, or an operator in the owner's place."""
    box = motion()
    box.start()
    effects = box.reply("/states/FILED/clerk.check", "y" * 200_000)
    refused = box.signal("motion.resume", {"to": "REVIEWED", "result": "y" * 200_000})

    assert told(effects, "directive")[0]["error"]["kind"] == "over_limit"
    assert told(refused, "transition_refused")[0]["reason"].startswith("the outputs of all")
    assert box.instance.status == "running"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("y" * 300_000, "over_limit"),
        ({"success": False, "error": {"kind": "flooded", "trace": "z" * 300_000}}, "flooded"),
    ],
)
def test_an_answer_that_came_out_of_a_blob_does_not_block_the_motion(
    value: Any, kind: str
) -> None:
    """It is a failure of the owner like any other, and an operator goes on from there."""
    box = in_building()

    effects = box.reply(BUILD, value)

    assert box.instance.blocked is None
    assert told(effects, "directive")[0]["error"]["kind"] == kind
    box.refold()


def test_large_details_of_a_failure_do_not_block_the_motion() -> None:
    """They stay in the history; what is told again is short."""
    box = in_building()

    effects = box.fail(BUILD, "system", details={"trace": "z" * 250_000})

    assert told(effects, "directive")[0]["error"]["details"] is None
    assert box.instance.status == "running"


def test_a_result_without_output_keeps_its_other_fields() -> None:
    """A reply that has a field of its own called ``success`` loses nothing."""
    box = in_building()

    box.reply(BUILD, {"success": True, "floors": 2})
    box.reply("/states/INSPECTED/diary.note")

    (ask,) = [each for each in asks(box.effects) if each.service == "inspector"]
    assert b'"BUILDING":{"floors":2}' in ask.body


def test_what_goes_on_without_an_output_takes_no_way_that_needs_one() -> None:
    """A condition over the output does not hold; without another way it halts."""
    machine = Machine(
        name="plain",
        initial="A",
        states={
            "A": State(
                owner="x",
                next=(Next(to="B", when="result.ok"), Next(to="C", when="input.free")),
                on_error={"refused": "continue"},
            ),
            "B": State(terminal=True),
            "C": State(terminal=True),
        },
    )
    free, bound = motion(machine), motion(machine)
    free.start({"free": True})
    bound.start({"free": False})

    for box in (free, bound):
        box.fail("/states/A/x.a", "refused")

    assert free.result["state"] == "C"
    assert bound.instance.state["blocked"].startswith("halted: refused")


def test_a_hook_that_is_not_critical_waits_for_nobody() -> None:
    """An absent diary is a warning; an absent witness is waited for."""
    box = in_building()
    box.reply(BUILD)
    (note,) = [ask for ask in asks(box.effects) if ask.service == "diary"]

    effects = box.refuse("/states/INSPECTED/diary.note", NO_RESPONDERS)
    for attempt in (2, 3, 4):
        effects += box.refuse("/states/INSPECTED/diary.note", NO_RESPONDERS, attempt=attempt)

    assert note.options.absent == "fail"
    assert of_motion(effects) == ["warning"]
    assert paths(effects)[-1] == "/states/INSPECTED/inspector.inspected"


def test_a_reviewer_who_is_never_there_is_waited_for_as_long_as_the_directive_says() -> None:
    """A durable timer ends the wait; the answer that comes then is stale."""
    machine = msgspec.structs.replace(
        BY_A_PERSON, on_error={"system": Directive(do="review", by="judge", timeout="2d")}
    )
    box = motion(machine)
    box.start()
    box.fail("/states/A/x.a", "system")
    box.pass_time(2 * 86_400)

    effects = box.fire("/states/A/deadline#2")
    late = box.reply("/states/A/judge.review", {"to": "B"})

    assert of_motion(effects) == ["warning", "directive", "incident"]
    assert of_motion(late) == ["stale"]
