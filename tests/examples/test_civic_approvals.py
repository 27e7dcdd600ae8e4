"""What a set of answers amounts to: approvals, fees, renewals, summary."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from examples.civic import approvals
from examples.civic.approvals import Findings
from examples.civic.model import (
    Application,
    BuildingPermit,
    BusinessLicense,
    FireInspection,
    HealthPermit,
    Inspection,
    LiquorLicense,
    OwnerInfo,
    Parking,
    Step,
    Zoning,
)

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
ALL = Findings(
    business=BusinessLicense(license_id="BL-2024-001"),
    zoning=Zoning(),
    health_permit=HealthPermit(permit_id="HP-2024-001"),
    health_inspection=Inspection(inspection_id="HI-2024-001"),
    building=BuildingPermit(permit_id="BP-2024-001"),
    fire=FireInspection(inspection_id="FI-2024-001"),
    parking=Parking(required_spaces=20),
    liquor=LiquorLicense(license_id="LL-2024-001"),
)
FULL = Application(
    business_name="Test Restaurant",
    business_address="123 Main St",
    owner_info=OwnerInfo(name="John Doe"),
    seating_capacity=50,
    serves_alcohol=True,
    requires_renovation=True,
)
PLAIN = msgspec.structs.replace(FULL, serves_alcohol=False, requires_renovation=False)


def test_the_full_application_costs_2150_and_takes_eight_steps() -> None:
    """150 + 300 + 500 + 1200, and the permit stands in the summary."""
    final = approvals.final_approval(FULL, ALL, "BOP-2024-001", NOW, NOW + timedelta(hours=3))

    summary = approvals.summary("run-1", FULL, ALL, final, NOW)

    assert summary.total_cost == 2150
    assert summary.completed_steps == 8
    assert summary.approvals_obtained == tuple(Step)
    assert summary.documents["business_operating_permit"] == "BOP-2024-001"
    assert summary.processing_time == "3 hours"
    assert "Alcohol service" in final.business_operating_permit.authorized_activities
    assert final.business_operating_permit.valid_until == date(2025, 3, 1)
    assert len(summary.compliance_requirements) == 8


@pytest.mark.parametrize(
    ("application", "count"),
    [
        (PLAIN, 4),
        (msgspec.structs.replace(PLAIN, requires_renovation=True), 5),
        (msgspec.structs.replace(PLAIN, serves_alcohol=True), 5),
        (FULL, 6),
    ],
)
def test_an_application_needs_the_approvals_of_what_it_plans(
    application: Application, count: int
) -> None:
    """Four always, one more for renovation and one more for alcohol."""
    needed = approvals.approvals(application, ALL)

    assert len(needed) == count
    assert not approvals.missing(needed)


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"business": BusinessLicense(license_id="BL", status="pending")}, "business_license"),
        ({"zoning": Zoning(compliant=False)}, "zoning_compliance"),
        ({"zoning": None}, "zoning_compliance"),
        ({"health_permit": None}, "health_permit"),
        ({"health_inspection": None}, "health_permit"),
        ({"fire": FireInspection(inspection_id="F", plan_accepted=False)}, "fire_inspection"),
        ({"fire": None}, "fire_inspection"),
        ({"building": None}, "building_permit"),
        ({"liquor": None}, "liquor_license"),
    ],
)
def test_the_final_check_looks_at_the_real_answers(
    change: dict[str, msgspec.Struct | None], lacking: str
) -> None:
    """Every approval can be missing by itself, and then nothing is approved."""
    found = msgspec.structs.replace(ALL, **change)

    assert list(approvals.missing(approvals.approvals(FULL, found))) == [lacking]
    with pytest.raises(AssertionError):
        approvals.final_approval(FULL, found, "BOP", NOW, NOW)


def test_a_parking_shortage_becomes_a_condition_and_no_obstacle() -> None:
    """Parking is assessed, not approved."""
    found = msgspec.structs.replace(
        ALL, parking=Parking(compliant=False, recommendations=("Hand in a plan",))
    )

    final = approvals.final_approval(FULL, found, "BOP", NOW, NOW)

    assert "Hand in a plan" in final.business_operating_permit.conditions


def test_parking_fees_are_part_of_the_total() -> None:
    """What is paid instead of spaces is paid."""
    assert approvals.total_cost(msgspec.structs.replace(ALL, parking=Parking(fees=800))) == 2950


def test_a_liquor_renewal_is_reminded_two_months_ahead() -> None:
    """The others one month: 365 - 335 and 365 - 305 days."""
    rows = approvals.renewals(date(2024, 3, 1), alcohol=True)

    assert [(row.permit_type, row.estimated_cost) for row in rows] == [
        ("Business License", 150),
        ("Health Permit", 300),
        ("Liquor License", 1200),
    ]
    assert [(row.reminder_date - date(2024, 3, 1)).days for row in rows] == [335, 335, 305]
    assert {(row.renewal_date - date(2024, 3, 1)).days for row in rows} == {365}


@pytest.mark.parametrize(
    ("took", "text"),
    [
        (timedelta(seconds=0), "0 seconds"),
        (timedelta(seconds=61), "1 minute"),
        (timedelta(hours=5), "5 hours"),
        (timedelta(days=2, hours=5), "2 days"),
    ],
)
def test_durations_are_told_in_their_largest_unit(took: timedelta, text: str) -> None:
    """People read this."""
    assert approvals.duration_text(took) == text
