"""Directives: what a failure of a step or a state leads to, chosen by its error kind.

    retry                ask the same service again, with the same key, as its policy says
    fallback             ask the next service
    return_to_previous   go back to the state before
    review               a service or a person decides
    continue             go on without a result, with a warning
    compensate           undo what was done, and end
    halt_and_alert       do nothing more until an operator resumes

Each may name what comes ``then``, when it cannot help; without a word that is to halt. The
defaults are those of a governance pipeline: errors that pass are retried, wrong input goes back
to whom it came from, what a rule forbids is reviewed, and everything else halts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

import msgspec

from protocols.durations import seconds
from protocols.error_kinds import (
    COMPLIANCE,
    NETWORK,
    OVER_LIMIT,
    PERMISSION,
    SYSTEM,
    classify,
    words,
)
from protocols.failure import NO_RESPONDERS, REFUSED, TIMEOUT, VALIDATION, Failure
from protocols.policy import Retry

Do = Literal[
    "retry",
    "fallback",
    "return_to_previous",
    "review",
    "continue",
    "compensate",
    "halt_and_alert",
]
DIRECTIVES: Final[tuple[str, ...]] = get_args(Do)

RETRIES: Final = Retry(attempts=4, delays=(5.0, 30.0, 300.0), jitter=0.0)
"""Three retries, four calls; each of the three delays is used."""
TIMES_DEFAULT: Final = 3
"""Returns or reviews in a row: two parties that send a motion to and fro must come to an end."""


class Directive(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One directive with its details. Raises ValueError for a detail that it does not take.

    ``policy`` belongs to retry. ``services`` to fallback, and ``unknown``: whether the next
    service may be asked although the work may have been done (``switch``) or not (``halt``).
    ``by`` and ``operation`` to review: the service that decides, or nobody: a person does, with
    a signal; ``timeout`` bounds its wait, in seconds or as text such as ``2d``, 0: it waits for
    ever. ``to`` to continue: the next state; to compensate: an end that failed. ``times`` bounds
    returns and reviews in a row.
    """

    do: Annotated[Do, msgspec.Meta(description="What is done.")]
    policy: Annotated[Retry, msgspec.Meta(description="Of `retry`: how often and when.")] = RETRIES
    services: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Of `fallback`: who is asked, one after the other."),
    ] = ()
    unknown: Annotated[
        Literal["halt", "switch"],
        msgspec.Meta(
            description="Of `fallback`: may the next be asked when the work may be done?"
        ),
    ] = "halt"
    by: Annotated[
        str,
        msgspec.Meta(
            description="Of `review`: the service that decides; without it a person, by a signal."
        ),
    ] = ""
    operation: Annotated[str, msgspec.Meta(description="Of `review`: for what it is asked.")] = (
        "review"
    )
    timeout: Annotated[
        float | str, msgspec.Meta(description="Of `review`: how long it may take; 0: for ever.")
    ] = 0.0
    to: Annotated[
        str,
        msgspec.Meta(description="Of `continue`: the next state; of `compensate`: a failed end."),
    ] = ""
    times: Annotated[
        int,
        msgspec.Meta(description="Of returns and reviews: most of them in a row.", ge=1, le=1000),
    ] = TIMES_DEFAULT
    then: Annotated[
        Directive | Do | None,
        msgspec.Meta(description="What comes when it cannot help; else `halt_and_alert`."),
    ] = None

    def __post_init__(self) -> None:
        """Check that the details belong to the directive."""
        for field, owners in _OWNERS.items():
            if self.do not in owners and getattr(self, field) != _DEFAULTS[field]:
                raise ValueError(f"{self.do} takes no {field}: it belongs to {_either(owners)}")
        if self.do == "fallback" and not self.services:
            raise ValueError("fallback needs services: name those to ask, in order")
        msgspec.structs.force_setattr(self, "timeout", seconds(self.timeout, "timeout"))
        if isinstance(self.then, str):
            msgspec.structs.force_setattr(self, "then", Directive(do=self.then))

    @property
    def after(self) -> Directive:
        """The directive that follows when this one cannot help."""
        return self.then if isinstance(self.then, Directive) else HALT

    @property
    def timeout_s(self) -> float:
        """How long a review may take, in seconds; 0: for ever."""
        return float(self.timeout)


_OWNERS: Final = {
    "policy": ("retry",),
    "services": ("fallback",),
    "unknown": ("fallback",),
    "by": ("review",),
    "operation": ("review",),
    "timeout": ("review",),
    "to": ("continue", "compensate"),
    "times": ("return_to_previous", "review"),
}
_DEFAULTS: Final = {
    "policy": RETRIES,
    "services": (),
    "unknown": "halt",
    "by": "",
    "operation": "review",
    "timeout": 0.0,
    "to": "",
    "times": TIMES_DEFAULT,
}

HALT: Final = Directive(do="halt_and_alert")
RETRY: Final = Directive(do="retry")
BY_KIND: Final[Mapping[str, Directive]] = {
    TIMEOUT: RETRY,
    NETWORK: RETRY,
    NO_RESPONDERS: RETRY,
    OVER_LIMIT: RETRY,
    VALIDATION: Directive(do="return_to_previous"),
    PERMISSION: Directive(do="review"),
    COMPLIANCE: Directive(do="review"),
    REFUSED: HALT,
    SYSTEM: HALT,
}
"""What happens where a definition says nothing. A kind that is not in it halts."""

Table = Mapping[str, Directive]
"""Directives by error kind."""


def choose(failure: Failure, *tables: Table) -> Directive:
    """Return the directive for a failure: of the first table that names its kind, or halt.

    A service's own word goes before the root cause that it was classified as.
    """
    for word in words(failure):
        found = of_kind(word, *tables)
        if found is not None:
            return found
    return BY_KIND.get(classify(failure), HALT)


def of_kind(kind: str, *tables: Table) -> Directive | None:
    """Return the directive that the first of the tables has for a kind."""
    for table in tables:
        found = table.get(kind)
        if found is not None:
            return found
    return None


def retries_of(kinds: tuple[str, ...], *tables: Table) -> tuple[tuple[str, Retry], ...]:
    """Return the kinds that are tried again, each with its policy, as ``StepOptions`` has it."""
    found = {kind: of_kind(kind, *tables, BY_KIND) for kind in kinds}
    return tuple(
        (kind, each.policy)
        for kind, each in found.items()
        if each is not None and each.do == "retry"
    )


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(words)
