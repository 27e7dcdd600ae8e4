"""How long a step of a graph sleeps, or until when. Data only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocols.calendars import working
from protocols.durations import seconds

OPEN: Final = "{{"
"""Where a text has it, its value is known only when the step begins."""


class GraphSleep(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Either a duration, which may stand alone (``sleep: 2h``), or a moment.

    Raises ValueError for what can be told to be neither.
    """

    duration: Annotated[
        float | str | None, Meta(description="How long; a reference may give it.")
    ] = None
    calendar: Annotated[
        str, Meta(description="Whose working time it is; the graph's only one without it.")
    ] = ""
    until: Annotated[
        str,
        Meta(
            description="Until when, such as `2030-01-31T08:00:00+01:00` or "
            "`{{input.due}}`; a moment that is past is no wait."
        ),
    ] = ""

    def __post_init__(self) -> None:
        """Read what stands there as it is."""
        if (self.duration is None) == (not self.until):
            raise ValueError("sleep takes either a duration or 'until'")
        if self.duration is not None and not has_references(self.duration):
            msgspec.structs.force_setattr(self, "duration", pause(self.duration, "duration"))
        if self.until and not has_references(self.until):
            moment(self.until, "until")


def brief(given: float | str) -> GraphSleep:
    """Return the long form of a duration. Raises ValueError for what is none."""
    return GraphSleep(duration=given if has_references(given) else pause(given, "sleep"))


def pause(given: object, what: str) -> float | str:
    """Return seconds above 0, or working time. Raises ValueError for what are none."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(  # noqa: TRY004 - a value of a run, not a type of the code
            f"{what} is no duration: give seconds, or text such as 90s, 1h30m, 7d"
        )
    worked = working(given) if isinstance(given, str) else None
    if worked is not None:
        return worked.text
    value = seconds(given, what)
    if not value:
        raise ValueError(f"{what} is 0: there is nothing to wait for")
    return value


def moment(given: object, what: str) -> datetime:
    """Return a moment with its zone. Raises ValueError for what is none."""
    try:
        found = datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"{what} is no moment with a zone, such as 2030-01-31T08:00:00+01:00")
    return found


def has_references(text: object) -> bool:
    """Tell whether a value is known only when the step begins."""
    return isinstance(text, str) and OPEN in text
