"""What the workflow ``civic.housing`` and the city offices say to each other.

Operations P9 to P21. Defaults are those of the form; readers ignore unknown fields. Money is in
whole dollars. What a developer hands in may be a text or a yes: ``Paper`` takes both.
"""

from __future__ import annotations

from typing import Literal

from examples.civic.model import Count, Dollars, Text, Value

Paper = str | bool | None
"""A plan that was handed in: its name, or whether there is one."""


class Building(Value, frozen=True, kw_only=True):
    """One building of a development, as it was asked for and reviewed."""

    type: Text = "residential"
    units: Count
    square_footage: Count | None = None
    construction_type: str = "wood_frame"
    plans_submitted: bool = True
    name: str = ""
    """A letter; the zoning review gives it."""


class ReviewRequest(Value, frozen=True, kw_only=True):
    """permits: ``zoning-development-review``."""

    property_address: Text
    development_type: Text
    units_proposed: Count
    building_height: float | None = None
    density: float | None = None
    parking_spaces: Count | None = None
    buildings: tuple[Building, ...] = ()


class Review(Value, frozen=True, kw_only=True):
    """What may be built, building by building."""

    review_id: str
    district: str
    buildings: tuple[Building, ...]
    variances: tuple[str, ...] = ()
    fee: Dollars = 0


class ImpactRequest(Value, frozen=True, kw_only=True):
    """environmental: ``assessments-environmental-impact``."""

    project_scope: Text
    property_size: float
    environmental_features: tuple[str, ...] = ()
    wetlands_present: bool = False


class Impact(Value, frozen=True, kw_only=True):
    """Whether and under which conditions nature bears it."""

    assessment_id: str
    finding: Literal["no_significant_impact", "with_conditions"]
    conditions: tuple[str, ...] = ()
    fee: Dollars = 0


class TrafficRequest(Value, frozen=True, kw_only=True):
    """parking: ``traffic-impact-study``."""

    development_location: Text
    estimated_traffic: Count
    peak_hours_impact: float | None = None
    parking_analysis: Paper = None


class Traffic(Value, frozen=True, kw_only=True):
    """What the streets bear: level of service A (free) to E (full)."""

    study_id: str
    level_of_service: str
    peak_trips: Count
    mitigation: tuple[str, ...] = ()


class PlatRequest(Value, frozen=True, kw_only=True):
    """permits: ``planning-preliminary-plat``."""

    subdivision_name: str | None = None
    lots_proposed: Count
    road_dedication: Paper = None
    utility_easements: Paper = None


class Plat(Value, frozen=True, kw_only=True):
    """The plan of lots, approved for building."""

    preliminary_plat_id: str
    lots: Count
    conditions: tuple[str, ...] = ()
    fee: Dollars = 0


class SiteworkRequest(Value, frozen=True, kw_only=True):
    """permits: ``construction-sitework``."""

    project_address: Text
    preliminary_plat_id: Text
    grading_plan: Paper = None
    erosion_control: Paper = None
    stormwater_management: Paper = None
    environmental_conditions: tuple[str, ...] = ()


class Sitework(Value, frozen=True, kw_only=True):
    """The permit to move earth; what the environmental office demands is part of it."""

    permit_id: str
    conditions: tuple[str, ...] = ()
    fee: Dollars = 0


class ResidentialRequest(Value, frozen=True, kw_only=True):
    """permits: ``building-residential``, once for each building."""

    preliminary_plat_id: Text
    building_name: Text
    building_type: Text
    units: Count
    square_footage: Count | None = None
    construction_type: str = "wood_frame"
    architectural_plans: bool = True


class PermittedUnit(Value, frozen=True, kw_only=True):
    """One home, and the permit under which it is built."""

    unit: str
    building_permit_id: str


class ResidentialPermit(Value, frozen=True, kw_only=True):
    """The permit for one building, with its units by name."""

    permit_id: str
    building: str
    units: tuple[PermittedUnit, ...]
    fee: Dollars = 0


class NetworksRequest(Value, frozen=True, kw_only=True):
    """utilities: ``connections-new-development``."""

    development_size: Count
    utility_types: tuple[str, ...]
    connection_points: Paper | tuple[str, ...] = None
    capacity_requirements: dict[str, float] | None = None


class Networks(Value, frozen=True, kw_only=True):
    """Connections to the networks, by network."""

    coordination_id: str
    connections: dict[str, str]
    fee: Dollars = 0


class RoadsRequest(Value, frozen=True, kw_only=True):
    """permits: ``infrastructure-road-improvements``."""

    development_impact: Count
    road_improvements_required: tuple[str, ...] | None = None
    sidewalk_requirements: Paper = None
    street_lighting: Paper = None
    mitigation: tuple[str, ...] = ()
    """What the traffic study wants."""


class Roads(Value, frozen=True, kw_only=True):
    """What is built on public ground."""

    approval_id: str
    improvements: tuple[str, ...]
    fee: Dollars = 0


class ProtectionRequest(Value, frozen=True, kw_only=True):
    """safety: ``reviews-fire-protection``."""

    development_type: Text
    units_count: Count
    building_heights: tuple[float, ...] | float | None = None
    fire_access_roads: Paper = None
    hydrant_locations: tuple[str, ...] | None = None


class Protection(Value, frozen=True, kw_only=True):
    """Whether engines and water get to every home."""

    review_id: str
    hydrants_needed: Count
    requirements: tuple[str, ...] = ()


class SchoolRequest(Value, frozen=True, kw_only=True):
    """permits: ``impact-school-assessment``."""

    residential_units: Count
    unit_types: tuple[str, ...] = ("single_family",)
    estimated_students: Count | None = None
    school_district: str | None = None


class School(Value, frozen=True, kw_only=True):
    """How many children are expected, and what their places cost."""

    assessment_id: str
    students: Count
    fee: Dollars


class FinalPlatRequest(Value, frozen=True, kw_only=True):
    """permits: ``planning-final-plat``."""

    preliminary_plat_id: Text
    construction_completion: str | None = None
    infrastructure_acceptance: bool | None = None
    utility_acceptance: bool | None = None


class FinalPlat(Value, frozen=True, kw_only=True):
    """The plan of lots as it was built and recorded."""

    final_plat_id: str
    preliminary_plat_id: str
    fee: Dollars = 0


class OccupancyRequest(Value, frozen=True, kw_only=True):
    """permits: ``certificates-occupancy``, once for each unit."""

    unit_address: Text
    building_permit_id: Text
    final_inspections_complete: bool
    utility_connections_active: bool


class Occupancy(Value, frozen=True, kw_only=True):
    """Somebody may move in."""

    certificate_id: str
    unit_address: str
    building_permit_id: str


class CompletionRequest(Value, frozen=True, kw_only=True):
    """permits: ``development-completion-certificate``; the fees of all offices are added here."""

    workflow_id: Text
    all_permits_finalized: bool
    infrastructure_accepted: bool
    bonding_released: str = "pending"
    fees: tuple[Dollars, ...] = ()
    building_fees: tuple[Dollars, ...] = ()


class Completion(Value, frozen=True, kw_only=True):
    """The development is done."""

    certificate_id: str
    workflow_id: str
    total_fees: Dollars
    conditions: tuple[str, ...] = ()
