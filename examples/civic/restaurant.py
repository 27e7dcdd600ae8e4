"""The workflow ``civic.restaurant``: from an application to an operating permit.

    business_license
      ├─ zoning_check          ├─ fire_inspection       ├─ liquor_license    if alcohol
      ├─ health_permit         ├─ parking_assessment    ├─ utility_review    if declared
      ├─ health_inspection     ├─ building_permit       └─ grease_review     if declared
      │                        │    if renovated
      └─ final_approval, when all of them have answered

Every office answers before the workflow decides (D3 in ``examples.civic``), so the outcome
does not depend on who answers first. A failed application says what was obtained all the
same: licences that were granted are facts, whether or not a restaurant opens.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, NoReturn, TypeVar

import msgspec

import movant
from examples.civic import approvals
from examples.civic.approvals import Findings
from examples.civic.model import (
    Application,
    BuildingPermit,
    BuildingRequest,
    BusinessLicense,
    BusinessLicenseRequest,
    Connection,
    ConnectionRequest,
    FireInspection,
    FireRequest,
    GreaseNeeds,
    GreaseRequest,
    GreaseReview,
    HealthPermit,
    HealthPermitRequest,
    Inspection,
    InspectionRequest,
    LiquorLicense,
    LiquorRequest,
    OperatingPermitNumber,
    OperatingPermitRequest,
    Parking,
    ParkingRequest,
    Refused,
    Summary,
    UtilityNeeds,
    Zoning,
    ZoningRequest,
)

T = TypeVar("T")

RETRY: Final = movant.Retry(attempts=5, delay_s=0.5, max_delay_s=30.0)
"""Offices close for a moment; what they refuse is not asked again."""
TIMEOUT_S: Final = 30.0


@movant.workflow("civic.restaurant")
async def restaurant(ctx: movant.Context, application: Application) -> Summary:
    """Coordinate seven offices; return the summary of a granted application.

    Raises FailError ``application_refused`` when an office refuses or answers with something
    that is no approval. Its details say what was refused and what was obtained.
    """
    started = ctx.now()
    ctx.set_state(phase="licensing", answered=[])
    business = await license_business(ctx, application)
    ctx.emit("business-licensed", {"license_id": business.license_id})

    ctx.set_state(phase="reviewing")
    progress: list[str] = []
    branches = reviews(ctx, application, business)
    answers = await ctx.gather(
        **{name: attempt(ctx, name, branch, progress) for name, branch in branches.items()},
        name="reviews",
        collect=False,
    )
    refused = {name: said for name, said in answers.items() if isinstance(said, Refused)}
    granted = {name: said for name, said in answers.items() if name not in refused}
    found = Findings(business=business, **granted)
    needed = approvals.approvals(application, found)
    lacking = approvals.missing(needed)
    ctx.emit("reviewed", {"granted": sorted(granted), "refused": sorted(refused)})
    if refused or lacking:
        fail(found, refused, lacking)

    ctx.set_state(phase="approving")
    issued = await attempt(
        ctx, "final_approval", issue_permit(ctx, application, business, needed), progress
    )
    if isinstance(issued, Refused):
        fail(found, {"final_approval": issued}, {})
    now = ctx.now()
    permit = issued.business_operating_permit
    final = approvals.final_approval(application, found, permit, started, now)
    ctx.set_state(phase="open", permit=permit, total_cost=final.total_cost)
    ctx.emit("permit-issued", {"business_operating_permit": permit})
    return approvals.summary(ctx.id, application, found, final, now)


def reviews(
    ctx: movant.Context, form: Application, business: BusinessLicense
) -> dict[str, Awaitable[msgspec.Struct]]:
    """Return the reviews that this application needs, by their field in ``Findings``."""
    branches: dict[str, Awaitable[msgspec.Struct]] = {
        "zoning": check_zoning(ctx, form),
        "health_permit": permit_kitchen(ctx, form),
        "health_inspection": inspect_kitchen(ctx, business),
        "fire": inspect_fire_safety(ctx, form),
        "parking": assess_parking(ctx, form),
    }
    if form.requires_renovation:
        branches["building"] = permit_building(ctx, form)
    if form.serves_alcohol:
        branches["liquor"] = license_liquor(ctx, form)
    if form.utility_needs:
        branches["utilities"] = review_connection(ctx, form, form.utility_needs)
    if form.grease_needs:
        branches["grease"] = review_grease(ctx, form, form.grease_needs)
    return branches


async def attempt(
    ctx: movant.Context, name: str, review: Awaitable[T], progress: list[str]
) -> T | Refused:
    """Wait for one review; a failed one becomes a value, so that the others are heard too."""
    said: T | Refused
    try:
        said = await review
    except movant.StepFailedError as error:
        failure = error.failure
        ctx.log.info("review.failed", review=name, error_kind=failure.kind)
        said = Refused(kind=failure.kind, message=failure.message, details=failure.details)
    progress.append(name)
    ctx.set_state(answered=sorted(progress))
    return said


def fail(found: Findings, refused: dict[str, Refused], lacking: dict[str, str]) -> NoReturn:
    """End the application: say why, and what the applicant holds all the same."""
    reasons = [f"{name}: {said.message}" for name, said in sorted(refused.items())]
    reasons = reasons or [f"{name}: {said}" for name, said in sorted(lacking.items())]
    obtained = approvals.documents(found)
    raise movant.FailError(
        "application_refused",
        f"{'; '.join(reasons)} (obtained: {', '.join(obtained.values()) or 'nothing'})",
        details={
            "refused": {name: msgspec.to_builtins(said) for name, said in refused.items()},
            "missing_approvals": lacking,
            "completed_steps": [str(step) for step in approvals.completed(found)],
            "obtained": obtained,
            "total_cost": approvals.total_cost(found),
        },
    )


async def call(
    ctx: movant.Context, where: tuple[str, str], request: Any, answer: type[T], *, step: str
) -> T:
    """Ask an office, under the policy that all steps of this workflow share."""
    office, operation = where
    return await ctx.call(
        office, operation, request, name=step, returns=answer, retry=RETRY, timeout_s=TIMEOUT_S
    )


async def license_business(ctx: movant.Context, form: Application) -> BusinessLicense:
    """Get the licence that everything else builds on."""
    request = BusinessLicenseRequest(
        business_name=form.business_name,
        business_address=form.business_address,
        owner_info=form.owner_info,
        estimated_employees=form.estimated_employees,
    )
    where = ("business", "applications-business-license")
    return await call(ctx, where, request, BusinessLicense, step="business_license")


async def check_zoning(ctx: movant.Context, form: Application) -> Zoning:
    """Ask whether the district takes a restaurant."""
    request = ZoningRequest(
        address=form.business_address,
        seating_capacity=form.seating_capacity,
        operating_hours=form.operating_hours,
        outdoor_seating=form.outdoor_seating,
    )
    return await call(ctx, ("permits", "zoning-check"), request, Zoning, step="zoning_check")


async def permit_kitchen(ctx: movant.Context, form: Application) -> HealthPermit:
    """Get the permit to serve food; shares its operation with ``inspect_kitchen``."""
    request = HealthPermitRequest(
        business_name=form.business_name,
        business_address=form.business_address,
        menu_type=form.menu_type,
        food_handling_training=form.food_handling_training,
    )
    where = ("health", "inspections-schedule")
    return await call(ctx, where, request, HealthPermit, step="health_permit")


async def inspect_kitchen(ctx: movant.Context, business: BusinessLicense) -> Inspection:
    """Get the appointment for the pre-opening inspection."""
    request = InspectionRequest(business_id=business.license_id)
    where = ("health", "inspections-schedule")
    return await call(ctx, where, request, Inspection, step="health_inspection")


async def permit_building(ctx: movant.Context, form: Application) -> BuildingPermit:
    """Get the permit to renovate."""
    request = BuildingRequest(
        property_address=form.business_address,
        work_description=form.renovation_description,
        estimated_value=form.renovation_cost,
        contractor_info=form.contractor_info,
    )
    where = ("permits", "building-apply")
    return await call(ctx, where, request, BuildingPermit, step="building_permit")


async def inspect_fire_safety(ctx: movant.Context, form: Application) -> FireInspection:
    """Get the fire marshal's word on the kitchen, and an appointment."""
    request = FireRequest(
        business_name=form.business_name,
        business_address=form.business_address,
        max_occupancy=form.seating_capacity,
        kitchen_equipment=form.kitchen_equipment,
        fire_suppression_system=form.fire_suppression,
    )
    where = ("safety", "inspections-fire")
    return await call(ctx, where, request, FireInspection, step="fire_inspection")


async def assess_parking(ctx: movant.Context, form: Application) -> Parking:
    """Compare the spaces needed with the spaces in reach."""
    request = ParkingRequest(
        business_address=form.business_address,
        seating_capacity=form.seating_capacity,
        employees=form.estimated_employees,
        operating_hours=form.operating_hours,
    )
    where = ("parking", "requirements-assess")
    return await call(ctx, where, request, Parking, step="parking_assessment")


async def license_liquor(ctx: movant.Context, form: Application) -> LiquorLicense:
    """Get the licence to serve alcohol."""
    request = LiquorRequest(
        business_name=form.business_name,
        business_address=form.business_address,
        license_type=form.liquor_license_type,
        owner_background_check=form.background_check_completed,
    )
    where = ("business", "licenses-liquor")
    return await call(ctx, where, request, LiquorLicense, step="liquor_license")


async def review_connection(
    ctx: movant.Context, form: Application, needs: UtilityNeeds
) -> Connection:
    """Ask whether the networks carry the new connection."""
    request = ConnectionRequest(
        business_address=form.business_address,
        power_kw=needs.power_kw,
        water_l_per_min=needs.water_l_per_min,
    )
    where = ("utilities", "connections-capacity")
    return await call(ctx, where, request, Connection, step="utility_review")


async def review_grease(
    ctx: movant.Context, form: Application, needs: GreaseNeeds
) -> GreaseReview:
    """Ask whether the grease interceptor fits the kitchen."""
    request = GreaseRequest(
        business_name=form.business_name,
        interceptor_l=needs.interceptor_l,
        seating_capacity=form.seating_capacity,
    )
    where = ("environmental", "reviews-grease-waste")
    return await call(ctx, where, request, GreaseReview, step="grease_review")


async def issue_permit(
    ctx: movant.Context, form: Application, business: BusinessLicense, needed: dict[str, str]
) -> OperatingPermitNumber:
    """Have the business office look at the approvals and issue the operating permit."""
    request = OperatingPermitRequest(
        workflow_id=ctx.id,
        business_name=form.business_name,
        business_license_id=business.license_id,
        approvals=needed,
    )
    where = ("business", "permits-operating")
    return await call(ctx, where, request, OperatingPermitNumber, step="final_approval")
