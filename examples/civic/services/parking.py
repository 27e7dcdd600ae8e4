"""Parking authority: spaces that a restaurant needs against spaces in reach."""

from __future__ import annotations

from typing import Final

from examples.civic.model import Parking, ParkingRequest
from examples.civic.ruling import Case, Operation, Refusal, by_name, street_of

SEATS_PER_SPACE: Final = 3
EMPLOYEES_PER_SPACE: Final = 2
FEE_PER_MISSING_SPACE: Final = 400
MISSING_SPACES_MAX: Final = 10
"""Up to so many spaces may be paid for instead of built."""

SPACES_IN_REACH: Final = {"main": 25, "market": 40, "harbor": 30, "elm": 12, "mill": 60}
SPACES_ELSEWHERE: Final = 8


def assess(request: ParkingRequest, _case: Case) -> Parking | Refusal:
    """Count: one space for three seats, one for two employees; a shortage costs money."""
    required = -(-request.seating_capacity // SEATS_PER_SPACE) + -(
        -request.employees // EMPLOYEES_PER_SPACE
    )
    available = SPACES_IN_REACH.get(street_of(request.business_address), SPACES_ELSEWHERE)
    missing = max(0, required - available)
    if not missing:
        advice = ["Street parking suffices", "Consider validating the parking of guests"]
    elif missing <= MISSING_SPACES_MAX:
        advice = [f"Pay for {missing} missing spaces instead of building them"]
    else:
        advice = [f"Hand in a plan for {missing} missing spaces"]
    compliant = missing <= MISSING_SPACES_MAX
    return Parking(
        required_spaces=required,
        available_spaces=available,
        compliant=compliant,
        recommendations=tuple(advice),
        fees=missing * FEE_PER_MISSING_SPACE if compliant else 0,
    )


ASSESSMENT: Final = Operation("requirements-assess", ParkingRequest, assess)
OPERATIONS: Final = by_name(ASSESSMENT)
