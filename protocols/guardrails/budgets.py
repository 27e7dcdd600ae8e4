"""Budgets: how much money, tokens, calls and time a run or a customer may use. Pure.

    budgets:
      run:      {cost: 2.50, calls: 40}
      customer: {key: "{{input.customer}}", window: 1d, cost: 20, then: ask}

What a step may use is reserved before it is asked for, and settled to what it has used when it has
answered: ``usage`` in its result. A budget without a window is one of the run, and part of its
fold. One with a window is shared by all runs: ``Account`` is what is kept of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.graphs.field import Part, Seconds, durations

Unit = Literal["cost", "tokens", "calls", "time"]

UNITS: Final[tuple[Unit, ...]] = ("cost", "tokens", "calls", "time")
SERVICE: Final = "movant-budgets"
"""The service that keeps what all runs share; every daemon hosts it."""
BUCKET: Final = "movant_budgets"
WINDOW_S_MAX: Final = 31 * 86_400.0
"""Longest window: what is kept of one is forgotten some time after it."""
RELEASED: Final = "budget_released"
"""The event of reservations of a step that was cut short before it was asked for."""
OPEN_MAX: Final = 1_000
"""Reservations of one account that are not settled; more wait."""
SETTLED_MAX: Final = 500
"""Settled reservations that are remembered, so that a repeat counts nothing."""
_MARK_CHARS: Final = 16


class Amounts(Part, frozen=True, kw_only=True):
    """How much of each; None: not bounded, or not known."""

    cost: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="Money, in one currency.")
    ] = None
    tokens: Annotated[Annotated[int, Meta(ge=0)] | None, Meta(description="Tokens.")] = None
    calls: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Calls, each attempt is one.")
    ] = None
    time: Annotated[Seconds | None, Meta(description="How long steps take, added up.")] = None

    def __post_init__(self) -> None:
        """Read the duration."""
        durations(self, "time")

    def of(self, unit: Unit) -> float | None:
        """Return how much of one."""
        given = getattr(self, unit)
        return None if given is None else float(given)


class Budget(Amounts, frozen=True, kw_only=True):
    """How much may be used: by a run, or with a window by all runs with the same key."""

    window: Annotated[
        Seconds | None,
        Meta(description="All runs share it, in windows of this length, such as `1d` (of UTC)."),
    ] = None
    key: Annotated[
        str, Meta(description="Who has one of his own, such as `{{input.customer}}`.")
    ] = ""
    then: Annotated[
        Literal["stop", "ask"],
        Meta(description="When it is used up: the step fails, or a person is asked."),
    ] = "stop"
    roles: Annotated[
        str | tuple[str, ...], Meta(description="With `ask`: roles that may let a step pass.")
    ] = ()
    description: Annotated[str, Meta(description="What it is for, for people.")] = ""

    def __post_init__(self) -> None:
        """Bring short forms to the long ones."""
        super().__post_init__()
        durations(self, "window")
        if isinstance(self.roles, str):
            msgspec.structs.force_setattr(self, "roles", (self.roles,))

    @property
    def limits(self) -> dict[Unit, float]:
        """What is bounded, by unit."""
        found = {unit: self.of(unit) for unit in UNITS}
        return {unit: limit for unit, limit in found.items() if limit is not None}


Use = dict[Unit, float]


class Account(msgspec.Struct, kw_only=True):
    """What is kept of a budget: what is used, and what is reserved, by the key of its step.

    A reservation that is never settled counts as used: too much is counted then, never too little.
    """

    name: str = ""
    key: str = ""
    begins: int = 0
    """When its window begins, in seconds since 1970."""
    window_s: float = 0.0
    limits: Use = {}
    used: Use = {}
    open: dict[str, Use] = {}
    settled: list[str] = []

    def reserve(self, step: str, wanted: Mapping[Unit, float], *, force: bool = False) -> str:
        """Reserve for a step; return why not, empty when it is. A repeat reserves nothing more."""
        mark = mark_of(step)
        if mark in self.open or mark in self.settled:
            return ""
        if len(self.open) >= OPEN_MAX:
            return f"{OPEN_MAX} reservations are open"
        short = "" if force else self.short(wanted)
        if not short:
            self.open[mark] = {unit: wanted[unit] for unit in self.limits if unit in wanted}
        return short

    def short(self, wanted: Mapping[Unit, float]) -> str:
        """Return what there is too little of for a step; empty when there is enough."""
        for unit, limit in self.limits.items():
            spent = self.spent(unit)
            want = wanted.get(unit, 0.0)
            # What cannot be told before stops a step only when nothing is left.
            if spent + want > limit or (not want and spent >= limit):
                more = f", {want:g} more are wanted" if want else ""
                return f"{spent:g} of {limit:g} {unit} are used or reserved{more}"
        return ""

    def settle(self, step: str, used: Mapping[Unit, float]) -> bool:
        """Replace what a step has reserved by what it has used; False for a repeat."""
        mark = mark_of(step)
        if mark in self.settled:
            return False
        self.open.pop(mark, None)
        for unit in self.limits:
            self.used[unit] = self.used.get(unit, 0.0) + max(0.0, used.get(unit, 0.0))
        self.settled.append(mark)
        del self.settled[:-SETTLED_MAX]
        return True

    def spent(self, unit: Unit) -> float:
        """Return what is used and reserved."""
        return self.used.get(unit, 0.0) + sum(each.get(unit, 0.0) for each in self.open.values())


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation of which nobody knows whether it was granted: its step's key, and where."""

    step: str
    name: str
    key: str = ""
    window_s: float
    limits: Use = {}


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Reservations that are not needed: the data of the event."""

    accounts: tuple[str, ...] = ()
    """Those that were granted, as the answers named them: account and step."""
    asked: tuple[Asking, ...] = ()


def mark_of(step: str) -> str:
    """Return what an account keeps of a step's key."""
    return hashlib.sha256(step.encode()).hexdigest()[:_MARK_CHARS]


def begins_at(now_s: float, window_s: float) -> int:
    """Return when the window began that a moment lies in: a day is one of UTC."""
    return int(now_s // window_s * window_s)


def account_key(name: str, key: str, window_s: float, begins: int) -> str:
    """Return where an account stands in its bucket."""
    digest = hashlib.sha256(f"{name}\n{key}\n{window_s:g}".encode()).hexdigest()[:24]
    return f"{digest}.{begins}"


def usage_of(result: Any) -> Use:
    """Return what a result says that it has used: its field ``usage``.

    ``tokens`` may be told as ``total_tokens``, or by parts, as models do.
    """
    usage = result.get("usage") if isinstance(result, Mapping) else None
    if not isinstance(usage, Mapping):
        return {}
    found: Use = {}
    tokens = _number(usage, "tokens", "total_tokens")
    if tokens is None:
        parts = (
            _number(usage, "prompt_tokens", "input_tokens"),
            _number(usage, "completion_tokens", "output_tokens"),
        )
        told = [each for each in parts if each is not None]
        tokens = sum(told) if told else None
    cost = _number(usage, "cost", "cost_usd", "total_cost")
    calls = _number(usage, "calls", "requests")
    for unit, value in (("cost", cost), ("tokens", tokens), ("calls", calls)):
        if value is not None:
            found[unit] = value  # type: ignore[index]  # of UNITS
    return found


def _number(usage: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None
