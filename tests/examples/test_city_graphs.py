"""Homes and emergencies as graphs: every path, with the offices' real rules."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from examples.civic.offices import WITHDRAW, rules
from examples.civic.services import development, emergency
from protocols.effects import Ask
from protocols.graphs.graph import GraphUndo
from tests.examples.city import Run, filed, graph, step_of

PHASES = [
    ["zoning_review", "environmental_assessment", "traffic_study", "preliminary_plat"],
    ["sitework_permit", "building_permits", "utility_coordination"],
    ["infrastructure_improvements", "fire_safety_review", "school_impact"],
    ["final_plat", "occupancy_certificates", "completion_certificate"],
]
ALWAYS = {
    "safety_dispatch",
    "strategy",
    "public_notification",
    "resource_coordination",
    "infrastructure_assessment",
    "damage_assessment",
    "utility_restoration",
    "permit_expediting",
    "health_followup",
}
SHUT, CLOSE = "utilities_shutoff", "area_closure"
MEDIC, MEASURE = "medical_response", "environmental_monitoring"
SCRIPTED = {
    "safety_dispatch": {"dispatch_id": "DISP-001", "units_dispatched": 3},
    "utilities_shutoff": {"shutoff_id": "SO-001", "affected_customers": 150},
    "area_closure": {"closure_id": "CL-001", "area_closed": "2 blocks"},
    "public_notification": {"notification_id": "PN-001", "channels_activated": 4},
    "resource_coordination": {"resource_id": "RC-001", "resources_deployed": ["crane", "pumps"]},
    "damage_assessment": {"assessment_id": "DA-001", "damage_level": "moderate"},
    "utility_restoration": {"restoration_id": "UR-001", "estimated_time": "6 hours"},
}
"""The seven answers of the catalogue's case; a step without one gets ``{}``."""


@pytest.mark.parametrize(
    ("name", "offered"),
    [("housing", development.OPERATIONS), ("emergency", emergency.OPERATIONS)],
)
def test_each_graph_asks_for_all_that_its_offices_offer(name: str, offered: Any) -> None:
    """No rule without a step, no step without a rule; what undoes is offered as well."""
    steps = graph(name).steps.values()

    asked = {(each.service, each.operation) for each in steps}
    undone = {
        (each.service, each.undo.operation) for each in steps if isinstance(each.undo, GraphUndo)
    }

    assert asked == {(office, rule) for office, found in offered.items() for rule in found}
    assert undone <= set(WITHDRAW.items())


def test_homes_go_through_four_phases_that_refer_to_each_other() -> None:
    """Each phase begins behind the one before, with its answers and no placeholder."""
    run = Run("housing", filed("developments", "maple_court"))

    order = {step: index for index, step in enumerate(run.steps)}
    for before, after in itertools.pairwise(PHASES):
        assert max(order[each] for each in before) < min(order[each] for each in after)
    assert [each["phase"] for each in run.result["phases"]] == [
        "pre_development",
        "construction_permits",
        "infrastructure",
        "final_approvals",
    ]
    plat = run.result["phases"][0]["steps"]["preliminary_plat"]["preliminary_plat_id"]
    assert run.bodies("final_plat")[0]["preliminary_plat_id"] == plat == "PP-2026-001"
    occupied = run.bodies("occupancy_certificates")
    assert [(each["unit_address"], each["building_permit_id"]) for each in occupied] == [
        *((f"400 Maple Avenue Unit A{number}", "RB-2026-001") for number in range(1, 5)),
        *((f"400 Maple Avenue Unit B{number}", "RB-2026-002") for number in range(1, 4)),
    ]
    assert len(run.result["certificates"]) == 7
    assert run.result["conditions"] == {
        "environmental": ["Plant two trees for each protected one that is felled"],
        "zoning": ["Height of 38 ft in place of 35 ft"],
        "fire": ["Access for the ladder engine on two sides"],
        "completion": [],
    }
    assert run.bodies("sitework_permit")[0]["environmental_conditions"]
    assert run.result["total_fees"] == 19590


def test_a_development_without_buildings_is_one_building() -> None:
    """The zoning review says so, and the permits follow it."""
    run = Run("housing", filed("developments", "maple_court", buildings=[]))

    assert [each["units"] for each in run.bodies("building_permits")] == [7]
    assert len(run.result["certificates"]) == 7


def test_wetlands_end_a_development_before_anything_is_granted() -> None:
    """The environmental office refuses in phase 1: nothing is undone."""
    run = Run("housing", filed("developments", "fen_meadow"))

    assert run.instance.failure is not None
    assert run.instance.failure.kind == "wetlands_refused"
    assert "preliminary_plat" not in run.steps
    assert run.offices.withdrawn == []


def test_wetlands_with_a_buffer_are_conditions() -> None:
    """The same meadow may be built on with 100 ft of distance; the earthworks carry that."""
    form = filed("developments", "maple_court", wetlands_present=True)
    run = Run("housing", form | {"environmental_features": ["wetland_buffer"]})

    permit = run.result["phases"][1]["steps"]["sitework_permit"]
    assert permit["conditions"] == ["Keep 100 ft of buffer around the wetland unbuilt"]


def test_a_refusal_in_phase_three_withdraws_the_permits_in_reverse_order() -> None:
    """Too much traffic for a crosswalk: what phases 1 and 2 have granted is void again."""
    run = Run("housing", filed("developments", "market_row"))

    assert run.instance.status == "compensated"
    assert run.instance.failure is not None
    assert run.instance.failure.kind == "roads_refused"
    assert run.offices.withdrawn == [
        "building_permits",
        "building_permits",
        "utility_coordination",
        "sitework_permit",
        "preliminary_plat",
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "withdrawn"),
    [
        ({"construction_status": "framing"}, "not_complete", 6),
        ({"fire_access": False}, "no_fire_access", 6),
        ({"stormwater_plan": None}, "plans_missing", 4),
        ({"density": 30}, "density_too_high", 0),
    ],
)
def test_each_office_may_refuse(changes: dict[str, Any], kind: str, withdrawn: int) -> None:
    """The run tells whose word it was, and all that was granted before is withdrawn."""
    run = Run("housing", filed("developments", "maple_court", **changes))

    assert run.instance.failure is not None
    assert run.instance.failure.kind == kind
    assert len(run.offices.withdrawn) == withdrawn


def test_seven_scripted_answers_make_a_summary_of_an_emergency() -> None:
    """The catalogue's case: three phases, four channels, six hours."""
    case = {
        "emergency_type": "water_main_break",
        "location": "Main St & 5th Ave",
        "severity": "high",
        "affected_area": "Downtown district",
        "requires_area_closure": True,
        "estimated_damage": "moderate",
    }

    def answer(ask: Ask) -> bytes:
        return msgspec.json.encode(SCRIPTED.get(step_of(ask), {}))

    run = Run("emergency", case, answer)

    assert run.instance.status == "completed"
    assert "EMRG-" in run.result["emergency_id"]
    assert len(run.result["response_phases"]) == 3
    assert run.result["public_notification"]["channels_activated"] == 4
    assert "6 hours" in run.result["recovery_timeline"]


@pytest.mark.parametrize(
    ("name", "conditional", "level", "timeline"),
    [
        ("water_main_break", {SHUT, CLOSE}, "high", "6 hours"),
        ("gas_leak", {SHUT, CLOSE, MEDIC, MEASURE}, "critical", "12 hours"),
        ("building_collapse", {CLOSE, MEDIC}, "critical", "10 hours"),
        ("flooding", set(), "high", "2 days after the water has gone"),
        ("fallen_antenna", {CLOSE}, "medium", "nothing to restore"),
    ],
)
def test_each_emergency_takes_its_own_path(
    name: str, conditional: set[str], level: str, timeline: str
) -> None:
    """Type and input choose the steps; the strategy file the rest."""
    run = Run("emergency", filed("emergencies", name))

    assert set(run.steps) == ALWAYS | conditional
    assert run.result["emergency_id"] == "EMRG-run-1"
    assert run.result["strategy"]["coordination_level"] == level
    assert run.result["recovery_timeline"] == timeline
    assert run.result["public_notification"]["channels_activated"] == 4
    assert run.result["priorities"][0] == "life_safety"
    order = {step: index for index, step in enumerate(run.steps)}
    assert order["safety_dispatch"] == 0
    for ongoing in ("public_notification", "resource_coordination"):
        assert all(order[each] < order[ongoing] for each in conditional - {MEASURE})
        assert order[ongoing] < order["damage_assessment"]


def test_what_cannot_be_done_stands_in_the_summary_and_holds_nothing_up() -> None:
    """Nobody can shut gas where none lies, and boats are not in the city's yard."""
    gas = Run("emergency", filed("emergencies", "gas_smell_without_gas"))
    flood = Run("emergency", filed("emergencies", "flooding"))

    assert gas.instance.status == flood.instance.status == "completed"
    assert gas.result["not_done"]["utilities_shutoff"] == "no gas lies at 5 Oak Road"
    assert "boats" in flood.result["not_done"]["resource_coordination"]
    assert gas.result["strategy"]["evacuation_potential"] is True


def test_emergencies_go_first_and_only_they_are_without_limit() -> None:
    """Priority 9, one hour, no ``max_active``; homes wait behind 50 others."""
    urgent, homes = graph("emergency"), graph("housing")

    assert urgent.limits is not None
    assert homes.limits is not None
    assert (urgent.limits.priority, urgent.limits.max_active) == (9, 0)
    assert homes.limits.max_active == 50
    assert set(rules("safety")) >= {"emergency-dispatch", "inspections-fire"}
