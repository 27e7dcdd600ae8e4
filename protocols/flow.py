"""Flow: what may be declared about the requests to a service, and who is held by hand.

    [flow.billing]           concurrency_max = 20      rate_per_s = 50
    [flow."*"]               for every service that has no section of its own

A ``Hold`` is what a person said: pause a service, a workflow, a run or everything, or force a
breaker. It is stored, so that it outlives every daemon and is known to all of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from protocols.subjects import is_number

EVERYTHING: Final = "all"
DEFAULT: Final = "*"
PRIORITY_MAX: Final = 9

Priority = Annotated[int, Meta(ge=-PRIORITY_MAX, le=PRIORITY_MAX)]
"""Who goes first where requests have to wait: 0 is ordinary, 9 an emergency, -9 a batch."""
Forced = Literal["", "open", "closed"]
HoldKind = Literal["service", "workflow", "run", "all", "breaker"]


class FlowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one daemon may ask one service. Rates are requests per second; 0 means no limit.

    The breaker opens when ``breaker_failures`` of the last ``breaker_of`` answers say that the
    service is ill; 0 switches it off. After ``breaker_open_s`` seconds one request may try; each
    failed try doubles the time, up to ``breaker_open_max_s``.
    """

    concurrency_max: Annotated[int, Meta(ge=0)] = 0
    """Requests without an answer at once."""
    rate_per_s: Annotated[float, Meta(ge=0)] = 0.0
    burst: Annotated[int, Meta(ge=0)] = 0
    """Requests that may go at once after a pause; 0: as many as in a tenth of a second."""
    release_per_s: Annotated[float, Meta(gt=0)] = 5_000.0
    """How fast what was parked goes at first; the rate doubles each second."""
    breaker_failures: Annotated[int, Meta(ge=0, le=64)] = 10
    breaker_of: Annotated[int, Meta(ge=1, le=64)] = 12
    breaker_open_s: Annotated[float, Meta(gt=0)] = 10.0
    breaker_open_max_s: Annotated[float, Meta(gt=0)] = 300.0


FLOW_DEFAULTS: Final = FlowSettings()


def priority_of(text: str) -> int:
    """Return the priority that a header tells; 0 for what is none, and never beyond the limits.

    A run whose header has a typo is an ordinary run: it must not be refused for that.
    """
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not is_number(digits):
        return 0
    return sign * min(int(digits), PRIORITY_MAX)


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person said about a service, a workflow, a run or everything, and who and why.

    ``forced`` is for kind ``breaker``: open, closed, or empty for "by itself again". ``by`` is
    who said it, ``origin`` from where, ``at`` when, in nanoseconds since 1970.
    """

    kind: HoldKind
    name: str = ""
    paused: bool = False
    forced: Forced = ""
    reason: str = ""
    by: str = ""
    origin: str = ""
    at: int = 0

    @property
    def key(self) -> str:
        """What it is stored under: ``all``, ``service.billing``, ``run.order-17``."""
        return EVERYTHING if self.kind == EVERYTHING else f"{self.kind}.{self.name}"

    def text(self) -> str:
        """Say it in a few words, for people."""
        what = "everything is paused" if self.kind == EVERYTHING else f"{self.kind} is paused"
        if self.kind == "breaker":
            what = f"breaker is forced {self.forced}"
        by = f" by {self.by}" if self.by else ""
        return f"{what}{by}{f': {self.reason}' if self.reason else ''}"
