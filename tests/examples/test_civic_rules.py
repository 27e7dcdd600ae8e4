"""What the seven city offices decide: tables of requests and rulings."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from examples.civic.model import (
    BuildingPermit,
    BuildingRequest,
    BusinessLicense,
    BusinessLicenseRequest,
    Connection,
    ConnectionRequest,
    ContractorInfo,
    FireInspection,
    FireRequest,
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
    OwnerInfo,
    Parking,
    ParkingRequest,
    Zoning,
    ZoningRequest,
)
from examples.civic.ruling import Case, Operation, Refusal, street_of, working_days_after
from examples.civic.services import (
    business,
    environmental,
    health,
    parking,
    permits,
    safety,
    utilities,
)

THURSDAY = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
CASE = Case(THURSDAY, 1)
OFFICES = (business, permits, health, safety, parking, utilities, environmental)


def test_a_business_licence_costs_150_and_is_valid_for_a_year() -> None:
    """Granted to a named owner, numbered by year and register."""
    request = BusinessLicenseRequest(
        business_name="Test", business_address="1 Main St", owner_info=OwnerInfo(name="John Doe")
    )

    ruling = business.license_business(request, CASE)

    assert ruling == BusinessLicense(
        license_id="BL-2026-001", fee=150, valid_until=date(2027, 11, 5)
    )


def test_a_business_licence_needs_an_owner() -> None:
    """Blank names are no names."""
    request = BusinessLicenseRequest(
        business_name="Test", business_address="1 Main St", owner_info=OwnerInfo(name="  ")
    )

    ruling = business.license_business(request, CASE)

    assert _kind(ruling) == "owner_missing"


@pytest.mark.parametrize(
    ("address", "seats", "hours", "expected"),
    [
        ("123 Main St", 50, "6 AM - 10 PM", "Commercial"),
        ("123 Main St", 300, "6 AM - 2 AM", "Commercial"),
        ("123 Main St", 301, "6 AM - 10 PM", "zoning_refused"),
        ("7 Harbor Road", 180, "6 AM - 10 PM", "Waterfront"),
        ("7 Harbor Road", 181, "6 AM - 10 PM", "zoning_refused"),
        ("3 Elm Lane", 80, "6 AM - 10 PM", "Neighborhood Commercial"),
        ("9 Mill Road", 30, "6 AM - 4 PM", "Industrial"),
        ("9 Mill Road", 31, "6 AM - 4 PM", "zoning_refused"),
        ("31 Maple Avenue", 1, "6 AM - 10 PM", "zoning_refused"),
        ("Oak Street 4", 20, "6 AM - 10 PM", "zoning_refused"),
        ("1 Nowhere Drive", 20, "6 AM - 10 PM", "address_unknown"),
        ("123 Main St", 50, "all day", "validation"),
    ],
)
def test_zoning_goes_by_street_seats_and_hours(
    address: str, seats: int, hours: str, expected: str
) -> None:
    """The district of the map decides, at its exact limits."""
    request = ZoningRequest(address=address, seating_capacity=seats, operating_hours=hours)

    ruling = permits.check_zoning(request, CASE)

    assert expected == (ruling.district if isinstance(ruling, Zoning) else _kind(ruling))


@pytest.mark.parametrize(
    ("address", "hours", "outdoor", "restrictions", "conditions"),
    [
        ("1 Main St", "6 AM - 2 AM", True, 0, 1),
        ("1 Main St", "6 AM - 10 PM", False, 0, 0),
        ("7 Harbor Rd", "6 PM - 1 AM", True, 1, 2),
        ("3 Elm Lane", "6 AM - 11 PM", True, 2, 0),
        ("3 Elm Lane", "6 AM - 10 PM", False, 0, 0),
    ],
)
def test_zoning_attaches_restrictions_and_conditions(
    *, address: str, hours: str, outdoor: bool, restrictions: int, conditions: int
) -> None:
    """Late hours outside the centre and outdoor tables have their price."""
    request = ZoningRequest(
        address=address, operating_hours=hours, outdoor_seating=outdoor, seating_capacity=20
    )

    ruling = permits.check_zoning(request, CASE)

    assert isinstance(ruling, Zoning)
    assert (len(ruling.restrictions), len(ruling.conditions)) == (restrictions, conditions)


@pytest.mark.parametrize(
    ("hours", "closes"),
    [("6 AM - 10 PM", 22), ("11 AM - 12 PM", 12), ("6 PM - 2 AM", 26), ("6 PM - 12 AM", 24)],
)
def test_closing_hours_run_past_midnight(hours: str, closes: int) -> None:
    """Twelve o'clock and the next morning are read as people mean them."""
    assert permits.closing_hour(hours) == closes


@pytest.mark.parametrize(
    ("value", "contractor", "expected"),
    [
        (50_000, ContractorInfo(), "BP-2026-001"),
        (999_999, ContractorInfo(name="A", license_id="C-1"), "BP-2026-001"),
        (1_000_000, ContractorInfo(), "plan_review_required"),
        (
            50_000,
            ContractorInfo(name="A", license_id="C-1", license_valid_until=date(2026, 11, 5)),
            "BP-2026-001",
        ),
        (
            50_000,
            ContractorInfo(name="A", license_id="C-1", license_valid_until=date(2026, 11, 4)),
            "contractor_license_expired",
        ),
    ],
)
def test_a_building_permit_needs_ordinary_work_and_a_valid_contractor(
    value: int, contractor: ContractorInfo, expected: str
) -> None:
    """A contractor may be named later, but not one whose licence has ended."""
    request = BuildingRequest(
        property_address="1 Main St", estimated_value=value, contractor_info=contractor
    )

    ruling = permits.permit_building(request, CASE)

    assert expected == (ruling.permit_id if isinstance(ruling, BuildingPermit) else _kind(ruling))


def test_gas_work_adds_an_inspection_before_the_final_one() -> None:
    """Four inspections are the rule, five with gas."""
    plain = permits.permit_building(BuildingRequest(property_address="1 Main St"), CASE)
    gas = permits.permit_building(
        BuildingRequest(property_address="1 Main St", work_description="A gas range"), CASE
    )

    assert isinstance(plain, BuildingPermit)
    assert isinstance(gas, BuildingPermit)
    assert plain.fee == 500
    assert plain.inspections == ("Foundation", "Electrical", "Plumbing", "Final")
    assert gas.inspections[-2:] == ("Gas", "Final")


def test_the_health_desk_answers_two_bodies_of_one_operation() -> None:
    """The field ``inspection_type`` tells the permit from the pre-opening visit."""
    union = health.OPERATIONS["inspections-schedule"].request
    permit_body = b'{"inspection_type":"restaurant","business_name":"T","business_address":"A"}'
    visit_body = b'{"inspection_type":"pre_opening","business_id":"BL-1","urgency":"normal"}'

    permit = health.schedule(msgspec.json.decode(permit_body, type=union), CASE)
    visit = health.schedule(msgspec.json.decode(visit_body, type=union), CASE)

    assert isinstance(permit, HealthPermit)
    assert (permit.permit_id, permit.fee) == ("HP-2026-001", 300)
    assert visit == Inspection(inspection_id="HI-2026-001", scheduled_date=date(2026, 11, 19))


def test_an_urgent_inspection_comes_within_three_working_days() -> None:
    """Saturday and Sunday are no working days."""
    ruling = health.schedule(InspectionRequest(business_id="BL-1", urgency="urgent"), CASE)

    assert isinstance(ruling, Inspection)
    assert ruling.scheduled_date == date(2026, 11, 10)


@pytest.mark.parametrize(
    ("menu", "trained", "requirements"),
    [("full_service", True, 2), ("full_service", False, 3), ("raw_bar", False, 4)],
)
def test_health_requirements_grow_with_the_risk(
    *, menu: str, trained: bool, requirements: int
) -> None:
    """Untrained staff and raw fish add one each."""
    request = HealthPermitRequest(
        business_name="T", business_address="A", menu_type=menu, food_handling_training=trained
    )

    ruling = health.schedule(request, CASE)

    assert isinstance(ruling, HealthPermit)
    assert len(ruling.requirements) == requirements


def test_an_unknown_menu_type_gets_no_health_permit() -> None:
    """The refusal names the types there are."""
    request = HealthPermitRequest(business_name="T", business_address="A", menu_type="street")

    ruling = health.schedule(request, CASE)

    assert isinstance(ruling, Refusal)
    assert ruling.details == {"known": list(health.MENU_TYPES)}


@pytest.mark.parametrize(
    ("equipment", "suppression", "guests", "accepted"),
    [
        ((), False, 50, True),
        (("oven",), False, 50, True),
        (("fryer",), True, 50, True),
        (("fryer", "grill"), False, 50, False),
        (("wok",), True, 300, True),
    ],
)
def test_hot_kitchens_need_fire_suppression(
    *, equipment: tuple[str, ...], suppression: bool, guests: int, accepted: bool
) -> None:
    """A plan without it gets its number, but no approval."""
    request = FireRequest(
        business_name="T",
        business_address="A",
        max_occupancy=guests,
        kitchen_equipment=equipment,
        fire_suppression_system=suppression,
    )

    ruling = safety.inspect(request, CASE)

    assert isinstance(ruling, FireInspection)
    assert ruling.plan_accepted is accepted
    assert ruling.scheduled_date == date(2026, 11, 16)


def test_a_hall_is_no_restaurant_for_the_fire_marshal() -> None:
    """More than 300 guests are refused."""
    request = FireRequest(business_name="T", business_address="A", max_occupancy=301)

    assert _kind(safety.inspect(request, CASE)) == "occupancy_too_high"


@pytest.mark.parametrize(
    ("address", "seats", "employees", "required", "available", "compliant", "fees"),
    [
        ("123 Main St", 50, 5, 20, 25, True, 0),
        ("123 Main St", 66, 6, 25, 25, True, 0),
        ("123 Main St", 67, 6, 26, 25, True, 400),
        ("7 Harbor Road", 90, 12, 36, 30, True, 2400),
        ("1 Quiet Court", 50, 2, 18, 8, True, 4000),
        ("1 Quiet Court", 50, 3, 19, 8, False, 0),
    ],
)
def test_parking_counts_seats_and_staff_against_the_street(
    *,
    address: str,
    seats: int,
    employees: int,
    required: int,
    available: int,
    compliant: bool,
    fees: int,
) -> None:
    """A small shortage is paid for; a large one does not comply."""
    request = ParkingRequest(business_address=address, seating_capacity=seats, employees=employees)

    ruling = parking.assess(request, CASE)

    assert isinstance(ruling, Parking)
    assert (
        ruling.required_spaces,
        ruling.available_spaces,
        ruling.compliant,
        ruling.fees,
    ) == (required, available, compliant, fees)


@pytest.mark.parametrize(
    ("license_type", "checked", "expected"),
    [
        ("beer_wine", True, "LL-2026-001"),
        ("full_bar", True, "LL-2026-001"),
        ("beer_wine", False, "background_check_missing"),
        ("moonshine", True, "license_type_unknown"),
    ],
)
def test_liquor_needs_a_known_type_and_a_background_check(
    *, license_type: str, checked: bool, expected: str
) -> None:
    """The file is opened for checked owners only."""
    request = LiquorRequest(
        business_name="T",
        business_address="A",
        license_type=license_type,
        owner_background_check=checked,
    )

    ruling = business.license_liquor(request, CASE)

    assert expected == (ruling.license_id if isinstance(ruling, LiquorLicense) else _kind(ruling))


def test_a_liquor_licence_waits_for_thirty_days_of_public_notice() -> None:
    """It costs 1200 and is good after the notice."""
    request = LiquorRequest(business_name="T", business_address="A", owner_background_check=True)

    ruling = business.license_liquor(request, CASE)

    assert isinstance(ruling, LiquorLicense)
    assert (ruling.fee, ruling.public_notice_days) == (1200, 30)
    assert ruling.notice_ends == THURSDAY.date() + timedelta(days=30)


@pytest.mark.parametrize(
    ("approvals", "expected"),
    [
        ({"business_license": "approved"}, "BOP-run-1"),
        ({"business_license": "approved", "fire_inspection": "no"}, "approvals_missing"),
        ({}, "approvals_missing"),
    ],
)
def test_the_operating_permit_needs_every_approval(
    approvals: dict[str, str], expected: str
) -> None:
    """The business office trusts nobody's word that all is well: it looks."""
    request = OperatingPermitRequest(
        workflow_id="run-1", business_name="T", business_license_id="BL-1", approvals=approvals
    )

    ruling = business.permit_operation(request, CASE)

    assert expected == (
        ruling.business_operating_permit
        if isinstance(ruling, OperatingPermitNumber)
        else _kind(ruling)
    )


@pytest.mark.parametrize(
    ("power_kw", "sufficient", "fee"),
    [(50, True, 250), (120, True, 530), (121, False, 534), (500, False, 2050)],
)
def test_a_connection_is_compared_with_the_street(
    *, power_kw: int, sufficient: bool, fee: int
) -> None:
    """The fee goes by size, and a weak street is a condition."""
    request = ConnectionRequest(business_address="1 Main St", power_kw=power_kw)

    ruling = utilities.check_capacity(request, CASE)

    assert isinstance(ruling, Connection)
    assert (ruling.sufficient, ruling.fee, bool(ruling.conditions)) == (
        sufficient,
        fee,
        not sufficient,
    )


def test_a_connection_above_500_kw_is_refused() -> None:
    """That is a station, not a connection."""
    request = ConnectionRequest(business_address="1 Main St", power_kw=501)

    assert _kind(utilities.check_capacity(request, CASE)) == "connection_too_large"


@pytest.mark.parametrize(("litres", "days"), [(1000, 90), (999, 30)])
def test_a_small_interceptor_is_emptied_more_often(litres: int, days: int) -> None:
    """Twenty litres a seat are enough for three months."""
    request = GreaseRequest(business_name="T", interceptor_l=litres, seating_capacity=50)

    ruling = environmental.review_grease(request, CASE)

    assert isinstance(ruling, GreaseReview)
    assert (ruling.pump_out_days, ruling.fee) == (days, 125)


def test_a_kitchen_without_interceptor_is_refused() -> None:
    """The refusal says how large it has to be."""
    request = GreaseRequest(business_name="T", interceptor_l=0, seating_capacity=50)

    ruling = environmental.review_grease(request, CASE)

    assert isinstance(ruling, Refusal)
    assert ruling.details == {"needed_l": 1000}


@pytest.mark.parametrize("operation", [found for o in OFFICES for found in o.OPERATIONS.values()])
def test_every_rule_refuses_a_request_without_its_required_fields(operation: Operation) -> None:
    """No operation takes an empty request, so a wrong body never issues a document."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"{}", type=operation.request)


def test_streets_are_read_with_and_without_a_number() -> None:
    """Only the street's first word counts."""
    assert [street_of(text) for text in ("12 Maple Ave", "Maple Ave 12", "12, Main", "")] == [
        "maple",
        "maple",
        "main",
        "",
    ]


def test_working_days_leave_weekends_out() -> None:
    """Friday plus one is Monday."""
    assert working_days_after(date(2026, 11, 6), 1) == date(2026, 11, 9)


def _kind(ruling: Any) -> str:
    assert isinstance(ruling, Refusal)
    return ruling.kind
