"""What the API says about shared guardrails, and about budgets that all runs share."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import At, By, Message
from protocols.guardrails.budgets import Use
from protocols.guardrails.guardrail import Guardrail

Rules = Annotated[dict[str, Guardrail], Meta(description="The rules by their names.")]


class GuardrailRegister(Message, frozen=True, kw_only=True):
    """Share a set of guardrails: what is registered from now on gets them."""

    guardrails: Rules
    description: Annotated[str, Meta(description="What they are for, for people.")] = ""
    by: By = None


class GuardrailSet(Message, frozen=True, kw_only=True):
    """The guardrails that definitions share."""

    guardrails: Rules
    description: Annotated[str, Meta(description="What they are for, for people.")] = ""
    hash: Annotated[str, Meta(description="Hash of the set; empty: there is none.")] = ""
    at: At = 0


class BudgetList(Message, frozen=True, kw_only=True):
    """List what is used of the budgets that all runs share."""

    name: Annotated[str, Meta(description="Only of this budget.")] = ""
    key: Annotated[str | None, Meta(description="Only of this key.")] = None


class BudgetRow(Message, frozen=True, kw_only=True):
    """What is used of one budget, by one key, in one window."""

    name: Annotated[str, Meta(description="The budget, or the guardrail that counts calls.")]
    key: Annotated[str, Meta(description="Whose it is; empty: everybody's.")] = ""
    begins_at: At = 0
    window_s: Annotated[float, Meta(description="Length of the window, in seconds.")] = 0.0
    limits: Annotated[Use, Meta(description="What may be used, by unit.")] = {}
    used: Annotated[Use, Meta(description="What is used.")] = {}
    reserved: Annotated[Use, Meta(description="What is reserved beside that.")] = {}
    open: Annotated[int, Meta(description="How many reservations are not settled.")] = 0


class BudgetPage(Message, frozen=True, kw_only=True):
    """What is used of the budgets that all runs share, the newest window first."""

    budgets: Annotated[list[BudgetRow], Meta(description="The rows.")] = []
    server_time: At = 0


_RULES: Final = {"no-cards": {"type": "data-privacy", "find": ["card"]}}
_AT: Final = 1_700_000_000_000_000_000
_SET: Final = {"guardrails": _RULES, "hash": "9f2c", "at": _AT}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "guardrail.ls": ({}, _SET),
    "guardrail.register": ({"guardrails": _RULES, "by": {"who": "ann"}}, _SET),
    "budget.ls": (
        {"name": "customer", "key": "acme"},
        {
            "budgets": [
                {
                    "name": "customer",
                    "key": "acme",
                    "begins_at": _AT,
                    "window_s": 86_400.0,
                    "limits": {"cost": 20.0},
                    "used": {"cost": 3.5},
                    "reserved": {"cost": 0.5},
                    "open": 1,
                }
            ],
            "server_time": _AT,
        },
    ),
}
"""For the catalogue: a request and its answer by verb."""
