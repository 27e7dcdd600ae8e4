"""What a set of answers amounts to: approvals, final permit, renewals, duties, summary.

Pure: values in, values out, the time is an argument. The workflow calls this; the tests do
too, without a workflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from examples.civic.model import (
    BUSINESS_FEE,
    HEALTH_FEE,
    LICENSE_DAYS,
    LIQUOR_FEE,
    Application,
    BuildingPermit,
    BusinessLicense,
    Connection,
    FinalApproval,
    FireInspection,
    GreaseReview,
    HealthPermit,
    Inspection,
    LiquorLicense,
    OperatingPermit,
    Parking,
    Renewal,
    Step,
    Summary,
    Zoning,
)

APPROVED: Final = "approved"
REMINDER_DAYS: Final = 30
LIQUOR_REMINDER_DAYS: Final = 60
"""A liquor licence takes 8 to 12 weeks, so its holder is reminded earlier."""

DUTIES: Final = (
    "Renew the health permit every year",
    "Keep the business license valid and where guests can see it",
    "Follow the fire safety rules",
    "Send the health department the reports it asks for",
    "Stay insured",
)
LIQUOR_DUTIES: Final = (
    "Follow the rules for serving alcohol",
    "Keep the staff trained in responsible service",
    "Tell the liquor control board when the ownership changes",
)


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The answers of the offices; None where an office was not asked or refused."""

    business: BusinessLicense | None = None
    zoning: Zoning | None = None
    health_permit: HealthPermit | None = None
    health_inspection: Inspection | None = None
    building: BuildingPermit | None = None
    fire: FireInspection | None = None
    parking: Parking | None = None
    liquor: LiquorLicense | None = None
    utilities: Connection | None = None
    grease: GreaseReview | None = None


def approvals(application: Application, found: Findings) -> dict[str, str]:
    """Return every approval that this application needs: ``approved``, or why it is not."""
    needed = {
        "business_license": _business(found.business),
        "health_permit": _health(found.health_permit, found.health_inspection),
        "fire_inspection": _fire(found.fire),
        "zoning_compliance": _zoning(found.zoning),
    }
    if application.requires_renovation:
        needed["building_permit"] = APPROVED if found.building else "no permit"
    if application.serves_alcohol:
        needed["liquor_license"] = APPROVED if found.liquor else "no license"
    return needed


def missing(needed: dict[str, str]) -> dict[str, str]:
    """Return the approvals that stand in the way of opening."""
    return {name: said for name, said in needed.items() if said != APPROVED}


def completed(found: Findings) -> tuple[Step, ...]:
    """Return the steps that have an answer, in the order in which steps are reported."""
    done = {
        Step.BUSINESS_LICENSE: found.business,
        Step.ZONING_CHECK: found.zoning,
        Step.HEALTH_PERMIT: found.health_permit and found.health_inspection,
        Step.BUILDING_PERMIT: found.building,
        Step.FIRE_INSPECTION: found.fire,
        Step.PARKING_ASSESSMENT: found.parking,
        Step.LIQUOR_LICENSE: found.liquor,
    }
    return tuple(step for step, answer in done.items() if answer)


def documents(found: Findings) -> dict[str, str]:
    """Return what was issued: kind of document -> its number."""
    return dict(_documents(found))


def total_cost(found: Findings) -> int:
    """Return the fees of everything that was issued."""
    fees = (found.business, found.health_permit, found.building, found.liquor)
    extras = (found.utilities, found.grease)
    return (
        sum(paper.fee for paper in fees if paper)
        + sum(review.fee for review in extras if review)
        + (found.parking.fees if found.parking else 0)
    )


def final_approval(
    application: Application, found: Findings, permit: str, started: datetime, now: datetime
) -> FinalApproval:
    """Return the result of the last step, for an application that has all its approvals."""
    needed = approvals(application, found)
    assert not missing(needed), "the final approval is given only when nothing is missing"
    activities = ("Restaurant operation", "Food service")
    return FinalApproval(
        business_operating_permit=OperatingPermit(
            business_operating_permit=permit,
            business_name=application.business_name,
            authorized_activities=(
                (*activities, "Alcohol service") if application.serves_alcohol else activities
            ),
            conditions=tuple(_conditions(found)),
            valid_from=now.date(),
            valid_until=now.date() + timedelta(days=LICENSE_DAYS),
        ),
        all_approvals_status=needed,
        total_process_time=duration_text(now - started),
        total_cost=total_cost(found),
        next_steps=("Open the doors", "Keep all permits valid", "Put the renewals in a calendar"),
    )


def summary(
    workflow_id: str,
    application: Application,
    found: Findings,
    final: FinalApproval,
    now: datetime,
) -> Summary:
    """Return the result of the workflow."""
    steps = (*completed(found), Step.FINAL_APPROVAL)
    return Summary(
        workflow_id=workflow_id,
        business_info=application,
        completed_steps=len(steps),
        total_cost=final.total_cost,
        processing_time=final.total_process_time,
        approvals_obtained=steps,
        documents={
            **documents(found),
            "business_operating_permit": final.business_operating_permit.business_operating_permit,
        },
        final_permits=(final,),
        renewal_schedule=renewals(now.date(), alcohol=found.liquor is not None),
        compliance_requirements=DUTIES + (LIQUOR_DUTIES if found.liquor else ()),
        completed_at=now.isoformat(),
    )


def renewals(opened: date, *, alcohol: bool) -> tuple[Renewal, ...]:
    """Return what has to be renewed after a year, with what it costs and when to remind."""
    rows = [
        ("Business License", BUSINESS_FEE, REMINDER_DAYS),
        ("Health Permit", HEALTH_FEE, REMINDER_DAYS),
    ]
    if alcohol:
        rows.append(("Liquor License", LIQUOR_FEE, LIQUOR_REMINDER_DAYS))
    due = opened + timedelta(days=LICENSE_DAYS)
    return tuple(
        Renewal(
            permit_type=name,
            renewal_date=due,
            estimated_cost=cost,
            reminder_date=due - timedelta(days=ahead),
        )
        for name, cost, ahead in rows
    )


def duration_text(took: timedelta) -> str:
    """Return a duration in its largest unit: ``12 days``, ``3 hours``, ``4 seconds``."""
    seconds = max(0, int(took.total_seconds()))
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}" + ("s" if count > 1 else "")
    return f"{seconds} seconds"


def _business(paper: BusinessLicense | None) -> str:
    if paper is None:
        return "no license"
    return APPROVED if paper.status == "approved" else f"license is {paper.status}"


def _zoning(said: Zoning | None) -> str:
    if said is None:
        return "no answer"
    return APPROVED if said.compliant else f"not compliant in the district {said.district}"


def _health(permit: HealthPermit | None, visit: Inspection | None) -> str:
    if permit is None:
        return "no permit"
    return APPROVED if visit else "no inspection scheduled"


def _fire(visit: FireInspection | None) -> str:
    if visit is None:
        return "no inspection scheduled"
    return (
        APPROVED
        if visit.plan_accepted
        else "; ".join(("plan not accepted", *visit.requirements[-1:]))
    )


def _documents(found: Findings) -> Iterator[tuple[str, str]]:
    if found.business:
        yield "business_license", found.business.license_id
    if found.health_permit:
        yield "health_permit", found.health_permit.permit_id
    if found.health_inspection:
        yield "health_inspection", found.health_inspection.inspection_id
    if found.building:
        yield "building_permit", found.building.permit_id
    if found.fire:
        yield "fire_inspection", found.fire.inspection_id
    if found.liquor:
        yield "liquor_license", found.liquor.license_id
    if found.utilities:
        yield "utility_review", found.utilities.review_id
    if found.grease:
        yield "grease_review", found.grease.review_id


def _conditions(found: Findings) -> Iterator[str]:
    """Gather what the offices attached, behind the conditions that all restaurants have."""
    yield "Keep a valid health permit"
    yield "Renew the business license every year"
    yield "Have a fire inspection every 2 years"
    if found.liquor:
        yield "Keep a valid liquor license"
        if found.liquor.notice_ends:
            yield f"Serve no alcohol before the public notice ends on {found.liquor.notice_ends}"
    if found.zoning:
        yield from found.zoning.restrictions
        yield from found.zoning.conditions
    if found.building:
        yield from found.building.conditions
    if found.parking and not found.parking.compliant:
        yield from found.parking.recommendations
    for review in (found.utilities, found.grease):
        if review:
            yield from review.conditions
