"""The flow orchestrator's tables, T1 to T9, and what its criteria say about failures."""

from __future__ import annotations

from typing import Any

import pytest

from examples.governance.tables import (
    BRANCH_COMPLETED,
    ORCHESTRATOR_ERROR,
    following,
    handoff,
    worker,
)
from protocols.effects import Emit
from tests.examples.governance import (
    AC1,
    GOVERNANCE,
    OUTPUTS,
    STATE_SERVICE_MAP,
    STATEMENT,
    WAY,
    Flow,
)
from tests.kernel.mailbox import asks, finish
from tests.motions.machines import told, went

DAY_S = 86_400


# The two tables


@pytest.mark.parametrize("state", AC1)
def test_t1_a_motion_whose_work_is_done_is_handed_to_the_branch_of_ac1(state: str) -> None:
    """Cause ``completed``: the branch has answered. AC1 and AC2 in one."""
    box = Flow()
    box.enter(state)

    box.complete(state)

    assert box.last.service == AC1[state]
    assert (box.routes()[-1]["table"], box.routes()[-1]["to_service"]) == ("handoff", AC1[state])
    assert [each.data["branch"] for each in box.orchestrated if each.kind == BRANCH_COMPLETED] == [
        STATE_SERVICE_MAP[state]
    ]
    box.refold()


@pytest.mark.parametrize("state", AC1)
def test_t1_a_motion_that_enters_later_is_handed_on_as_ac1_says(state: str) -> None:
    """Cause ``submitted`` with its work done: nobody is asked for it; the assumption is told."""
    box = Flow()

    box.enter(state, work_done=True)

    assert [each.service for each in box.asked] == [AC1[state]]
    assert told(box.effects, "transition")[0]["work_done"] is True
    assert box.routes()[-1]["to_service"] == AC1[state]


@pytest.mark.parametrize("state", STATE_SERVICE_MAP)
def test_t2_a_motion_that_goes_on_where_it_is_stays_with_its_worker(state: str) -> None:
    """A retry, and an operator's word after a halt: who works in the state is asked again."""
    box = Flow()
    box.enter(state)

    asked = [box.last]
    for attempt in (1, 2, 3):
        box.pass_time(8 * DAY_S)
        box.time_out(box.last.path, attempt=attempt)
        asked.append(box.last)
    box.pass_time(8 * DAY_S)
    box.time_out(box.last.path, attempt=4)
    box.signal("motion.resume", "retry")
    asked.append(box.last)

    assert [each.service for each in asked] == [STATE_SERVICE_MAP[state]] * 5
    assert len({each.key for each in asked}) == 1
    assert box.routes()[-1]["table"] == "worker"


@pytest.mark.parametrize("state", ["RATIFIED", "PLANNING", "EXECUTING", "JUDGING", "WITNESSING"])
def test_t2_a_motion_that_returns_goes_to_the_worker_of_the_state_before(state: str) -> None:
    """Validation leads back: the state before is worked on again, with the reason."""
    box = Flow()
    box.enter(WAY[WAY.index(state) - 1])
    box.complete(box.state)

    box.fail(box.last.path, "validation")
    box.witness()

    before = WAY[WAY.index(state) - 1]
    assert (box.state, box.last.service) == (before, STATE_SERVICE_MAP[before])
    assert (box.routes()[-1]["table"], box.routes()[-1]["cause"]) == ("worker", "returned")


def test_t3_the_second_table_follows_from_the_first() -> None:
    """``AC1[s] == WORKER[NEXT[s]]``: only the workers are data, and one row is added to them."""
    workers, derived = worker(GOVERNANCE), handoff(GOVERNANCE)

    assert workers == {**STATE_SERVICE_MAP, "ACKNOWLEDGED": "conclave_service"}
    assert {state: derived[state] for state in AC1} == AC1
    assert all(
        derived[s] == workers[to] for s, to in following(GOVERNANCE).items() if s in derived
    )
    assert set(GOVERNANCE.states) == {*WAY, "REJECTED", "TABLED"}


def test_t4_a_motion_ends_when_the_conclave_has_acknowledged_it() -> None:
    """Not before: the last state is entered, and its owner is asked."""
    box = Flow()
    box.enter("WITNESSING")

    box.complete("WITNESSING")
    asked, status = box.last, box.instance.status
    box.complete("ACKNOWLEDGED", {"acknowledged": True})

    assert (asked.service, asked.operation) == ("conclave_service", "acknowledge")
    assert status == "running"
    assert box.result["data"]["ACKNOWLEDGED"] == {"acknowledged": True}


@pytest.mark.parametrize("state", WAY[:-1])
def test_t5_after_a_crash_behind_a_transition_the_same_branch_is_asked_once(state: str) -> None:
    """Whoever folds the mailbox again asks for the same: same service, same key, once."""
    box = Flow()
    box.enter(state)
    box.complete(state)

    again = box.refold()

    asked = [each for each in asks(box.effects) if each.path == box.last.path]
    assert [(each.service, each.key) for each in asked] == [(box.last.service, box.last.key)]
    assert again.state["state"] == box.state


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_t6_a_second_completion_of_a_state_is_stale(first: int, second: int) -> None:
    """Whichever attempt answers first counts; the other is told, and nobody is asked for it."""
    box = Flow()
    box.enter("PLANNING")
    path = box.last.path
    box.pass_time(3 * DAY_S)
    box.time_out(path)
    box.pass_time(10)
    box.reply(path, OUTPUTS["PLANNING"], attempt=first)
    box.witness()

    effects = box.reply(path, {"tasks": ["another"]}, attempt=second)

    assert asks(effects) == []
    assert [each["path"] for each in told(effects, "stale")] == [path]
    assert [each.data["what"] for each in box.orchestrated if each.kind == ORCHESTRATOR_ERROR] == [
        "stale"
    ]
    assert box.instance.state["state"] == "EXECUTING"


def test_t7_a_branch_cannot_skip_a_state() -> None:
    """Its completion is refused and witnessed, and the motion halts where it is."""
    box = Flow()
    box.enter("PLANNING")

    box.complete("PLANNING", {"success": True, "output": {}, "next_state": "WITNESSING"})

    (refused,) = told(box.effects, "transition_refused")
    assert (refused["from"], refused["to"], refused["owner"]) == (
        "PLANNING",
        "WITNESSING",
        "president_service",
    )
    assert box.state == "PLANNING"
    assert box.instance.state["blocked"].startswith("halted: illegal_transition")
    assert "transition_refused" in [
        each.data["what"] for each in box.orchestrated if each.kind == ORCHESTRATOR_ERROR
    ]


@pytest.mark.parametrize("signal", ["motion.transition", "motion.resume"])
@pytest.mark.parametrize("to", ["ACKNOWLEDGED", "INTRODUCED", "JUDGING"])
def test_t7_nobody_is_privileged_to_skip_a_state(signal: str, to: str) -> None:
    """Whoever asks by hand, for a motion that is halted or not: refused, with who and why."""
    box = Flow()
    box.enter("PLANNING")
    box.fail(box.last.path, "system")
    before = went(box)

    box.signal(signal, {"to": to, "who": "king", "why": "I say so"})

    (refused,) = told(box.effects, "transition_refused")
    assert (refused["to"], refused["by"], refused["why"]) == (to, "king", "I say so")
    assert went(box) == before


def test_t8_without_the_knight_there_is_no_transition_at_all() -> None:
    """Neither the first one nor a later one, however long it takes and whoever asks."""
    silent = Flow(away=True)
    silent.enter("PLANNING")
    assert went(silent) == []

    box = Flow()
    box.enter("PLANNING")
    box.away = True
    box.complete("PLANNING")
    box.pass_time(30 * DAY_S)
    box.wake()
    box.signal("motion.resume", {"to": "EXECUTING", "who": "king"})
    box.signal("motion.transition", {"to": "EXECUTING", "who": "king"})

    assert box.state == "PLANNING"
    assert [each.service for each in box.asked] == ["president_service"]
    box.away = False
    box.witness()
    assert box.state == "EXECUTING"
    assert box.last.service == "duke_service"
    box.refold()


def test_t8_a_transition_has_the_statement_of_the_knight() -> None:
    """AC3: he is asked with what happened, and what he says is part of the transition."""
    box = Flow()
    box.enter("PLANNING")

    box.complete("PLANNING")

    assert [each["statement"] for each in told(box.effects, "transition")] == [STATEMENT] * 2


def test_t9_an_error_kind_that_nobody_knows_halts() -> None:
    """Nothing passes silently."""
    box = Flow()
    box.enter("EXECUTING")

    effects = box.fail(box.last.path, "eaten_by_a_dog")

    assert [each["directive"] for each in told(effects, "directive")] == ["halt_and_alert"]
    assert [each["error"]["kind"] for each in told(effects, "incident")] == ["eaten_by_a_dog"]
    assert box.instance.state["blocked"] == "halted: eaten_by_a_dog: no luck"


def test_t9_a_state_that_nobody_knows_halts() -> None:
    """As the next one of a completion; and no motion begins in it."""
    box = Flow()
    box.enter("JUDGING")
    box.complete("JUDGING", {"success": True, "output": {}, "next_state": "MARS"})
    begun = Flow()
    begun.enter("MARS")

    assert box.instance.state["blocked"].startswith("halted: illegal_transition")
    assert begun.asked == []
    assert finish(begun.effects).status == "failed"


# Errors


@pytest.mark.parametrize(
    ("kind", "directive", "service"),
    [
        ("validation", "return_to_previous", "president_service"),
        ("permission", "review", "conclave_service"),
        ("compliance", "review", "conclave_service"),
        ("system", "halt_and_alert", ""),
        ("error", "halt_and_alert", ""),
        ("validation_error", "return_to_previous", "president_service"),
    ],
)
def test_ac4_an_error_is_escalated_by_its_kind(kind: str, directive: str, service: str) -> None:
    """Validation goes back, what is forbidden to the Conclave; a defect halts. All is told."""
    box = Flow()
    box.enter("PLANNING", work_done=True)

    before = len(box.asked)
    box.fail(box.last.path, kind, retryable=False)
    box.witness()

    errors = [each.data for each in box.orchestrated if each.kind == ORCHESTRATOR_ERROR]
    assert errors[0]["directive"] == directive
    assert [each.service for each in box.asked[before:]] == ([service] if service else [])


def test_ac4_a_review_keeps_the_state_and_blocks_the_motion() -> None:
    """Rule 5: the Conclave overrides both tables, and its route is told as such."""
    box = Flow()
    box.enter("JUDGING")
    box.fail(box.last.path, "compliance")

    assert box.state == "JUDGING"
    assert box.instance.state["blocked"] == "compliance: no luck"
    assert (box.routes()[-1]["table"], box.routes()[-1]["to_service"]) == (
        "review",
        "conclave_service",
    )
    box.reply(box.last.path, {"to": "WITNESSING", "result": {"verdict": "let pass"}})
    box.witness()
    assert (box.state, box.last.service) == ("WITNESSING", "knight_witness_service")


def test_what_the_conclave_does_not_let_pass_is_undone() -> None:
    """Execution and plan, in reverse order, at the branches that did them."""
    box = Flow()
    box.enter("PLANNING")
    box.complete("PLANNING")
    box.complete("EXECUTING", {"done": ["a board"]})
    box.fail(box.last.path, "compliance")
    box.reply(box.last.path, {"do": "halt"})
    box.witness()
    undone = [box.last]
    box.reply(box.last.path)
    undone.append(box.last)
    box.reply(box.last.path)

    assert [(each.service, each.operation) for each in undone] == [
        ("duke_service", "revoke"),
        ("president_service", "release"),
    ]
    assert box.state == "REJECTED"
    assert box.instance.status == "compensated"


def test_what_was_judged_is_not_undone_any_more() -> None:
    """Behind the Prince there is no way back: a failure there waits for an operator."""
    box = Flow()
    box.enter("EXECUTING")
    box.complete("EXECUTING")
    box.complete("JUDGING")
    box.fail(box.last.path, "system")

    assert box.instance.state["blocked"] == "halted: system: no luck"


@pytest.mark.parametrize(
    ("votes", "state", "routed"),
    [
        ({"quorum": True, "ayes": 4, "noes": 3}, "RATIFIED", "president_service"),
        ({"quorum": True, "ayes": 3, "noes": 4}, "REJECTED", ""),
        ({"quorum": False, "ayes": 3, "noes": 0}, "TABLED", ""),
    ],
)
def test_a_deliberation_has_three_ends(votes: Any, state: str, routed: str) -> None:
    """Rule 4: ratified, rejected, or on the table until somebody takes it up."""
    box = Flow()
    box.enter("DELIBERATING")

    box.complete("DELIBERATING", votes)

    assert box.state == state
    assert box.routes()[-1]["to_service"] == routed
    if state == "TABLED":
        box.pass_time(365 * DAY_S)
        box.signal("take-up", {"who": "ann"})
        box.witness()
        assert (box.state, box.last.operation) == ("DELIBERATING", "deliberate")


def test_a_failure_of_the_duke_leads_to_the_earl() -> None:
    """When nobody is there at once, when the network fails after three more tries."""
    box = Flow()
    box.enter("EXECUTING")
    box.refuse(box.last.path, "no_responders")
    absent = box.last.service
    other = Flow()
    other.enter("EXECUTING")
    for attempt in (1, 2, 3, 4):
        other.fail(other.last.path, "network", attempt=attempt)

    assert absent == "earl_service"
    for each in (box, other):
        assert (each.routes()[-1]["to_service"], each.routes()[-1]["table"]) == (absent, "worker")
    assert [each.service for each in other.asked] == ["duke_service"] * 4 + ["earl_service"]


def test_events_that_say_nothing_about_routing_are_not_told() -> None:
    """Only what the orchestrator has to say."""
    box = Flow()
    box.start({"motion": {}})

    started = [each for each in box.effects if isinstance(each, Emit)]

    assert started
    assert box.orchestrated == []
