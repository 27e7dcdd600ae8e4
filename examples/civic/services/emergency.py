"""Rules for emergencies, by office.

What goes by the type of an emergency stands in ``strategies.json``: whoever knows better changes
the file, and no rule.

Nobody asks twice in an emergency: what is not known is taken as nothing, and only what cannot be
done at all is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from examples.civic.emergency_model import (
    Closure,
    ClosureRequest,
    Damage,
    DamageRequest,
    Dispatch,
    DispatchRequest,
    Expedited,
    ExpediteRequest,
    Followup,
    FollowupRequest,
    Medical,
    MedicalRequest,
    Monitoring,
    MonitoringRequest,
    Notification,
    NotificationRequest,
    Plan,
    Resources,
    ResourcesRequest,
    Restoration,
    RestorationRequest,
    Shutoff,
    ShutoffRequest,
    Strategy,
    StrategyRequest,
    Structures,
    StructuresRequest,
)
from examples.civic.ruling import Case, Operation, Refusal, by_name, street_of


class Strategies(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file ``strategies.json``."""

    types: dict[str, Strategy]
    default: Strategy
    severities: dict[str, dict[str, str]]
    """What a severity raises; it lowers nothing."""
    levels: tuple[str, ...]
    """Levels of coordination, the least first."""
    priorities: dict[str, int]
    utilities: dict[str, str]
    messages: dict[str, str]
    restoration: tuple[str, ...]


BOOK: Final = msgspec.json.decode(
    (Path(__file__).parent.parent / "strategies.json").read_bytes(), type=Strategies
)
UNITS: Final = {"low": 1, "medium": 2, "high": 3, "critical": 5}
CUSTOMERS: Final = {"main": 150, "market": 220, "harbor": 90, "maple": 40, "elm": 60}
"""Customers behind the valves of a street."""
CUSTOMERS_ELSEWHERE: Final = 25
NO_GAS: Final = frozenset({"harbor", "oak"})
"""Streets without gas: there is nothing to shut."""
RADIO: Final = "local_radio"
"""The radio reads out what the city tells on any other channel."""
YARD: Final = frozenset({"pumps", "crane", "barriers", "generator", "sandbags"})
"""What the city has itself."""
THRESHOLDS: Final = {"methane_lel_percent": 10.0, "co_ppm": 35.0}
HOURS: Final = {"water": 6, "natural_gas": 12, "electric": 4, "sewer": 10}
"""Hours until a network is whole again."""
TEAMS: Final = {"minor": 1, "moderate": 2, "severe": 4}
SURVEILLANCE_WEEKS: Final = 12
MONITORING_WEEKS: Final = 4


def plan(request: StrategyRequest, _case: Case) -> Plan:
    """Look up what is written down for the type; the severity may raise it."""
    kind = request.emergency_type
    strategy = BOOK.types.get(kind, BOOK.default)
    raised: dict[str, Any] = dict(BOOK.severities.get(request.severity, {}))
    level = raised.get("coordination_level", strategy.coordination_level)
    if BOOK.levels.index(level) < BOOK.levels.index(strategy.coordination_level):
        del raised["coordination_level"]
    message = BOOK.messages.get(kind, BOOK.messages["default"])
    return Plan(
        strategy=msgspec.structs.replace(strategy, **raised),
        known_type=kind in BOOK.types,
        priorities=tuple(sorted(BOOK.priorities, key=BOOK.priorities.__getitem__)),
        utility_type=BOOK.utilities.get(kind, "unknown"),
        public_message=message.format(location=request.location),
        restoration_priority=BOOK.restoration,
    )


def dispatch(request: DispatchRequest, case: Case) -> Dispatch:
    """Send units by severity, and one more for each hazard that was reported."""
    units = UNITS.get(request.severity, UNITS["medium"]) + len(request.immediate_hazards)
    teams = ("engine", *(f"{each} team" for each in request.immediate_hazards))
    return Dispatch(dispatch_id=case.document("DISP"), units_dispatched=units, teams=teams)


def shut_off(request: ShutoffRequest, case: Case) -> Shutoff | Refusal:
    """Shut the valves of a street."""
    if request.utility_type not in HOURS:
        return _no("utility_unknown", f"there is no network {request.utility_type}")
    street = street_of(request.location)
    if request.utility_type == "natural_gas" and street in NO_GAS:
        return _no("no_such_network", f"no gas lies at {request.location}")
    return Shutoff(
        shutoff_id=case.document("SO"),
        utility_type=request.utility_type,
        affected_customers=CUSTOMERS.get(street, CUSTOMERS_ELSEWHERE),
    )


def close_area(request: ClosureRequest, case: Case) -> Closure | Refusal:
    """Close streets; engines must get through."""
    if not request.emergency_vehicle_access:
        return _no("access_needed", "no area is closed to engines")
    street = street_of(request.closure_area)
    detours = ("Market Street", "Elm Street") if request.traffic_rerouting else ()
    return Closure(
        closure_id=case.document("CL"),
        area_closed=f"{request.closure_radius} around {request.closure_area}",
        detours=tuple(each for each in detours if street_of(each) != street),
    )


def respond(request: MedicalRequest, case: Case) -> Medical:
    """Send ambulances; what people may have breathed is treated on the spot."""
    return Medical(
        response_id=case.document("MR"),
        ambulances=1 + len(request.potential_exposures) + bool(request.evacuation_area),
        antidotes=tuple(f"treatment for {each}" for each in request.potential_exposures),
    )


def notify(request: NotificationRequest, case: Case) -> Notification | Refusal:
    """Tell the public."""
    if not request.channels:
        return _no("no_channels", "a message that nobody hears")
    channels = tuple(dict.fromkeys((*request.channels, RADIO)))
    return Notification(
        notification_id=case.document("PN"),
        channels=channels,
        channels_activated=len(channels),
        message=request.message,
    )


def coordinate(request: ResourcesRequest, case: Case) -> Resources | Refusal:
    """Send what is in the yard; the neighbours lend the rest, when they were asked."""
    wanted = dict.fromkeys((*request.required_resources, *request.specialized_equipment))
    lacking = [each for each in wanted if each not in YARD]
    if lacking and not request.mutual_aid_needed:
        return _no("not_in_the_yard", f"ask the neighbours for {', '.join(lacking)}")
    return Resources(
        resource_id=case.document("RC"),
        resources_deployed=tuple(each for each in wanted if each in YARD),
        from_neighbours=tuple(lacking),
    )


def monitor(request: MonitoringRequest, case: Case) -> Monitoring:
    """Measure where it was asked for, else at the nearest station."""
    return Monitoring(
        monitoring_id=case.document("EM"),
        stations=request.monitoring_locations or ("nearest station",),
        alert_thresholds=request.alert_thresholds or THRESHOLDS,
    )


def inspect_structures(request: StructuresRequest, case: Case) -> Structures:
    """Look at what is affected; engineers look at what may fall."""
    inspected = request.affected_infrastructure
    if request.utility_damage_assessment:
        inspected = (*inspected, "networks")
    engineers = 1 + len(request.affected_infrastructure) // 3
    return Structures(
        assessment_id=case.document("IA"),
        inspected=inspected,
        engineers=engineers if request.structural_engineers_needed else 0,
    )


def assess_damage(request: DamageRequest, case: Case) -> Damage:
    """Say how bad it is: what was reported first, or else by what is damaged."""
    found = len(request.affected_properties) + 2 * len(request.infrastructure_damage)
    level = request.preliminary_damage
    if level not in TEAMS:
        level = "minor" if found <= 1 else "moderate" if found <= 5 else "severe"  # noqa: PLR2004
    return Damage(
        assessment_id=case.document("DA"),
        damage_level=level,
        teams=request.assessment_teams or TEAMS[level],
    )


def plan_restoration(request: RestorationRequest, case: Case) -> Restoration:
    """Restore networks in the order of those who need them."""
    hours = max((HOURS.get(each, 24) for each in request.affected_utilities), default=0)
    return Restoration(
        restoration_id=case.document("UR"),
        estimated_time=request.estimated_restoration_time
        or (f"{hours} hours" if hours else "nothing to restore"),
        order=request.restoration_priority or (),
        temporary_services=request.temporary_services_needed,
    )


def expedite(request: ExpediteRequest, case: Case) -> Expedited:
    """Grant repairs and shelters at once."""
    return Expedited(
        expedite_id=case.document("EP"),
        granted=(*request.repair_permits_needed, *request.temporary_structures),
        to_inspect=request.demolition_permits,
        processing_days=1 if request.expedited_processing else 10,
    )


def follow_up(request: FollowupRequest, case: Case) -> Followup:
    """Look after people for as long as it takes."""
    weeks = MONITORING_WEEKS if request.health_monitoring_needed else 0
    if request.medical_surveillance:
        weeks = SURVEILLANCE_WEEKS
    return Followup(
        followup_id=case.document("HF"), weeks=weeks, advisories=request.public_health_advisories
    )


def _no(kind: str, message: str) -> Refusal:
    return Refusal(kind=kind, message=message)


OPERATIONS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "safety": by_name(
        Operation("emergency-strategy", StrategyRequest, plan),
        Operation("emergency-dispatch", DispatchRequest, dispatch),
        Operation("emergency-public-notification", NotificationRequest, notify),
        Operation("emergency-resource-coordination", ResourcesRequest, coordinate),
    ),
    "utilities": by_name(
        Operation("emergency-shutoff", ShutoffRequest, shut_off),
        Operation("recovery-restoration-plan", RestorationRequest, plan_restoration),
    ),
    "parking": by_name(Operation("emergency-area-closure", ClosureRequest, close_area)),
    "health": by_name(
        Operation("emergency-medical-response", MedicalRequest, respond),
        Operation("recovery-health-followup", FollowupRequest, follow_up),
    ),
    "environmental": by_name(Operation("emergency-monitoring", MonitoringRequest, monitor)),
    "permits": by_name(
        Operation("emergency-infrastructure-assessment", StructuresRequest, inspect_structures),
        Operation("recovery-damage-assessment", DamageRequest, assess_damage),
        Operation("recovery-expedited-permits", ExpediteRequest, expedite),
    ),
}
"""The operations by office and name."""
