"""Customers: what is valid, what a tier gets, what became of an onboarding."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from movant import Refused

ENTERPRISE_VALUE_MIN: Final = 100_000
DONE: Final = "done"

Tier = Literal["startup", "business", "enterprise"]


class Customer(msgspec.Struct, frozen=True):
    """Who is to be onboarded."""

    name: str
    email: str
    company: str
    tier: Tier
    annual_value: float


class Plan(msgspec.Struct, frozen=True):
    """What a customer of a tier gets."""

    steps: list[str]
    approval_required: bool
    support_level: str
    seats: int


class Reached(msgspec.Struct, frozen=True):
    """How the steps that are not critical have ended: done, skipped, failed."""

    portal: str
    welcome: str


class Conclusion(msgspec.Struct, frozen=True):
    """How far an onboarding has come, and what is left for people."""

    outcome: Literal["success", "partial"]
    by_hand: list[str]


LEVELS: Final[dict[Tier, tuple[str, int]]] = {
    "startup": ("community", 5),
    "business": ("standard", 50),
    "enterprise": ("dedicated", 1000),
}


def validate(customer: Customer) -> dict[str, bool]:
    """Return that a customer is valid. Raises Refused of kind validation with the reason."""
    if "@" not in customer.email:
        raise Refused("validation", "Invalid email address")
    if not customer.company:
        raise Refused("validation", "Company name required")
    if customer.tier == "enterprise" and customer.annual_value < ENTERPRISE_VALUE_MIN:
        raise Refused("validation", "Enterprise tier requires an annual value of 100,000 or more")
    return {"valid": True}


def plan(customer: Customer) -> Plan:
    """Return the plan by the tier: enterprise customers need a manager's approval."""
    level, seats = LEVELS[customer.tier]
    approval = customer.tier == "enterprise"
    steps = ["validate", "crm", "billing", "approval", "portal", "welcome"]
    return Plan([each for each in steps if approval or each != "approval"], approval, level, seats)


def conclude(reached: Reached) -> Conclusion:
    """Return what is left to be done by hand."""
    left = {"support portal": reached.portal, "welcome e-mail": reached.welcome}
    by_hand = [name for name, status in left.items() if status != DONE]
    return Conclusion("partial" if by_hand else "success", by_hand)
