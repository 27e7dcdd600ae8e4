"""Permits office: zoning by the city map, and building permits."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from examples.civic.model import BuildingPermit, BuildingRequest, Zoning, ZoningRequest
from examples.civic.ruling import Case, Operation, Refusal, by_name, street_of

PLAN_REVIEW_FROM: Final = 1_000_000
"""Work of this value needs a full plan review, which this procedure does not cover."""
QUIET_FROM: Final = 22
"""Where people live near by, noise ends at this hour."""


class District(msgspec.Struct, frozen=True):
    """What one district of the map allows; ``seats_max`` 0 means no restaurants at all."""

    name: str
    seats_max: int
    outdoor: bool = True
    conditions: tuple[str, ...] = ()


COMMERCIAL: Final = District("Commercial", 300)
WATERFRONT: Final = District(
    "Waterfront", 180, conditions=("Keep the public walk along the water open",)
)
NEIGHBORHOOD: Final = District("Neighborhood Commercial", 80, outdoor=False)
INDUSTRIAL: Final = District("Industrial", 30, outdoor=False)
RESIDENTIAL: Final = District("Residential", 0)

ZONING_MAP: Final = {
    "main": COMMERCIAL,
    "market": COMMERCIAL,
    "harbor": WATERFRONT,
    "elm": NEIGHBORHOOD,
    "mill": INDUSTRIAL,
    "maple": RESIDENTIAL,
    "oak": RESIDENTIAL,
}

_HOUR: Final = re.compile(r"(\d{1,2})\s*(AM|PM)", re.IGNORECASE)


def check_zoning(request: ZoningRequest, _case: Case) -> Zoning | Refusal:
    """Say whether the district takes a restaurant of this size and with these hours."""
    district = ZONING_MAP.get(street_of(request.address))
    if district is None:
        return Refusal(
            kind="address_unknown",
            message=f"{request.address!r} is not on the zoning map",
            details={"address": request.address},
        )
    if request.seating_capacity > district.seats_max:
        what = f"seats at most {district.seats_max} guests" if district.seats_max else "takes none"
        return Refusal(
            kind="zoning_refused",
            message=f"{request.address} lies in the district {district.name}, which {what}",
            details={
                "district": district.name,
                "seats_max": district.seats_max,
                "seating_capacity": request.seating_capacity,
            },
        )
    closing = closing_hour(request.operating_hours)
    if closing is None:
        return Refusal(
            kind="validation",
            message=f"operating hours {request.operating_hours!r} cannot be read",
            details={"expected": "6 AM - 10 PM"},
        )
    restrictions = []
    if closing > QUIET_FROM and district is not COMMERCIAL:
        restrictions.append("No music after 10 PM")
    if request.outdoor_seating and not district.outdoor:
        restrictions.append("No outdoor seating in this district")
    conditions = list(district.conditions)
    if request.outdoor_seating and district.outdoor:
        conditions.append("Leave 1.5 m of the sidewalk free beside outdoor tables")
    return Zoning(
        district=district.name, restrictions=tuple(restrictions), conditions=tuple(conditions)
    )


def permit_building(request: BuildingRequest, case: Case) -> BuildingPermit | Refusal:
    """Grant a permit for an ordinary build-out with a contractor in good standing."""
    if request.estimated_value >= PLAN_REVIEW_FROM:
        return Refusal(
            kind="plan_review_required",
            message=f"work of ${request.estimated_value:,} needs a full plan review",
            details={"limit": PLAN_REVIEW_FROM},
        )
    contractor = request.contractor_info
    expires = contractor.license_valid_until
    if expires is not None and expires < case.today:
        return Refusal(
            kind="contractor_license_expired",
            message=f"the licence of {contractor.name or 'the contractor'} ended on {expires}",
            details={"license_id": contractor.license_id},
        )
    inspections: tuple[str, ...] = ("Foundation", "Electrical", "Plumbing", "Final")
    if "gas" in request.work_description.lower():
        inspections = (*inspections[:-1], "Gas", "Final")
    conditions = (
        () if contractor.license_id else ("Name a licensed contractor before work starts",)
    )
    return BuildingPermit(
        permit_id=case.document("BP"), inspections=inspections, conditions=conditions
    )


def closing_hour(hours: str) -> int | None:
    """Return the hour of closing, above 24 for the next day; None when it cannot be read."""
    found = _HOUR.findall(hours)
    if len(found) != 2:  # noqa: PLR2004 - an opening and a closing hour
        return None
    opens, closes = (int(hour) % 12 + (12 if half.upper() == "PM" else 0) for hour, half in found)
    return closes if closes > opens else closes + 24


ZONING: Final = Operation("zoning-check", ZoningRequest, check_zoning)
BUILDING: Final = Operation("building-apply", BuildingRequest, permit_building)
OPERATIONS: Final = by_name(ZONING, BUILDING)
