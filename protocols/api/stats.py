"""The API's verb ``stats``: what became of runs, how services do, what takes long, what fails.

An answer is about a page of runs; two answers can be added up, whatever runs they are about.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import After, At, Cursor, Message, WorkflowName

STATS_RUNS_MAX: Final = 200
"""Runs in one answer: each is read and folded for it."""

Runs = Annotated[int, Meta(description="Runs to look at, the newest first.", ge=1, le=200)]


class Stats(Message, frozen=True, kw_only=True):
    """Look at runs, those that started last first."""

    workflow: Annotated[WorkflowName | None, Meta(description="Only runs of this workflow.")] = (
        None
    )
    since: Annotated[
        int, Meta(description="Only runs that started at or after this, in ns since 1970.")
    ] = 0
    limit: Runs = 50
    after: After = ""


class Spread(Message, frozen=True, kw_only=True):
    """Many durations as a few numbers."""

    count: Annotated[int, Meta(description="How many.")] = 0
    total_s: Annotated[float, Meta(description="Their sum, in seconds.")] = 0.0
    average_s: Annotated[float, Meta(description="Their mean.")] = 0.0
    p50_s: Annotated[
        float, Meta(description="Half of them are at or below this; at most 19 % too high.")
    ] = 0.0
    p95_s: Annotated[float, Meta(description="The same for 95 % of them.")] = 0.0
    max_s: Annotated[float, Meta(description="The longest one.")] = 0.0
    buckets: Annotated[
        dict[int, int],
        Meta(description="How many above 2^((n-1)/4) and up to 2^(n/4) milliseconds, by n."),
    ] = {}


class WorkflowStats(Message, frozen=True, kw_only=True):
    """The runs of one workflow."""

    workflow: WorkflowName
    outcomes: Annotated[
        dict[str, int], Meta(description="How many, by status; `active`: they have not ended.")
    ] = {}
    success_rate: Annotated[
        float | None, Meta(description="Completed ones among those that have ended; null: none.")
    ] = None
    completion: Annotated[Spread, Meta(description="From start to end, of completed runs.")] = (
        Spread()
    )


class ServiceStats(Message, frozen=True, kw_only=True):
    """What one operation of a service was asked, and how it answered."""

    service: str
    operation: str = ""
    requests: Annotated[int, Meta(description="Attempts, those that were never sent too.")] = 0
    errors: Annotated[int, Meta(description="How many of them ended without a result.")] = 0
    error_rate: Annotated[float, Meta(description="Their share of what has ended.")] = 0.0
    kinds: Annotated[dict[str, int], Meta(description="The errors by kind.")] = {}
    latency: Annotated[
        Spread, Meta(description="From the moment of asking to the answer, errors included.")
    ] = Spread()


class StepStats(Message, frozen=True, kw_only=True):
    """One step of a workflow, with all its attempts and items."""

    workflow: WorkflowName
    step: Annotated[str, Meta(description="Its path, without numbers of repeats and items.")]
    service: str = ""
    time: Annotated[
        Spread, Meta(description="From its first request to its last answer, pauses included.")
    ] = Spread()


class FailureStats(Message, frozen=True, kw_only=True):
    """Runs that ended in the same way."""

    workflow: WorkflowName
    status: str
    kind: Annotated[str, Meta(description="The kind of their failure; empty: nobody said.")] = ""
    runs: int = 0
    example: Annotated[str, Meta(description="Id of the newest one.")] = ""


class RunStats(Message, frozen=True, kw_only=True):
    """What runs have come to. Rows that matter most come first."""

    runs: Annotated[int, Meta(description="Runs that this is about.")] = 0
    total: Annotated[int, Meta(description="Runs that there are of this kind.")] = 0
    success_rate: Annotated[
        float | None, Meta(description="Completed ones among those that have ended; null: none.")
    ] = None
    completion: Annotated[Spread, Meta(description="From start to end, of completed runs.")] = (
        Spread()
    )
    workflows: Annotated[list[WorkflowStats], Meta(description="Most runs first.")] = []
    services: Annotated[list[ServiceStats], Meta(description="Most time first.")] = []
    steps: Annotated[
        list[StepStats], Meta(description="The bottlenecks: the steps with the most time first.")
    ] = []
    failures: Annotated[list[FailureStats], Meta(description="Most runs first.")] = []
    unread: Annotated[
        int, Meta(description="Runs without steps above: their history is gone or unreadable.")
    ] = 0
    earliest: At = 0
    next: Cursor = ""


_SPREAD: Final = {
    "count": 2,
    "total_s": 3.0,
    "average_s": 1.5,
    "p50_s": 1.024,
    "p95_s": 2.0,
    "max_s": 2.0,
    "buckets": {"40": 1, "44": 1},
}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "stats": (
        {"workflow": "order", "since": 1_700_000_000_000_000_000},
        {
            "runs": 3,
            "total": 3,
            "success_rate": 2 / 3,
            "completion": _SPREAD,
            "workflows": [
                {
                    "workflow": "order",
                    "outcomes": {"completed": 2, "failed": 1},
                    "success_rate": 2 / 3,
                    "completion": _SPREAD,
                }
            ],
            "services": [
                {
                    "service": "bank",
                    "operation": "charge",
                    "requests": 2,
                    "errors": 1,
                    "error_rate": 0.5,
                    "kinds": {"card_declined": 1},
                    "latency": _SPREAD,
                }
            ],
            "steps": [{"workflow": "order", "step": "charge", "service": "bank", "time": _SPREAD}],
            "failures": [
                {
                    "workflow": "order",
                    "status": "failed",
                    "kind": "card_declined",
                    "runs": 1,
                    "example": "order-7",
                }
            ],
            "earliest": 1_700_000_000_000_000_000,
        },
    ),
}
"""For the catalogue: a request and its answer by verb."""
