"""What the API says about people who are away, and who decides at gates in their place."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import At, By, Message, MessageId
from protocols.gates.absences import Absence

Person = Annotated[str, Meta(description="Who is away.")]


class GateAway(Message, frozen=True, kw_only=True):
    """Let somebody decide for a time what would be another person's, at all gates."""

    who: Person
    to: Annotated[str, Meta(description="Who decides instead.")]
    until: Annotated[int, Meta(description="When it is over, in ns since 1970.", ge=0)]
    since: Annotated[int, Meta(description="When it begins, in ns since 1970; 0: now.", ge=0)] = 0
    roles: Annotated[
        tuple[str, ...],
        Meta(description="Roles of who is away that go along; else the name only."),
    ] = ()
    message_id: MessageId = ""
    by: By = None


class GateBack(Message, frozen=True, kw_only=True):
    """Take it back: it ends now, or does not begin."""

    who: Person
    id: Annotated[str, Meta(description="Which one; empty: the only one that is not over.")] = ""
    by: By = None


class GateAbsences(Message, frozen=True, kw_only=True):
    """List who is away or will be, and who stands in."""

    who: Annotated[str, Meta(description="Only of this person, or where he stands in.")] = ""
    over: Annotated[bool, Meta(description="Also those that are over.")] = False


class AbsencePage(Message, frozen=True, kw_only=True):
    """Absences, the earliest first."""

    absences: Annotated[list[Absence], Meta(description="The rows.")] = []
    server_time: At = 0


class AbsenceTold(Message, frozen=True, kw_only=True):
    """An absence, as it is stored now."""

    absence: Annotated[Absence, Meta(description="Who, who instead, from when, until when.")]


ABSENCES: Final[dict[str, tuple[str, type[Message], type[Message]]]] = {
    "gate.away": ("Let somebody stand in at gates for a time", GateAway, AbsenceTold),
    "gate.back": ("Let nobody stand in any more", GateBack, AbsenceTold),
    "gate.absences": ("List who is away", GateAbsences, AbsencePage),
}
_AT: Final = 1_700_000_000_000_000_000
_BY: Final = {"who": "ann", "where": "desk 4", "why": "on leave"}
_SAID: Final = {"who": "ann", "to": "bob", "until": _AT + 14 * 86_400_000_000_000}
_ABSENCE: Final = {"id": "m-1", "since": _AT, "by": _BY, "at": _AT, **_SAID}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "gate.away": ({**_SAID, "message_id": "m-1", "by": _BY}, {"absence": _ABSENCE}),
    "gate.back": (
        {"who": "ann", "by": _BY},
        {"absence": {**_ABSENCE, "ended_by": _BY, "ended_at": _AT + 1}},
    ),
    "gate.absences": ({"who": "bob"}, {"absences": [_ABSENCE], "server_time": _AT}),
}
"""For the catalogue: a request and its answer by verb."""
