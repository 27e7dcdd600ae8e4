"""What applicants, workflow and city offices say to each other.

Defaults are those of the application form; fees and dates come from the offices. Money is in
whole dollars. Readers ignore unknown fields, except in the application: there a field that
nobody knows is a typing error, and a typing error in an application costs weeks.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec

Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Dollars = Annotated[int, msgspec.Meta(ge=0)]
Seats = Annotated[int, msgspec.Meta(ge=1)]

BUSINESS_FEE: Final = 150
HEALTH_FEE: Final = 300
BUILDING_FEE: Final = 500
LIQUOR_FEE: Final = 1200
LICENSE_DAYS: Final = 365
"""Licences and permits are valid for a year."""
PUBLIC_NOTICE_DAYS: Final = 30


class Step(StrEnum):
    """The eight steps of an opening, in the order in which they are reported."""

    BUSINESS_LICENSE = "business_license"
    ZONING_CHECK = "zoning_check"
    HEALTH_PERMIT = "health_permit"
    BUILDING_PERMIT = "building_permit"
    FIRE_INSPECTION = "fire_inspection"
    PARKING_ASSESSMENT = "parking_assessment"
    LIQUOR_LICENSE = "liquor_license"
    FINAL_APPROVAL = "final_approval"


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that is said."""


class OwnerInfo(Value, frozen=True, kw_only=True):
    """Who will hold the licences."""

    name: str = ""
    email: str = ""
    phone: str = ""


class ContractorInfo(Value, frozen=True, kw_only=True):
    """Who will do the building work; may still be open when the permit is asked for."""

    name: str = ""
    license_id: str = ""
    license_valid_until: date | None = None


class UtilityNeeds(Value, frozen=True, kw_only=True):
    """A new connection to the city's networks."""

    power_kw: Count
    water_l_per_min: Count = 0


class GreaseNeeds(Value, frozen=True, kw_only=True):
    """The grease interceptor that the kitchen will use."""

    interceptor_l: Count


class Application(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One application to open a restaurant: the input of the workflow."""

    business_name: Text
    business_address: Text
    owner_info: OwnerInfo
    estimated_employees: Count = 5
    seating_capacity: Seats = 50
    operating_hours: str = "6 AM - 10 PM"
    outdoor_seating: bool = False
    menu_type: str = "full_service"
    food_handling_training: bool = False
    requires_renovation: bool = False
    renovation_description: str = "Restaurant build-out"
    renovation_cost: Dollars = 50_000
    contractor_info: ContractorInfo = ContractorInfo()
    kitchen_equipment: tuple[str, ...] = ()
    fire_suppression: bool = True
    serves_alcohol: bool = False
    liquor_license_type: str = "beer_wine"
    background_check_completed: bool = False
    utility_needs: UtilityNeeds | None = None
    grease_needs: GreaseNeeds | None = None


# Requests and answers, office by office.


class BusinessLicenseRequest(Value, frozen=True, kw_only=True):
    """business: ``applications-business-license``."""

    business_name: Text
    business_address: Text
    owner_info: OwnerInfo
    business_type: str = "restaurant"
    estimated_employees: Count = 5


class BusinessLicense(Value, frozen=True, kw_only=True):
    """The licence to run a business in the city."""

    license_id: str
    status: Literal["approved", "pending"] = "approved"
    fee: Dollars = BUSINESS_FEE
    valid_until: date | None = None


class ZoningRequest(Value, frozen=True, kw_only=True):
    """permits: ``zoning-check``."""

    address: Text
    business_type: str = "restaurant"
    seating_capacity: Seats = 50
    operating_hours: str = "6 AM - 10 PM"
    outdoor_seating: bool = False


class Zoning(Value, frozen=True, kw_only=True):
    """Whether, and with what limits, the place may hold a restaurant."""

    compliant: bool = True
    district: str = "Commercial"
    restrictions: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


class HealthPermitRequest(
    Value, frozen=True, kw_only=True, tag_field="inspection_type", tag="restaurant"
):
    """health: ``inspections-schedule``, the body that asks for a food permit."""

    business_name: Text
    business_address: Text
    menu_type: str = "full_service"
    food_handling_training: bool = False


class InspectionRequest(
    Value, frozen=True, kw_only=True, tag_field="inspection_type", tag="pre_opening"
):
    """health: ``inspections-schedule``, the body that asks for the pre-opening visit."""

    business_id: Text
    urgency: Literal["normal", "urgent"] = "normal"


class HealthPermit(Value, frozen=True, kw_only=True):
    """The permit to serve food, under its requirements."""

    permit_id: str
    fee: Dollars = HEALTH_FEE
    requirements: tuple[str, ...] = ()


class Inspection(Value, frozen=True, kw_only=True):
    """The appointment for the pre-opening health inspection."""

    inspection_id: str
    scheduled_date: date | None = None


class BuildingRequest(Value, frozen=True, kw_only=True):
    """permits: ``building-apply``."""

    property_address: Text
    work_description: str = "Restaurant build-out"
    estimated_value: Dollars = 50_000
    contractor_info: ContractorInfo = ContractorInfo()


class BuildingPermit(Value, frozen=True, kw_only=True):
    """The permit to renovate, with the inspections that come with the work."""

    permit_id: str
    fee: Dollars = BUILDING_FEE
    inspections: tuple[str, ...] = ("Foundation", "Electrical", "Plumbing", "Final")
    estimated_approval_time: str = "4-6 weeks"
    conditions: tuple[str, ...] = ()


class FireRequest(Value, frozen=True, kw_only=True):
    """safety: ``inspections-fire``."""

    business_name: Text
    business_address: Text
    occupancy_type: str = "restaurant"
    max_occupancy: Seats = 50
    kitchen_equipment: tuple[str, ...] = ()
    fire_suppression_system: bool = True


class FireInspection(Value, frozen=True, kw_only=True):
    """The fire marshal's appointment, and whether the plan of the kitchen was accepted."""

    inspection_id: str
    plan_accepted: bool = True
    scheduled_date: date | None = None
    inspector_info: str = ""
    requirements: tuple[str, ...] = ()
    estimated_duration: str = "2-3 hours"


class ParkingRequest(Value, frozen=True, kw_only=True):
    """parking: ``requirements-assess``."""

    business_address: Text
    business_type: str = "restaurant"
    seating_capacity: Seats = 50
    employees: Count = 5
    operating_hours: str = "6 AM - 10 PM"


class Parking(Value, frozen=True, kw_only=True):
    """Spaces that guests and staff need against spaces in reach."""

    required_spaces: Count = 20
    available_spaces: Count = 25
    compliant: bool = True
    recommendations: tuple[str, ...] = ()
    fees: Dollars = 0


class LiquorRequest(Value, frozen=True, kw_only=True):
    """business: ``licenses-liquor``."""

    business_name: Text
    business_address: Text
    license_type: str = "beer_wine"
    owner_background_check: bool = False


class LiquorLicense(Value, frozen=True, kw_only=True):
    """The licence to serve alcohol, once its public notice has run out."""

    license_id: str
    license_type: str = "beer_wine"
    fee: Dollars = LIQUOR_FEE
    background_check_required: bool = True
    public_notice_days: Count = PUBLIC_NOTICE_DAYS
    notice_ends: date | None = None
    estimated_approval_time: str = "8-12 weeks"


class ConnectionRequest(Value, frozen=True, kw_only=True):
    """utilities: ``connections-capacity``."""

    business_address: Text
    power_kw: Count
    water_l_per_min: Count = 0


class Connection(Value, frozen=True, kw_only=True):
    """What the networks at the address can carry."""

    review_id: str
    sufficient: bool = True
    fee: Dollars = 0
    conditions: tuple[str, ...] = ()


class GreaseRequest(Value, frozen=True, kw_only=True):
    """environmental: ``reviews-grease-waste``."""

    business_name: Text
    interceptor_l: Count
    seating_capacity: Seats = 50


class GreaseReview(Value, frozen=True, kw_only=True):
    """Whether the grease interceptor fits the kitchen, and how often it is emptied."""

    review_id: str
    adequate: bool = True
    pump_out_days: Count = 90
    fee: Dollars = 0
    conditions: tuple[str, ...] = ()


class OperatingPermitRequest(Value, frozen=True, kw_only=True):
    """business: ``permits-operating``, the last step: issue the operating permit."""

    workflow_id: Text
    business_name: Text
    business_license_id: Text
    approvals: dict[str, str]


class OperatingPermitNumber(Value, frozen=True, kw_only=True):
    """The number under which the operating permit stands in the register."""

    business_operating_permit: str


# What the workflow answers.


class OperatingPermit(Value, frozen=True, kw_only=True):
    """The permit that opens the doors."""

    business_operating_permit: str
    business_name: str
    authorized_activities: tuple[str, ...]
    conditions: tuple[str, ...]
    valid_from: date
    valid_until: date


class FinalApproval(Value, frozen=True, kw_only=True):
    """The result of the last step."""

    final_approval: Literal["granted"] = "granted"
    business_operating_permit: OperatingPermit
    all_approvals_status: dict[str, str]
    total_process_time: str
    total_cost: Dollars
    next_steps: tuple[str, ...]


class Renewal(Value, frozen=True, kw_only=True):
    """One date to keep, with a reminder before it."""

    permit_type: str
    renewal_date: date
    estimated_cost: Dollars
    reminder_date: date


class SupportContacts(Value, frozen=True, kw_only=True):
    """Whom to ask."""

    business_services: str = "business@city.gov"
    health_department: str = "health@city.gov"
    permits_office: str = "permits@city.gov"
    general_inquiries: str = "311"


class Summary(Value, frozen=True, kw_only=True):
    """The result of the workflow."""

    workflow_id: str
    status: Literal["completed"] = "completed"
    business_info: Application
    completed_steps: Count
    total_cost: Dollars
    processing_time: str
    approvals_obtained: tuple[Step, ...]
    documents: dict[str, str]
    final_permits: tuple[FinalApproval, ...]
    renewal_schedule: tuple[Renewal, ...]
    compliance_requirements: tuple[str, ...]
    completed_at: str
    support_contacts: SupportContacts = SupportContacts()


class Refused(Value, frozen=True, kw_only=True):
    """Why one step of an application did not succeed; part of the failure's details."""

    kind: str
    message: str
    details: Any = None
