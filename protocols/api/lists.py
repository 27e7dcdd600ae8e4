"""The API's listing of instances, and which of them one speaks of."""

from __future__ import annotations

from typing import Annotated, Protocol

from msgspec import Meta

from protocols.api.base import After, At, Cursor, Hash, Id, Limit, Message, Standing, WorkflowName
from protocols.effects import FINAL, Status


class Named(Protocol):
    """What never changes of an instance."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def workflow(self) -> str:
        """Name of its workflow."""

    @property
    def started_at(self) -> int:
        """When it started, in nanoseconds since 1970."""


class RunQuery(Message, frozen=True, kw_only=True):
    """Which instances: those of which all of this holds."""

    status: Annotated[Status | None, Meta(description="Only these.")] = None
    workflow: Annotated[WorkflowName | None, Meta(description="Only these.")] = None
    late: Annotated[bool, Meta(description="Only those that take too long.")] = False
    active: Annotated[bool, Meta(description="Only those that have not ended.")] = False
    definition: Annotated[
        str, Meta(description="Only those with this definition: its hash, or how that begins.")
    ] = ""
    prefix: Annotated[str, Meta(description="Only those whose id begins so.")] = ""
    since: Annotated[
        int, Meta(description="Only those that started at or after this, in ns since 1970.")
    ] = 0
    until: Annotated[
        int, Meta(description="Only those that started before this, in ns since 1970; 0: all.")
    ] = 0

    def names(self, row: Named) -> bool:
        """Tell whether an instance is one of these, by what never changes of it."""
        return (
            self.workflow in {None, row.workflow}
            and self.since <= row.started_at
            and (not self.until or row.started_at < self.until)
            and row.id.startswith(self.prefix)
        )

    def stands(self, definition: str, status: Status) -> bool:
        """Tell the same by how it is now."""
        return (
            self.status in {None, status}
            and not (self.active and status in FINAL)
            and definition.startswith(self.definition)
        )


class RunList(RunQuery, frozen=True, kw_only=True):
    """List instances, newest first."""

    limit: Limit = 50
    after: After = ""


class RunRow(Message, frozen=True, kw_only=True):
    """One line of a list of instances."""

    id: Id
    workflow: WorkflowName
    status: Standing
    definition: Hash = ""
    started_at: At = 0
    finished_at: At = 0
    waiting: Annotated[str, Meta(description="The first thing that it waits for.")] = ""
    late: Annotated[
        str,
        Meta(
            description="Why it takes too long: since when more than `warn_after`, or more than "
            "19 of 20 runs like it; empty: it does not."
        ),
    ] = ""


class RunPage(Message, frozen=True, kw_only=True):
    """A page of instances."""

    runs: Annotated[list[RunRow], Meta(description="The rows.")]
    total: Annotated[int, Meta(description="How many there are on all pages.")]
    next: Cursor = ""
