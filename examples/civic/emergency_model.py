"""What the workflow ``civic.emergency`` and the city offices say to each other.

Operations P22 to P33, and ``emergency-strategy``, by which the safety office looks up what is
written down for a type of emergency. Readers ignore unknown fields; what the reporter of an
emergency does not know is null.
"""

from __future__ import annotations

from typing import Any

from examples.civic.model import Count, Text, Value

Said = Any
"""What somebody has said, in whatever form."""


class Strategy(Value, frozen=True, kw_only=True):
    """What is written down for a type of emergency; see ``strategies.json``."""

    primary_services: tuple[str, ...]
    response_time: str = "standard"
    coordination_level: str = "medium"
    public_notification: bool = False
    evacuation_potential: bool = False
    multi_agency_response: bool = False
    area_impact: str = ""


class StrategyRequest(Value, frozen=True, kw_only=True):
    """safety: ``emergency-strategy``."""

    emergency_type: Text
    severity: str = "medium"
    location: Text


class Plan(Value, frozen=True, kw_only=True):
    """The strategy for one emergency, with what goes by its type."""

    strategy: Strategy
    known_type: bool
    priorities: tuple[str, ...]
    """What is protected, the first thing first."""
    utility_type: str
    public_message: str
    restoration_priority: tuple[str, ...]


class Asked(Value, frozen=True, kw_only=True):
    """Base of the requests about one emergency."""

    emergency_id: Text


class DispatchRequest(Asked, frozen=True, kw_only=True):
    """safety: ``emergency-dispatch``."""

    emergency_type: Text
    location: Text
    severity: str = "medium"
    caller_info: Said = None
    immediate_hazards: tuple[str, ...] = ()


class Dispatch(Value, frozen=True, kw_only=True):
    """Who is on the way."""

    dispatch_id: str
    units_dispatched: Count
    teams: tuple[str, ...] = ()


class ShutoffRequest(Asked, frozen=True, kw_only=True):
    """utilities: ``emergency-shutoff``."""

    location: Text
    utility_type: Text
    affected_area: Said = None
    emergency_contact: Said = None


class Shutoff(Value, frozen=True, kw_only=True):
    """What is shut, and who is without it."""

    shutoff_id: str
    utility_type: str
    affected_customers: Count


class ClosureRequest(Asked, frozen=True, kw_only=True):
    """parking: ``emergency-area-closure``."""

    closure_area: Text
    closure_radius: str = "1 block"
    traffic_rerouting: bool = True
    emergency_vehicle_access: bool = True


class Closure(Value, frozen=True, kw_only=True):
    """What is closed, and where traffic goes instead."""

    closure_id: str
    area_closed: str
    detours: tuple[str, ...] = ()


class MedicalRequest(Asked, frozen=True, kw_only=True):
    """health: ``emergency-medical-response``."""

    incident_type: Text
    location: Text
    potential_exposures: tuple[str, ...] = ()
    evacuation_area: Said = None


class Medical(Value, frozen=True, kw_only=True):
    """Ambulances, and what they prepare for."""

    response_id: str
    ambulances: Count
    antidotes: tuple[str, ...] = ()


class NotificationRequest(Asked, frozen=True, kw_only=True):
    """safety: ``emergency-public-notification``."""

    notification_type: str = "area_alert"
    affected_area: Said = None
    message: Text
    channels: tuple[str, ...]
    update_frequency: str = "hourly"


class Notification(Value, frozen=True, kw_only=True):
    """What was told to the public, and where."""

    notification_id: str
    channels: tuple[str, ...]
    channels_activated: Count
    message: str


class ResourcesRequest(Asked, frozen=True, kw_only=True):
    """safety: ``emergency-resource-coordination``."""

    required_resources: tuple[str, ...] = ()
    mutual_aid_needed: bool = False
    specialized_equipment: tuple[str, ...] = ()
    personnel_requirements: Said = None


class Resources(Value, frozen=True, kw_only=True):
    """What comes from the city's yard, and what from the neighbours."""

    resource_id: str
    resources_deployed: tuple[str, ...] = ()
    from_neighbours: tuple[str, ...] = ()


class MonitoringRequest(Asked, frozen=True, kw_only=True):
    """environmental: ``emergency-monitoring``."""

    monitoring_type: str = "air_quality"
    monitoring_locations: tuple[str, ...] = ()
    sampling_frequency: str = "continuous"
    alert_thresholds: dict[str, float] | None = None


class Monitoring(Value, frozen=True, kw_only=True):
    """Where is measured, and from which values on somebody is called."""

    monitoring_id: str
    stations: tuple[str, ...]
    alert_thresholds: dict[str, float]


class StructuresRequest(Asked, frozen=True, kw_only=True):
    """permits: ``emergency-infrastructure-assessment``."""

    affected_infrastructure: tuple[str, ...] = ()
    damage_assessment_needed: bool = True
    structural_engineers_needed: bool = False
    utility_damage_assessment: bool = False


class Structures(Value, frozen=True, kw_only=True):
    """Who looks at what stands."""

    assessment_id: str
    inspected: tuple[str, ...] = ()
    engineers: Count = 0


class DamageRequest(Asked, frozen=True, kw_only=True):
    """permits: ``recovery-damage-assessment``."""

    preliminary_damage: str | None = None
    affected_properties: tuple[str, ...] = ()
    infrastructure_damage: tuple[str, ...] = ()
    assessment_teams: Count | None = None


class Damage(Value, frozen=True, kw_only=True):
    """How bad it is."""

    assessment_id: str
    damage_level: str
    teams: Count


class RestorationRequest(Asked, frozen=True, kw_only=True):
    """utilities: ``recovery-restoration-plan``."""

    affected_utilities: tuple[str, ...] = ()
    restoration_priority: tuple[str, ...] | None = None
    estimated_restoration_time: str | None = None
    temporary_services_needed: tuple[str, ...] = ()


class Restoration(Value, frozen=True, kw_only=True):
    """Who gets it back when."""

    restoration_id: str
    estimated_time: str
    order: tuple[str, ...] = ()
    temporary_services: tuple[str, ...] = ()


class ExpediteRequest(Asked, frozen=True, kw_only=True):
    """permits: ``recovery-expedited-permits``."""

    repair_permits_needed: tuple[str, ...] = ()
    demolition_permits: tuple[str, ...] = ()
    temporary_structures: tuple[str, ...] = ()
    expedited_processing: bool = True


class Expedited(Value, frozen=True, kw_only=True):
    """Permits on the day they are asked for; a demolition has to be looked at first."""

    expedite_id: str
    granted: tuple[str, ...] = ()
    to_inspect: tuple[str, ...] = ()
    processing_days: Count = 1


class FollowupRequest(Asked, frozen=True, kw_only=True):
    """health: ``recovery-health-followup``."""

    health_monitoring_needed: bool = False
    environmental_cleanup: tuple[str, ...] = ()
    public_health_advisories: tuple[str, ...] = ()
    medical_surveillance: bool = False


class Followup(Value, frozen=True, kw_only=True):
    """How long people are looked after."""

    followup_id: str
    weeks: Count
    advisories: tuple[str, ...] = ()
