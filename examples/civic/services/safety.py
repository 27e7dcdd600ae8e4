"""Fire safety: the plan of the kitchen, and the appointment with an inspector."""

from __future__ import annotations

from typing import Final

from examples.civic.model import FireInspection, FireRequest
from examples.civic.ruling import Case, Operation, Refusal, by_name, working_days_after

NEEDS_SUPPRESSION: Final = frozenset({"charbroiler", "fryer", "grill", "range", "wok"})
OCCUPANCY_MAX: Final = 300
SPRINKLERS_FROM: Final = 100
VISIT_AFTER_DAYS: Final = 7
INSPECTORS: Final = ("Inspector Alvarez", "Inspector Brandt", "Inspector Chen")


def inspect(request: FireRequest, case: Case) -> FireInspection | Refusal:
    """Give an appointment, and say whether the plan is accepted as it stands.

    A plan that is not accepted still gets its inspection number: the applicant can hand in
    a better plan under it. A hall above the limit is another procedure altogether.
    """
    if request.max_occupancy > OCCUPANCY_MAX:
        return Refusal(
            kind="occupancy_too_high",
            message=f"{request.max_occupancy} guests are an assembly hall, not a restaurant",
            details={"occupancy_max": OCCUPANCY_MAX},
        )
    hot = sorted(NEEDS_SUPPRESSION.intersection(request.kitchen_equipment))
    accepted = request.fire_suppression_system or not hot
    requirements = [
        "Certificate of the fire suppression system",
        "Emergency exits clear and lit",
        "Test of the fire alarm",
        "Inspection of the kitchen hood",
    ]
    if not accepted:
        requirements.append("Fire suppression over: " + ", ".join(hot))
    if request.max_occupancy >= SPRINKLERS_FROM:
        requirements.append("Sprinklers in the dining room")
    return FireInspection(
        inspection_id=case.document("FI"),
        plan_accepted=accepted,
        scheduled_date=working_days_after(case.today, VISIT_AFTER_DAYS),
        inspector_info=INSPECTORS[case.number % len(INSPECTORS)],
        requirements=tuple(requirements),
    )


FIRE: Final = Operation("inspections-fire", FireRequest, inspect)
OPERATIONS: Final = by_name(FIRE)
