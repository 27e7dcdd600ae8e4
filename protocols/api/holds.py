"""The API's verbs that hold by hand: pause, resume, force a breaker."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from protocols.api.base import At, By, Message
from protocols.witness import Operator

Reason = Annotated[str, Meta(description="Why, for people.", max_length=500)]
SaidBy = Annotated[
    Operator | str | None,
    Meta(description="Who says it, from where and why; a text alone is who."),
]
What = Annotated[
    Literal["service", "workflow", "run", "all"],
    Meta(description="A service, a workflow, a run, or everything."),
]
Whose = Annotated[
    str, Meta(description="Name of the service or workflow, or id of the run; empty for all.")
]


class Pause(Message, frozen=True, kw_only=True):
    """Send no more requests to a service, or for a workflow, a run, or at all."""

    kind: What
    name: Whose = ""
    reason: Reason = ""
    by: SaidBy = None


class Resume(Pause, frozen=True, kw_only=True):
    """Send requests again; what waited goes first, at a limited rate."""


class ServiceForce(Message, frozen=True, kw_only=True):
    """Force the breaker of a service, or let it decide by itself again."""

    name: Annotated[str, Meta(description="Name of the service.")]
    state: Annotated[
        Literal["open", "closed", "auto"],
        Meta(description="open: ask nobody; closed: ask whatever it answers; auto: by itself."),
    ]
    reason: Reason = ""
    by: SaidBy = None


class HoldView(Message, frozen=True, kw_only=True):
    """What somebody said about a service, a workflow, a run or everything."""

    kind: Annotated[str, Meta(description="service, workflow, run, all or breaker.")]
    name: Whose = ""
    paused: Annotated[bool, Meta(description="Whether it is paused.")] = False
    forced: Annotated[
        str, Meta(description="For a breaker: open, closed, or empty: by itself.")
    ] = ""
    reason: Reason = ""
    by: By = None
    at: At = 0


class HoldTold(Message, frozen=True, kw_only=True):
    """It is stored, and known to all daemons but those that are named."""

    hold: Annotated[HoldView, Meta(description="How it stands now.")]
    unaware: Annotated[
        list[str],
        Meta(description="Daemons that did not confirm it; they learn of it within seconds."),
    ] = []


_SAID: Final = {"reason": "upgrade", "by": {"who": "ann", "where": "desk-3"}}
_HELD: Final = {"kind": "service", "name": "payments", "at": 1_700_000_000_000_000_000, **_SAID}
_TABLE: Final = {
    "services": {"card-eu": {"locality": "eu"}, "card-us": {"cost": 1}},
    "routes": {"cards": {"to": ["card-eu", "card-us"], "rank": "measured"}},
}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "pause": (
        {"kind": "service", "name": "payments", **_SAID},
        {"hold": {"paused": True, **_HELD}},
    ),
    "resume": ({"kind": "service", "name": "payments", **_SAID}, {"hold": _HELD}),
    "workflow.route": (
        {"workflows": ["fulfilment"], "table": _TABLE},
        {"table": "7b1e", "definitions": {"fulfilment": "9f2c_7b1e"}},
    ),
    "service.force": (
        {"name": "payments", "state": "open", **_SAID},
        {"hold": {**_HELD, "kind": "breaker", "forced": "open"}, "unaware": ["south"]},
    ),
}
"""For the catalogue: a request and its answer by verb."""
