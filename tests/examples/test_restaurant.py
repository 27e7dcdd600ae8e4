"""The restaurant workflow, folded without NATS: the offices' real rules give the replies."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from actors.kernel.instance import Instance
from examples import civic
from examples.civic.model import Step, Summary
from examples.civic.offices import OPENING as OFFICES
from examples.civic.restaurant import restaurant
from examples.civic.ruling import Case, Refusal
from protocols.effects import Ask, Emit, Finish
from protocols.failure import FAILED, Failure
from protocols.mail import Mail, Reply, Start

MOMENT = datetime(2024, 3, 1, 9, tzinfo=UTC)
APPLICATIONS = Path(civic.__file__).parent / "applications"
SECOND = 1_000_000_000
STEPS_MAX = 50

Answer = bytes | Failure
Answering = Callable[[Ask], Answer]
Scripted = {
    "business_license": {"license_id": "BL-2024-001", "fee": 150},
    "zoning_check": {"compliant": True, "district": "Commercial"},
    "health_permit": {"permit_id": "HP-2024-001", "fee": 300},
    "health_inspection": {"inspection_id": "HI-2024-001"},
    "building_permit": {"permit_id": "BP-2024-001", "fee": 500},
    "fire_inspection": {"inspection_id": "FI-2024-001"},
    "parking_assessment": {"required_spaces": 20, "compliant": True},
    "liquor_license": {"license_id": "LL-2024-001", "fee": 1200},
    "final_approval": {"business_operating_permit": "BOP-2024-001"},
}
FULL = {
    "business_name": "Test Restaurant",
    "business_address": "123 Main St",
    "owner_info": {"name": "John Doe"},
    "seating_capacity": 50,
    "serves_alcohol": True,
    "requires_renovation": True,
}


class Run:
    """One fold of the workflow: every open request is answered, in an order of choice."""

    def __init__(
        self,
        application: Any,
        answer: Answering,
        *,
        seed: int | None = None,
        run_id: str = "run-1",
    ) -> None:
        self.instance = Instance(run_id, lambda _name, _hash: restaurant)
        self.mailbox: list[Mail] = []
        self.asked: list[Ask] = []
        self.emitted: list[str] = []
        self.finishes = 0
        self._open: list[Ask] = []
        draw = random.Random(seed)  # noqa: S311 - the order of a test, not a secret
        body = msgspec.json.encode(application)
        self._fold(Start(**self._place(), workflow=restaurant.name, body=body, definition="d"))
        while self._open:
            index = 0 if seed is None else draw.randrange(len(self._open))
            ask = self._open.pop(index)
            said = answer(ask)
            failure = said if isinstance(said, Failure) else None
            self._fold(
                Reply(
                    **self._place(),
                    step=ask.step,
                    attempt=ask.attempt,
                    body=b"" if isinstance(said, Failure) else said,
                    failure=failure,
                )
            )

    @property
    def summary(self) -> Summary:
        """The result of a completed run."""
        assert self.instance.result is not None, self.instance.failure or self.instance.blocked
        return msgspec.json.decode(self.instance.result, type=Summary)

    @property
    def failure(self) -> Failure:
        """The failure of a failed run."""
        assert self.instance.failure is not None
        return self.instance.failure

    def _place(self) -> dict[str, Any]:
        number = len(self.mailbox) + 1
        return {"seq": number, "at": int(MOMENT.timestamp()) * SECOND + number * SECOND}

    def _fold(self, mail: Mail) -> None:
        assert len(self.mailbox) < STEPS_MAX, "the workflow asks and asks"
        self.mailbox.append(mail)
        for effect in self.instance.fold(mail):
            if isinstance(effect, Ask):
                self.asked.append(effect)
                self._open.append(effect)
            elif isinstance(effect, Emit):
                self.emitted.append(effect.event)
            elif isinstance(effect, Finish):
                self.finishes += 1


def by_the_rules(ask: Ask) -> Answer:
    """Answer with the offices' real rules; the number is the same for every order."""
    operation = OFFICES[ask.service][ask.operation]
    ruling = operation.decide(
        msgspec.json.decode(ask.body, type=operation.request), Case(MOMENT, 1)
    )
    if isinstance(ruling, Refusal):
        return Failure(
            kind=ruling.kind, message=ruling.message, retryable=False, details=ruling.details
        )
    return msgspec.json.encode(ruling)


def scripted(replies: Mapping[str, Any] = MappingProxyType(Scripted)) -> Answering:
    """Answer by the name of the step."""
    return lambda ask: msgspec.json.encode(replies[name_of(ask)])


def name_of(ask: Ask) -> str:
    """Return the step's name: the last part of its path."""
    return ask.path.rpartition("/")[2]


def application(name: str) -> Any:
    """Return one of the example's applications."""
    return msgspec.json.decode((APPLICATIONS / f"{name}.json").read_bytes())


def test_nine_scripted_answers_make_a_permit_of_2150_dollars() -> None:
    """The catalogue's case: eight steps, nine answers, all fees, the permit in the summary."""
    run = Run(FULL, scripted())

    assert run.instance.status == "completed"
    assert len(run.asked) == 9
    assert run.summary.completed_steps == 8
    assert run.summary.total_cost == 2150
    assert run.summary.approvals_obtained == tuple(Step)
    assert "BOP-2024-001" in str(run.summary.final_permits)


def test_a_simple_application_needs_five_reviews_and_no_licence_for_alcohol() -> None:
    """450 dollars, and the permit carries the id of the run."""
    run = Run(application("simple"), by_the_rules, run_id="lunch-12")

    summary = run.summary
    permit = summary.final_permits[0].business_operating_permit
    assert [name_of(ask) for ask in run.asked] == [
        "business_license",
        "zoning_check",
        "health_permit",
        "health_inspection",
        "fire_inspection",
        "parking_assessment",
        "final_approval",
    ]
    assert summary.total_cost == 450
    assert permit.business_operating_permit == "BOP-lunch-12"
    assert permit.authorized_activities == ("Restaurant operation", "Food service")
    assert len(summary.renewal_schedule) == 2
    assert len(summary.compliance_requirements) == 5
    assert summary.support_contacts.general_inquiries == "311"


def test_alcohol_and_renovation_add_their_steps_conditions_and_fees() -> None:
    """Eleven requests; what the offices attached stands in the permit."""
    run = Run(application("alcohol_and_renovation"), by_the_rules)

    final = run.summary.final_permits[0]
    assert len(run.asked) == 11
    assert final.total_cost == 150 + 300 + 500 + 1200 + 2400 + 490 + 165
    assert set(final.all_approvals_status) == {
        "business_license",
        "health_permit",
        "fire_inspection",
        "zoning_compliance",
        "building_permit",
        "liquor_license",
    }
    conditions = final.business_operating_permit.conditions
    assert "Serve no alcohol before the public notice ends on 2024-03-31" in conditions
    assert "No music after 10 PM" in conditions
    assert "Wait for the upgrade from 90 to 110 kW" in conditions
    assert "Empty the grease interceptor every 90 days" in conditions
    assert len(run.summary.renewal_schedule) == 3
    assert len(run.summary.compliance_requirements) == 8


def test_a_refusal_by_zoning_fails_the_run_and_names_what_was_obtained() -> None:
    """The applicant holds licences although nothing opens; no permit is asked for."""
    run = Run(application("refused_by_zoning"), by_the_rules)

    assert run.instance.status == "failed"
    assert run.failure.kind == "application_refused"
    assert "Maple Avenue lies in the district Residential" in run.failure.message
    assert "BL-2024-001" in run.failure.message
    details = run.failure.details
    assert details["refused"]["zoning"]["kind"] == "zoning_refused"
    assert details["obtained"] == {
        "business_license": "BL-2024-001",
        "health_permit": "HP-2024-001",
        "health_inspection": "HI-2024-001",
        "fire_inspection": "FI-2024-001",
    }
    assert details["completed_steps"] == [
        "business_license",
        "health_permit",
        "fire_inspection",
        "parking_assessment",
    ]
    assert details["total_cost"] == 150 + 300 + 800
    assert "final_approval" not in {name_of(ask) for ask in run.asked}


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("simple", "completed"),
        ("alcohol_and_renovation", "completed"),
        ("refused_by_zoning", "failed"),
    ],
)
def test_the_outcome_does_not_depend_on_who_answers_first(name: str, status: str) -> None:
    """Twenty orders of the parallel replies end in one outcome."""
    outcomes = {
        (run.instance.status, run.instance.result, msgspec.json.encode(run.instance.failure))
        for run in (Run(application(name), by_the_rules, seed=seed) for seed in range(20))
    }

    assert len(outcomes) == 1
    assert outcomes.pop()[0] == status


def test_the_reviews_start_together_after_the_business_licence() -> None:
    """Nobody is asked before the business exists, and nobody waits for another review."""
    run = Run(application("alcohol_and_renovation"), by_the_rules)

    causes = [ask.cause for ask in run.asked]
    assert causes[0] == 1
    assert set(causes[1:-1]) == {2}
    assert causes[-1] == len(run.mailbox) - 1


def test_every_request_has_a_key_of_its_own() -> None:
    """The two steps that share an operation do not share a key."""
    run = Run(application("alcohol_and_renovation"), by_the_rules)

    assert len({ask.key for ask in run.asked}) == len(run.asked)


def test_a_failed_attempt_is_repeated_with_the_same_key() -> None:
    """An office that stumbles twice is asked three times, and the permit is issued."""
    stumbles = iter((True, True))

    def stumbling(ask: Ask) -> Answer:
        if name_of(ask) == "parking_assessment" and next(stumbles, False):
            return Failure(kind=FAILED, message="the register is locked")
        return by_the_rules(ask)

    run = Run(application("simple"), stumbling)

    tries = [ask for ask in run.asked if name_of(ask) == "parking_assessment"]
    assert [ask.attempt for ask in tries] == [1, 2, 3]
    assert len({ask.key for ask in tries}) == 1
    assert run.instance.status == "completed"


@pytest.mark.parametrize(
    ("step", "reply", "approval"),
    [
        ("zoning_check", {"compliant": False, "district": "Park"}, "zoning_compliance"),
        ("fire_inspection", {"inspection_id": "FI-1", "plan_accepted": False}, "fire_inspection"),
        ("business_license", {"license_id": "BL-1", "status": "pending"}, "business_license"),
    ],
)
def test_an_answer_that_is_no_approval_stops_the_opening(
    step: str, reply: dict[str, Any], approval: str
) -> None:
    """The final check looks at the real results; nobody issues a permit on hope."""
    run = Run(FULL, scripted({**Scripted, step: reply}))

    assert run.failure.kind == "application_refused"
    assert list(run.failure.details["missing_approvals"]) == [approval]
    assert "final_approval" not in {name_of(ask) for ask in run.asked}


def test_all_refusals_are_named_not_only_the_first() -> None:
    """Who applies again wants to know everything that has to change."""
    wrong = {**FULL, "business_address": "1 Nowhere", "renovation_cost": 2_000_000}

    run = Run(wrong, by_the_rules)

    assert list(run.failure.details["refused"]) == ["zoning", "building", "liquor"]
    assert "not on the zoning map" in run.failure.message
    assert "full plan review" in run.failure.message
    assert "background check" in run.failure.message


def test_a_refused_business_licence_ends_the_application_at_once() -> None:
    """Nothing was obtained, and nobody else is bothered."""
    run = Run({**FULL, "owner_info": {"name": ""}}, by_the_rules)

    assert run.instance.status == "failed"
    assert run.failure.kind == "owner_missing"
    assert len(run.asked) == 1


def test_progress_and_milestones_can_be_watched() -> None:
    """State for people who look, events for programs that listen."""
    run = Run(application("simple"), by_the_rules)

    assert run.instance.state["phase"] == "open"
    assert run.instance.state["permit"] == "BOP-run-1"
    assert set(run.instance.state["answered"]) >= {"zoning", "fire", "parking"}
    own = [
        kind for kind in run.emitted if kind in {"business-licensed", "reviewed", "permit-issued"}
    ]
    assert own == ["business-licensed", "reviewed", "permit-issued"]
    assert run.finishes == 1


def test_folding_the_mailbox_again_gives_the_same_state() -> None:
    """A restarted daemon sees what the first one saw."""
    run = Run(application("alcohol_and_renovation"), by_the_rules, seed=3)
    again = Instance("run-1", lambda _name, _hash: restaurant)

    for mail in run.mailbox:
        again.fold(mail)

    assert again.state_hash() == run.instance.state_hash()
    assert again.result == run.instance.result


def test_a_field_that_nobody_knows_is_refused_at_the_start() -> None:
    """A typing error in an application must not cost weeks."""
    run = Run({**FULL, "serves_alcohool": True}, by_the_rules)

    assert run.instance.status == "failed"
    assert not run.asked
    assert "serves_alcohool" in run.failure.message + str(run.failure.details)
