"""The API's verb ``pipeline``: all motions that have not ended, and how they stand."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import After, At, Cursor, Id, Limit, Message, WorkflowName

BLOCKED_MAX: Final = 100
"""Ids of blocked motions in one answer; ``blocked`` counts all, and the filter pages them."""

StateName = Annotated[str, Meta(description="A state of the machine; empty: before the first.")]


class Pipeline(Message, frozen=True, kw_only=True):
    """Show all active motions: who has been longest in its state comes first."""

    machine: Annotated[
        WorkflowName | None, Meta(description="Only motions of this machine, also in counts.")
    ] = None
    state: Annotated[StateName | None, Meta(description="Only rows in this state.")] = None
    blocked: Annotated[bool, Meta(description="Only rows that are blocked.")] = False
    overdue: Annotated[bool, Meta(description="Only rows past their expected completion.")] = False
    limit: Limit = 50
    after: After = ""


class MotionPipelineState(Message, frozen=True, kw_only=True):
    """One active motion."""

    motion_id: Id
    machine: WorkflowName
    current_state: StateName = ""
    owner: Annotated[str, Meta(description="The service that works in the state, or nobody.")] = ""
    started_at: At = 0
    entered_state_at: At = 0
    time_in_state_s: Annotated[float, Meta(description="Seconds since it entered the state.")] = (
        0.0
    )
    expected_completion: Annotated[
        int, Meta(description="When the state's time is over, in ns since 1970; 0: never.")
    ] = 0
    overdue: Annotated[bool, Meta(description="Whether that time is over.")] = False
    blocking_issues: Annotated[
        list[str], Meta(description="Why it cannot go on by itself; empty: it can.")
    ] = []
    waiting: Annotated[str, Meta(description="The first thing that it waits for.")] = ""
    next_action: Annotated[str, Meta(description="What has to happen next, and who does it.")] = ""


class PipelineStatus(Message, frozen=True, kw_only=True):
    """The active motions of all daemons, counted, and a page of them."""

    active_motions: Annotated[int, Meta(description="Motions that have not ended.")] = 0
    motions_by_state: Annotated[dict[str, int], Meta(description="How many, by state.")] = {}
    motions_by_machine: Annotated[dict[str, int], Meta(description="How many, by machine.")] = {}
    blocked: Annotated[int, Meta(description="How many cannot go on by themselves.")] = 0
    blocked_motions: Annotated[
        list[str], Meta(description="Their ids, the first of them; at most 100.")
    ] = []
    overdue: Annotated[int, Meta(description="How many are past their expected completion.")] = 0
    oldest_motion: Annotated[str, Meta(description="Id of the one that started first.")] = ""
    oldest_motion_age_s: Annotated[float, Meta(description="Seconds since its start.")] = 0.0
    recent_completions: Annotated[
        int, Meta(description="Motions that completed in the last 24 hours.")
    ] = 0
    recent_failures: Annotated[
        int, Meta(description="Motions that failed in the last 24 hours, undone ones included.")
    ] = 0
    motions: Annotated[list[MotionPipelineState], Meta(description="The rows.")] = []
    total: Annotated[int, Meta(description="How many rows there are on all pages.")] = 0
    next: Cursor = ""
    unread: Annotated[
        int,
        Meta(description="Motions whose state is not known yet, not counted above: ask again."),
    ] = 0
    silent: Annotated[
        list[str], Meta(description="Daemons that did not answer; their motions are missing.")
    ] = []
    server_time: At = 0


_AT: Final = 1_700_000_000_000_000_000
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "pipeline": (
        {"machine": "permit", "blocked": True},
        {
            "active_motions": 2,
            "motions_by_state": {"REVIEWED": 1, "BUILDING": 1},
            "motions_by_machine": {"permit": 2},
            "blocked": 1,
            "blocked_motions": ["m-1"],
            "oldest_motion": "m-1",
            "oldest_motion_age_s": 90.0,
            "recent_completions": 3,
            "motions": [
                {
                    "motion_id": "m-1",
                    "machine": "permit",
                    "current_state": "BUILDING",
                    "owner": "builder",
                    "started_at": _AT,
                    "entered_state_at": _AT + 30_000_000_000,
                    "time_in_state_s": 60.0,
                    "expected_completion": _AT + 3_630_000_000_000,
                    "blocking_issues": ["builder.build: nobody serves it"],
                    "waiting": "step /states/BUILDING/builder.build",
                    "next_action": "builder build",
                }
            ],
            "total": 1,
            "server_time": _AT + 90_000_000_000,
        },
    ),
}
"""For the catalogue: a request and its answer by verb."""
