"""Fallbacks: what is tried when a step has failed for good, one after the other. Data only.

    fallbacks:
      - service: other-scraper                  another service does it
      - params: {limit: 25}                     the same, with other params
      - {skip: report, result: {brief: true}}   the run goes on without it
      - gate: Who fetches the contacts?         a person decides

Each that asks has attempts of its own. What they do is ``actors.graphs.fallback``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.gates.gate import Choice, Gate, Names
from protocols.graphs.field import Part, put
from protocols.policy import Retry

FALLBACKS_MAX: Final = 20
ASKS: Final = ("service", "operation", "params", "unknown", "retry")
"""Keys of a fallback that asks a service."""
GOES_ON: Final = ("skip", "result")
BY_HAND: Final[tuple[Choice, ...]] = ("approve", "retry", "skip", "reject")
MEANS: Final[dict[Choice, str]] = {
    "approve": "it was done by hand: the run goes on with the values as its result",
    "modify": "it was done by hand: the run goes on with the values that you give as its result",
    "retry": "it is asked for again, with all attempts",
    "skip": "the run goes on without its result",
    "reject": "it has failed: the run fails and is undone, unless it is not critical",
}
"""What decisions lead to where a person stands in for a service."""


class Fallback(Part, frozen=True, kw_only=True):
    """One thing to try: another service or other params, to go on without, or a person."""

    service: Annotated[str, Meta(description="Another service that is asked instead.")] = ""
    operation: Annotated[str, Meta(description="For what; as the step's when absent.")] = ""
    params: Annotated[
        dict[str, Any] | None, Meta(description="Params that go over those of the step.")
    ] = None
    unknown: Annotated[
        Literal["halt", "switch"],
        Meta(
            description="Whether somebody else may be asked when the work may have been done "
            "already: `switch` if that does no harm."
        ),
    ] = "halt"
    retry: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)] | Retry | None,
        Meta(description="How often it is tried; as the step's when absent."),
    ] = None
    skip: Annotated[
        Names, Meta(description="Go on without the step, and skip these as well.")
    ] = ()
    result: Annotated[
        Any, Meta(description="Go on without the step, with this in place of its result.")
    ] = msgspec.UNSET
    gate: Annotated[
        str | Gate | None,
        Meta(description="A person decides; the title may stand alone."),
    ] = None

    def __post_init__(self) -> None:
        """Bring short forms to the long ones. Raises ValueError for what does two things."""
        if isinstance(self.retry, int):
            put(self, "retry", Retry(attempts=self.retry))
        if isinstance(self.skip, str):
            put(self, "skip", (self.skip,))
        if isinstance(self.gate, str):
            put(self, "gate", Gate(title=self.gate, decisions=BY_HAND))
        said = [bool(self.service or self.operation or self.params), self.goes_on, self.by_hand]
        if sum(said) != 1:
            raise ValueError(
                "a fallback does one thing: 'service' or 'params', 'skip' or 'result', or 'gate'"
            )

    @property
    def goes_on(self) -> bool:
        """Whether the run goes on without the step."""
        return bool(self.skip) or self.result is not msgspec.UNSET

    @property
    def by_hand(self) -> bool:
        """Whether a person decides."""
        return self.gate is not None

    @property
    def asks(self) -> bool:
        """Whether a service is asked."""
        return not (self.goes_on or self.by_hand)

    @property
    def person(self) -> Gate | None:
        """Where a person decides."""
        return self.gate if isinstance(self.gate, Gate) else None

    @property
    def skipped(self) -> tuple[str, ...]:
        """The steps that are skipped as well."""
        return (self.skip,) if isinstance(self.skip, str) else self.skip

    @property
    def tried(self) -> Retry | None:
        """How often it is tried."""
        return self.retry if isinstance(self.retry, Retry) else None


def in_words(fallbacks: tuple[Fallback, ...]) -> Iterator[str]:
    """Yield each fallback in a few words."""
    for each in fallbacks:
        if each.by_hand:
            yield "a person"
        elif each.goes_on:
            yield f"without it, skip {', '.join(each.skipped)}" if each.skip else "without it"
        else:
            asked = ".".join(filter(None, (each.service, each.operation)))
            names = ", ".join(each.params or ())
            yield " ".join(filter(None, (asked, f"with other {names}" if names else "")))
