"""What the API says about updates: signals that are answered."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta

from protocols.api.base import WAIT_S_MAX, By, Id, Message, MessageId, Standing, Value
from protocols.api.blobs import LargeValue
from protocols.failure import Failure
from protocols.updates import Until, UpdateStatus

WaitUntil = Annotated[
    Until, Meta(description="Wait until it is accepted or rejected, or until it is answered.")
]
TimeoutSeconds = Annotated[
    float, Meta(description="Wait at most this many seconds.", ge=0, le=WAIT_S_MAX)
]
Name = Annotated[str, Meta(description="Name of the update.")]


class RunUpdate(Message, frozen=True, kw_only=True):
    """Send a signal that is answered, and wait for its answer."""

    id: Id
    name: Name
    data: Value = None
    message_id: MessageId = ""
    until: WaitUntil = "answered"
    timeout_s: TimeoutSeconds = 60.0
    by: By = None
    data_blob: LargeValue = None


class RunAnswer(Message, frozen=True, kw_only=True):
    """Ask once more what has become of an update."""

    id: Id
    message_id: Annotated[str, Meta(description="The message id that it was sent with.")]
    until: WaitUntil = "answered"
    timeout_s: TimeoutSeconds = 0.0


class RunUpdated(Message, frozen=True, kw_only=True):
    """What has become of an update until now."""

    id: Id
    message_id: Annotated[str, Meta(description="To ask again with.")]
    status: Annotated[
        UpdateStatus,
        Meta(description="`pending`: the workflow has not said anything yet."),
    ]
    name: Name = ""
    result: Value = None
    failure: Annotated[Failure | None, Meta(description="Why it was rejected, or has failed.")] = (
        None
    )
    run: Annotated[Standing | None, Meta(description="How the run stands, if it is known.")] = None
    blocked: Annotated[str, Meta(description="Why the mailbox of the run cannot be folded.")] = ""


UPDATES: Final[dict[str, tuple[str, type[Message], type[Message]]]] = {
    "run.update": ("Send a signal that is answered", RunUpdate, RunUpdated),
    "run.answer": ("Wait for the answer to an update", RunAnswer, RunUpdated),
}
_TOLD: Final = {
    "id": "order-1",
    "message_id": "m-1",
    "name": "add",
    "status": "completed",
    "result": {"items": 2},
}
EXAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "run.update": (
        {"id": "order-1", "name": "add", "data": {"item": "nut"}, "message_id": "m-1"},
        _TOLD,
    ),
    "run.answer": ({"id": "order-1", "message_id": "m-1"}, _TOLD),
}
"""For the catalogue: a request and its answer by verb."""
