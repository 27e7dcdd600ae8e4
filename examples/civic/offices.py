"""All that the seven offices offer: the rules of all procedures, and the undo of two of them.

A withdrawal has no rule: the register itself knows what was issued under a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from examples.civic.ruling import Operation
from examples.civic.services import (
    business,
    development,
    emergency,
    environmental,
    health,
    parking,
    permits,
    safety,
    utilities,
)

OPENING: Final[Mapping[str, Mapping[str, Operation]]] = {
    "business": business.OPERATIONS,
    "permits": permits.OPERATIONS,
    "health": health.OPERATIONS,
    "safety": safety.OPERATIONS,
    "parking": parking.OPERATIONS,
    "utilities": utilities.OPERATIONS,
    "environmental": environmental.OPERATIONS,
}
"""The opening of a restaurant."""
PROCEDURES: Final = (OPENING, development.OPERATIONS, emergency.OPERATIONS)

WITHDRAW: Final[Mapping[str, str]] = {
    "permits": "permits-withdraw",
    "utilities": "connections-withdraw",
}
"""By office: the operation that undoes what it has issued, whatever that is."""


def rules(office: str) -> dict[str, Operation]:
    """Return all operations of an office that have a rule, by name."""
    return {name: rule for each in PROCEDURES for name, rule in each.get(office, {}).items()}
