"""Compensation: how a step is undone, and what became of each step at the end.

    await ctx.call("bank", "charge", order, undo="refund")
    await ctx.call("crm", "open", order, undo=Undo("close", settle_s=30))

The service of an undo answers in one of three ways: a success (undone; or "I never saw it and
shall refuse it from now on"), the refusal ``never_seen`` (it cannot promise that), or another
failure (it could not undo it).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from protocols.policy import Retry, Seconds

NEVER_SEEN: Final = "never_seen"
"""Error kind of an undo for a key that the service never saw and cannot refuse later."""
UNDO_WORKFLOW: Final = "movant.undo"
"""Its runs undo what instances left that have ended."""
UNDO_RETRY: Final = Retry(attempts=8)
"""An undo is worth more patience than a step: about two minutes."""
FATES_MAX: Final = 200
"""Steps listed with an outcome: it has to fit an event. What needs somebody comes first."""

Outcome = Literal["ok", "unknown"]
Fate = Literal["done", "undone", "unknown", "could_not"]
"""``done``: it stands. ``unknown``: nobody knows. ``could_not``: it stands and should not."""


class Undo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a step is undone: an operation of the same service, or of another one.

    ``input`` goes before the UndoRequest that is sent otherwise. ``timeout_s`` is that of the
    step when absent. ``settle_s`` is for a service that cannot refuse a key after its undo: how
    long after an attempt's deadline it may still begin it; without it the service must.
    """

    operation: str
    service: str = ""
    input: Any = msgspec.UNSET
    retry: Retry = UNDO_RETRY
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    settle_s: Seconds | None = None


class UndoRequest(msgspec.Struct, frozen=True):
    """What the service of an undo gets: the key of the step, its input, and its result.

    ``result`` is None when nobody knows it. Both are None when they are too large together.
    """

    key: str
    input: Any = None
    result: Any = None


class StepFate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a step at one service."""

    path: Annotated[str, Meta(description="Path of the step.")]
    fate: Annotated[Fate, Meta(description="Whether it stands; unknown: nobody knows.")]
    service: Annotated[
        str, Meta(description="The service; empty: it is a child, or has no undo.")
    ] = ""
    detail: Annotated[str, Meta(description="Why it is not undone, or nobody knows.")] = ""
    child: Annotated[str, Meta(description="The run, when the step is a child.")] = ""


class PlannedUndo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One undo that would be asked for next; a plan lists them in order."""

    path: Annotated[str, Meta(description="Path of the step that is undone.")]
    service: Annotated[
        str, Meta(description="The service that undoes it; empty: the step is a child.")
    ]
    operation: Annotated[str, Meta(description="Its operation.")]
    key: Annotated[str, Meta(description="Key of the step, as its service knows it.")]
    outcome: Annotated[
        Outcome, Meta(description="unknown: nobody knows whether there is anything to undo.")
    ]
    undecided: Annotated[
        bool, Meta(description="It is in flight: its reply or deadline is waited for first.")
    ] = False
    input: Annotated[Any, Meta(description="What its service gets.")] = None
    run: Annotated[
        str, Meta(description="The child whose step it is, or that it is; empty: the run's own.")
    ] = ""
