"""Environmental office: grease and waste of a kitchen."""

from __future__ import annotations

from typing import Final

from examples.civic.model import GreaseRequest, GreaseReview
from examples.civic.ruling import Case, Operation, Refusal, by_name

LITRES_PER_SEAT: Final = 20
REVIEW_FEE: Final = 75
FEE_PER_SEAT: Final = 1
PUMP_OUT_DAYS: Final = 90
PUMP_OUT_DAYS_SMALL: Final = 30
"""An interceptor below the size for its seats is emptied three times as often."""


def review_grease(request: GreaseRequest, case: Case) -> GreaseReview | Refusal:
    """Say how often an interceptor of this size has to be emptied."""
    if not request.interceptor_l:
        return Refusal(
            kind="interceptor_missing",
            message="a kitchen may not drain into the sewer without a grease interceptor",
            details={"needed_l": LITRES_PER_SEAT * request.seating_capacity},
        )
    needed = LITRES_PER_SEAT * request.seating_capacity
    adequate = request.interceptor_l >= needed
    days = PUMP_OUT_DAYS if adequate else PUMP_OUT_DAYS_SMALL
    return GreaseReview(
        review_id=case.document("GR"),
        adequate=adequate,
        pump_out_days=days,
        fee=REVIEW_FEE + FEE_PER_SEAT * request.seating_capacity,
        conditions=(f"Empty the grease interceptor every {days} days",),
    )


GREASE: Final = Operation("reviews-grease-waste", GreaseRequest, review_grease)
OPERATIONS: Final = by_name(GREASE)
