"""Health department: food permits and pre-opening inspections, both by appointment."""

from __future__ import annotations

from typing import Final

from examples.civic.model import (
    HealthPermit,
    HealthPermitRequest,
    Inspection,
    InspectionRequest,
)
from examples.civic.ruling import Case, Operation, Refusal, by_name, working_days_after

MENU_TYPES: Final = ("full_service", "limited_service", "cafe", "raw_bar")
VISIT_AFTER_DAYS: Final = {"normal": 10, "urgent": 3}
"""Working days until the inspector comes."""


def schedule(
    request: HealthPermitRequest | InspectionRequest, case: Case
) -> HealthPermit | Inspection | Refusal:
    """Answer both bodies that come to this desk: the permit and the pre-opening visit."""
    if isinstance(request, InspectionRequest):
        return Inspection(
            inspection_id=case.document("HI"),
            scheduled_date=working_days_after(case.today, VISIT_AFTER_DAYS[request.urgency]),
        )
    if request.menu_type not in MENU_TYPES:
        return Refusal(
            kind="menu_type_unknown",
            message=f"there is no permit class for the menu type {request.menu_type!r}",
            details={"known": list(MENU_TYPES)},
        )
    requirements = ["Pass the inspection before opening", "Have kitchen equipment approved"]
    if not request.food_handling_training:
        requirements.append("Have all kitchen staff certified in food handling")
    if request.menu_type == "raw_bar":
        requirements.append("Keep supplier records of raw fish for 90 days")
    return HealthPermit(permit_id=case.document("HP"), requirements=tuple(requirements))


SCHEDULE: Final = Operation(
    "inspections-schedule", HealthPermitRequest | InspectionRequest, schedule
)
OPERATIONS: Final = by_name(SCHEDULE)
