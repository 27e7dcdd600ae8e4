"""Rules for housing developments, by office: what may be built, where, and what it takes.

A plan that is missing is refused and not granted under a condition: earth that was moved cannot
be moved back by a letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Final

import msgspec

from examples.civic.development_model import Building as Proposed
from examples.civic.development_model import (
    Completion,
    CompletionRequest,
    FinalPlat,
    FinalPlatRequest,
    Impact,
    ImpactRequest,
    Networks,
    NetworksRequest,
    Occupancy,
    OccupancyRequest,
    PermittedUnit,
    Plat,
    PlatRequest,
    Protection,
    ProtectionRequest,
    ResidentialPermit,
    ResidentialRequest,
    Review,
    ReviewRequest,
    Roads,
    RoadsRequest,
    School,
    SchoolRequest,
    Sitework,
    SiteworkRequest,
    Traffic,
    TrafficRequest,
)
from examples.civic.ruling import Case, Operation, Refusal, by_name, street_of
from examples.civic.services.permits import COMMERCIAL, INDUSTRIAL, RESIDENTIAL, ZONING_MAP

REVIEW_FEE: Final = 2_000
HEIGHT_MAX_FT: Final = {RESIDENTIAL.name: 35.0, COMMERCIAL.name: 60.0}
HEIGHT_MAX_ELSEWHERE_FT: Final = 45.0
VARIANCE_FT: Final = 5.0
"""So much above the limit is granted as a variance."""
SPACES_PER_UNIT: Final = 1.5
DENSITY_MAX: Final = 20.0
"""Homes per acre."""

BUFFERS: Final = frozenset({"wetland_buffer", "wetland_mitigation_bank"})
NATURE: Final = {
    "floodplain": "Raise all floors 2 ft above the level of the 100-year flood",
    "protected_trees": "Plant two trees for each protected one that is felled",
    "steep_slope": "Terrace slopes above 15 %",
    "wetland_buffer": "Keep 100 ft of buffer around the wetland unbuilt",
    "wetland_mitigation_bank": "Buy wetland credits before any earth is moved",
}
"""What a feature of the ground demands."""
IMPACT_FEE: Final = 1_500
LARGE_ACRES: Final = 25.0

PEAK_SHARE: Final = 0.1
STREET_TRIPS: Final = {"main": 900, "market": 800, "elm": 450, "maple": 500, "oak": 350}
"""Trips in the peak hour that a street bears."""
STREET_TRIPS_ELSEWHERE: Final = 250
LEVELS: Final = ((0.3, "A"), (0.5, "B"), (0.7, "C"), (0.9, "D"), (1.0, "E"))

WOOD_UNITS_MAX: Final = 24
FEE_PER_UNIT: Final = 400
FEE_PER_1000_SQFT: Final = 250
UNITS_MAX: Final = 400
NETWORKS: Final = ("water", "sewer", "electric", "gas")
CONNECTION_FEE: Final = 120
ROAD_FEE: Final = 3_000
BUSY_TRIPS: Final = 1_000
"""From so many trips a day on a development improves the roads that it fills."""
UNITS_PER_HYDRANT: Final = 12
STUDENTS: Final = {"single_family": 0.7, "townhouse": 0.5, "apartment": 0.25}
FEE_PER_STUDENT: Final = 900


def review_development(request: ReviewRequest, case: Case) -> Review | Refusal:
    """Say what the zoning lets be built, and name the buildings."""
    district = ZONING_MAP.get(street_of(request.property_address))
    if district is None or district is INDUSTRIAL:
        where = "no known street" if district is None else f"the district {district.name}"
        return _no("zoning_refused", f"{request.property_address} lies in {where}: no homes")
    buildings = request.buildings or (Proposed(units=request.units_proposed),)
    planned = sum(each.units for each in buildings)
    if planned != request.units_proposed or len(buildings) > len(ascii_uppercase):
        return _no(
            "units_mismatch", f"{planned} homes in buildings, {request.units_proposed} asked"
        )
    if (request.density or 0) > DENSITY_MAX:
        return _no(
            "density_too_high", f"{request.density:g} homes per acre; {DENSITY_MAX:g} may be"
        )
    variances = []
    limit = HEIGHT_MAX_FT.get(district.name, HEIGHT_MAX_ELSEWHERE_FT)
    height = request.building_height or 0
    if height > limit + VARIANCE_FT:
        return _no("height_refused", f"{height:g} ft; {limit:g} ft may be built there")
    if height > limit:
        variances.append(f"Height of {height:g} ft in place of {limit:g} ft")
    needed = request.units_proposed * SPACES_PER_UNIT
    if request.parking_spaces is not None and request.parking_spaces < needed:
        variances.append(f"{request.parking_spaces} parking spaces in place of {needed:g}")
    return Review(
        review_id=case.document("DR"),
        district=district.name,
        buildings=tuple(
            msgspec.structs.replace(each, name=letter)
            for letter, each in zip(ascii_uppercase, buildings, strict=False)
        ),
        variances=tuple(variances),
        fee=REVIEW_FEE,
    )


def assess_impact(request: ImpactRequest, case: Case) -> Impact | Refusal:
    """Refuse what drains a wetland, and demand what protects the rest."""
    features = request.environmental_features
    if request.wetlands_present and not BUFFERS.intersection(features):
        return _no("wetlands_refused", "wetlands without a buffer or a mitigation bank")
    conditions = [NATURE[each] for each in features if each in NATURE]
    if request.property_size >= LARGE_ACRES:
        conditions.append("Have a biologist on the site while earth is moved")
    return Impact(
        assessment_id=case.document("EA"),
        finding="with_conditions" if conditions else "no_significant_impact",
        conditions=tuple(conditions),
        fee=IMPACT_FEE,
    )


def study_traffic(request: TrafficRequest, case: Case) -> Traffic | Refusal:
    """Compare the trips of the peak hour with what the street bears."""
    share = PEAK_SHARE if request.peak_hours_impact is None else request.peak_hours_impact
    peak = round(request.estimated_traffic * share)
    bears = STREET_TRIPS.get(street_of(request.development_location), STREET_TRIPS_ELSEWHERE)
    level = next((name for most, name in LEVELS if peak <= bears * most), "")
    if not level:
        return _no("traffic_refused", f"{peak} trips in the peak hour; the street bears {bears}")
    mitigation = ["turn_lane"] if level in "DE" else []
    if level == "E":
        mitigation.append("traffic_signal")
    return Traffic(
        study_id=case.document("TS"),
        level_of_service=level,
        peak_trips=peak,
        mitigation=tuple(mitigation),
    )


def approve_plat(request: PlatRequest, case: Case) -> Plat | Refusal:
    """Approve the lots; roads and pipes need ground of their own."""
    if not request.lots_proposed:
        return _no("no_lots", "a plat without lots")
    conditions = []
    if not request.road_dedication:
        conditions.append("Dedicate the roads before the final plat")
    if not request.utility_easements:
        conditions.append("Record easements for the networks")
    return Plat(
        preliminary_plat_id=case.document("PP"),
        lots=request.lots_proposed,
        conditions=tuple(conditions),
        fee=50 * request.lots_proposed,
    )


def permit_sitework(request: SiteworkRequest, case: Case) -> Sitework | Refusal:
    """Let earth be moved when all three plans are there."""
    plans = {
        "grading_plan": request.grading_plan,
        "erosion_control": request.erosion_control,
        "stormwater_management": request.stormwater_management,
    }
    lacking = [name for name, plan in plans.items() if not plan]
    if lacking:
        return _no("plans_missing", f"without {', '.join(lacking)}")
    return Sitework(
        permit_id=case.document("SW"), conditions=request.environmental_conditions, fee=1_200
    )


def permit_residential(request: ResidentialRequest, case: Case) -> ResidentialPermit | Refusal:
    """Permit one building, and name its homes."""
    if not request.architectural_plans:
        return _no("plans_missing", f"building {request.building_name} has no plans")
    if request.construction_type == "wood_frame" and request.units > WOOD_UNITS_MAX:
        return _no("construction_refused", f"{request.units} homes in one building of wood")
    permit = case.document("RB")
    area = -(-(request.square_footage or 0) // 1000)
    return ResidentialPermit(
        permit_id=permit,
        building=request.building_name,
        units=tuple(
            PermittedUnit(unit=f"{request.building_name}{number}", building_permit_id=permit)
            for number in range(1, request.units + 1)
        ),
        fee=request.units * FEE_PER_UNIT + area * FEE_PER_1000_SQFT,
    )


def connect_development(request: NetworksRequest, case: Case) -> Networks | Refusal:
    """Connect a development to the networks that it asks for."""
    unknown = [each for each in request.utility_types if each not in NETWORKS]
    if unknown:
        return _no("network_unknown", f"there is no network {', '.join(unknown)}")
    if request.development_size > UNITS_MAX:
        return _no("capacity_exceeded", f"{request.development_size} homes; {UNITS_MAX} may be")
    number = case.document("UN")
    return Networks(
        coordination_id=number,
        connections={each: f"{number}-{each[0].upper()}" for each in request.utility_types},
        fee=CONNECTION_FEE * request.development_size,
    )


def improve_roads(request: RoadsRequest, case: Case) -> Roads | Refusal:
    """Accept what is built on public ground; a busy development has to offer enough."""
    offered = request.road_improvements_required or ()
    lacking = [each for each in request.mitigation if each not in offered]
    if request.development_impact >= BUSY_TRIPS and not (offered or request.mitigation):
        lacking = ["turn_lane"]
    if lacking:
        return _no("roads_refused", f"the traffic needs {', '.join(lacking)}", needed=lacking)
    improvements = list(offered)
    improvements += ["sidewalks"] if request.sidewalk_requirements else []
    improvements += ["street_lighting"] if request.street_lighting else []
    return Roads(approval_id=case.document("RI"), improvements=tuple(improvements), fee=ROAD_FEE)


def review_protection(request: ProtectionRequest, case: Case) -> Protection | Refusal:
    """Look whether engines get in, and find water there."""
    if not request.fire_access_roads:
        return _no("no_fire_access", "engines do not get to the homes")
    needed = -(-request.units_count // UNITS_PER_HYDRANT)
    known = len(request.hydrant_locations or ())
    requirements = [f"Set {needed - known} more hydrants"] if known < needed else []
    heights = request.building_heights or 0
    tallest = max(heights, default=0) if isinstance(heights, tuple) else heights
    if tallest > HEIGHT_MAX_FT[RESIDENTIAL.name]:
        requirements.append("Access for the ladder engine on two sides")
    return Protection(
        review_id=case.document("FP"), hydrants_needed=needed, requirements=tuple(requirements)
    )


def assess_schools(request: SchoolRequest, case: Case) -> School | Refusal:
    """Count the children that move in."""
    unknown = [each for each in request.unit_types if each not in STUDENTS]
    if unknown or not request.unit_types:
        return _no("unit_type_unknown", f"no count for {', '.join(unknown) or 'no type'}")
    share = sum(STUDENTS[each] for each in request.unit_types) / len(request.unit_types)
    students = request.estimated_students
    if students is None:
        students = round(request.residential_units * share)
    return School(
        assessment_id=case.document("SI"), students=students, fee=students * FEE_PER_STUDENT
    )


def finish_plat(request: FinalPlatRequest, case: Case) -> FinalPlat | Refusal:
    """Record the plat as it was built."""
    open_ = {
        "construction": request.construction_completion == "complete",
        "infrastructure": bool(request.infrastructure_acceptance),
        "utilities": bool(request.utility_acceptance),
    }
    lacking = [name for name, done in open_.items() if not done]
    if not request.preliminary_plat_id.startswith("PP-"):
        return _no("plat_unknown", f"no preliminary plat {request.preliminary_plat_id}")
    if lacking:
        return _no("not_complete", f"not accepted yet: {', '.join(lacking)}", open=lacking)
    return FinalPlat(
        final_plat_id=case.document("FINAL"),
        preliminary_plat_id=request.preliminary_plat_id,
        fee=800,
    )


def certify_occupancy(request: OccupancyRequest, case: Case) -> Occupancy | Refusal:
    """Let somebody move in."""
    if not request.building_permit_id.startswith("RB-"):
        return _no("permit_unknown", f"no building permit {request.building_permit_id}")
    if not (request.final_inspections_complete and request.utility_connections_active):
        return _no("not_complete", f"{request.unit_address} is not ready")
    return Occupancy(
        certificate_id=case.document("CO"),
        unit_address=request.unit_address,
        building_permit_id=request.building_permit_id,
    )


def certify_completion(request: CompletionRequest, case: Case) -> Completion | Refusal:
    """Close the file, and add up what it has cost."""
    if not (request.all_permits_finalized and request.infrastructure_accepted):
        return _no("not_complete", "permits or infrastructure are open")
    released = request.bonding_released == "released"
    return Completion(
        certificate_id=case.document("DC"),
        workflow_id=request.workflow_id,
        total_fees=sum(request.fees) + sum(request.building_fees),
        conditions=() if released else ("The bond is kept for two years",),
    )


def _no(kind: str, message: str, **details: object) -> Refusal:
    return Refusal(kind=kind, message=message, details=details or None)


OPERATIONS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "permits": by_name(
        Operation("zoning-development-review", ReviewRequest, review_development),
        Operation("planning-preliminary-plat", PlatRequest, approve_plat),
        Operation("construction-sitework", SiteworkRequest, permit_sitework),
        Operation("building-residential", ResidentialRequest, permit_residential),
        Operation("infrastructure-road-improvements", RoadsRequest, improve_roads),
        Operation("impact-school-assessment", SchoolRequest, assess_schools),
        Operation("planning-final-plat", FinalPlatRequest, finish_plat),
        Operation("certificates-occupancy", OccupancyRequest, certify_occupancy),
        Operation("development-completion-certificate", CompletionRequest, certify_completion),
    ),
    "environmental": by_name(
        Operation("assessments-environmental-impact", ImpactRequest, assess_impact)
    ),
    "parking": by_name(Operation("traffic-impact-study", TrafficRequest, study_traffic)),
    "utilities": by_name(
        Operation("connections-new-development", NetworksRequest, connect_development)
    ),
    "safety": by_name(Operation("reviews-fire-protection", ProtectionRequest, review_protection)),
}
"""The operations by office and name."""
