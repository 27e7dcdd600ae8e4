"""The API's verbs for many instances in one request."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.api.base import (
    ITEMS_MAX,
    By,
    Id,
    Message,
    MessageId,
    Permissions,
    RunPriority,
    Value,
    WorkflowName,
)
from protocols.api.errors import ErrorReply


class StartItem(Message, frozen=True, kw_only=True):
    """One instance of a RunStartMany."""

    input: Value = None
    id: Annotated[
        Id | None, Meta(description="Id of the instance; absent: the daemon chooses one.")
    ] = None
    priority: RunPriority = 0


class RunStartMany(Message, frozen=True, kw_only=True):
    """Start many instances of one workflow."""

    workflow: WorkflowName
    items: Annotated[
        list[StartItem], Meta(description="The instances, in order.", max_length=ITEMS_MAX)
    ]
    permissions: Permissions = ()
    by: By = None


class StartResult(Message, frozen=True, kw_only=True):
    """What became of one item."""

    id: Annotated[str, Meta(description="Id of the item, as it was given or chosen.")]
    created: Annotated[bool, Meta(description="Whether this request created it.")] = False
    error: Annotated[ErrorReply | None, Meta(description="Why it was not started.")] = None


class RunStartedMany(Message, frozen=True, kw_only=True):
    """The answer to RunStartMany, in the order of its items."""

    ids: Annotated[list[str], Meta(description="Ids of the items that are there now.")]
    results: Annotated[list[StartResult], Meta(description="One for each item.")]


class SignalItem(Message, frozen=True, kw_only=True):
    """One signal of a RunSignalMany."""

    id: Id
    data: Value = None
    message_id: MessageId = ""


class RunSignalMany(Message, frozen=True, kw_only=True):
    """Send a signal of one name to many instances."""

    name: Annotated[str, Meta(description="Name of the signal.")]
    items: Annotated[
        list[SignalItem], Meta(description="The signals, in order.", max_length=ITEMS_MAX)
    ]


class SignalResult(Message, frozen=True, kw_only=True):
    """What became of one item."""

    id: Annotated[str, Meta(description="Id of the item.")]
    seq: Annotated[int, Meta(description="Stream sequence; 0: it was not taken.")] = 0
    error: Annotated[ErrorReply | None, Meta(description="Why it was not taken.")] = None


class RunSignalledMany(Message, frozen=True, kw_only=True):
    """The answer to RunSignalMany, in the order of its items."""

    results: Annotated[list[SignalResult], Meta(description="One for each item.")]
