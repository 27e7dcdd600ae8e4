"""Leads: a score of four parts, a grade, and who takes care."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

HOT: Final = 70
WARM: Final = 40
"""From these scores on; what is below is let go, with thanks."""
FREE_MAIL: Final = ("gmail.com", "outlook.com", "gmx.net", "mail.example")
OWNERS: Final = {"DE": "dach", "FR": "france"}
OWNER: Final = "sales"
SIZE: Final = ((500, 30), (100, 20), (10, 10))
"""From so many employees on, so many points."""
BUDGET: Final = ((50_000, 25), (10_000, 15), (1_000, 5))
INTEREST: Final = {"demo": 25, "pricing": 20, "newsletter": 5}
INDUSTRIES: Final = {"logistics": 15, "manufacturing": 10}
WORK_MAIL: Final = 5


class Lead(msgspec.Struct, frozen=True):
    """Who has asked for something."""

    email: str
    company: str
    interest: str = ""
    budget: float = 0.0


class Company(msgspec.Struct, frozen=True):
    """What is known about a company."""

    employees: int = 0
    industry: str = ""
    country: str = ""


class Enriched(msgspec.Struct, frozen=True):
    """A lead, and its company if it was found."""

    lead: Lead
    company: Company | None = None


class Score(msgspec.Struct, frozen=True):
    """How good a lead is: 0 to 100, and why."""

    score: int
    parts: dict[str, int]
    grade: Literal["hot", "warm", "cold"]
    owner: str
    enriched: bool


def score(asked: Enriched) -> Score:
    """Return the score. A company that is not known brings no points, and no harm."""
    lead, company = asked.lead, asked.company or Company()
    domain = lead.email.rpartition("@")[2].lower()
    parts = {
        "size": _points(company.employees, SIZE),
        "budget": _points(lead.budget, BUDGET),
        "interest": INTEREST.get(lead.interest, 0),
        "industry": INDUSTRIES.get(company.industry, 0),
        "mail": 0 if domain in FREE_MAIL else WORK_MAIL,
    }
    total = sum(parts.values())
    grade: Literal["hot", "warm", "cold"] = (
        "hot" if total >= HOT else "warm" if total >= WARM else "cold"
    )
    owner = OWNERS.get(company.country, OWNER)
    return Score(total, parts, grade, owner, asked.company is not None)


def _points(value: float, steps: tuple[tuple[int, int], ...]) -> int:
    return next((points for least, points in steps if value >= least), 0)
