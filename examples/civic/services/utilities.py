"""Utilities: whether the networks at an address can carry a new connection."""

from __future__ import annotations

from typing import Final

from examples.civic.model import Connection, ConnectionRequest
from examples.civic.ruling import Case, Operation, Refusal, by_name, street_of

POWER_KW: Final = {"main": 120, "market": 200, "harbor": 90, "mill": 400}
POWER_KW_ELSEWHERE: Final = 60
POWER_KW_MAX: Final = 500
"""Above this a customer needs a transformer of its own: a project, not a connection."""
WATER_L_PER_MIN_MAX: Final = 150
BASE_FEE: Final = 250
FEE_PER_KW: Final = 4
FREE_KW: Final = 50


def check_capacity(request: ConnectionRequest, case: Case) -> Connection | Refusal:
    """Compare what is asked for with what the street can carry; the fee goes by size."""
    if request.power_kw > POWER_KW_MAX:
        return Refusal(
            kind="connection_too_large",
            message=f"{request.power_kw} kW need a transformer station of their own",
            details={"power_kw_max": POWER_KW_MAX},
        )
    power = POWER_KW.get(street_of(request.business_address), POWER_KW_ELSEWHERE)
    conditions = []
    if request.power_kw > power:
        conditions.append(f"Wait for the upgrade from {power} to {request.power_kw} kW")
    if request.water_l_per_min > WATER_L_PER_MIN_MAX:
        conditions.append(f"Limit the flow of water to {WATER_L_PER_MIN_MAX} l/min")
    return Connection(
        review_id=case.document("UC"),
        sufficient=not conditions,
        fee=BASE_FEE + FEE_PER_KW * max(0, request.power_kw - FREE_KW),
        conditions=tuple(conditions),
    )


CAPACITY: Final = Operation("connections-capacity", ConnectionRequest, check_capacity)
OPERATIONS: Final = by_name(CAPACITY)
