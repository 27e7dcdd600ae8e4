"""What the API says about an undo by hand."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from protocols.api.base import By, Id, Message, MessageId
from protocols.compensation import PlannedUndo
from protocols.effects import Status


class RunUndo(Message, frozen=True, kw_only=True):
    """Undo what an instance did; one that has not ended is stopped by that."""

    id: Id
    plan: Annotated[bool, Meta(description="Only tell what would be undone.")] = False
    reason: Annotated[str, Meta(description="For people.")] = ""
    message_id: MessageId = ""
    by: By = None


class RunReview(Message, frozen=True, kw_only=True):
    """Say whether a step was done of which nobody knows; its options say ``unknown: review``."""

    id: Id
    step: Annotated[str, Meta(description="Path of the step.")]
    done: Annotated[bool, Meta(description="Whether it had its effect.")]
    result: Annotated[Any, Meta(description="Its result, when it was done.")] = None
    message_id: MessageId = ""
    by: By = None


class RunUndone(Message, frozen=True, kw_only=True):
    """What is going to be undone, in order, and by whom."""

    id: Id
    status: Annotated[Status, Meta(description="Status before it is undone.")]
    plan: Annotated[list[PlannedUndo], Meta(description="The undos, in order.")]
    seq: Annotated[
        int, Meta(description="Stream sequence of the order to undo; 0: none was written.")
    ] = 0
    run: Annotated[
        str, Meta(description="The run that undoes what an instance left that has ended.")
    ] = ""
