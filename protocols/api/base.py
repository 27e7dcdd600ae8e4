"""What the messages of the API are made of: limits, described types, the base of all."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from protocols.compensation import StepFate
from protocols.effects import Status
from protocols.failure import Failure
from protocols.flow import Priority
from protocols.witness import Operator

SERVICE: Final = "movant"
PAGE_MAX: Final = 1_000
"""Rows in one answer: with an input each they still fit the server's payload limit."""
ITEMS_MAX: Final = 1_000
"""Starts in one request, for the same reason."""
WAIT_S_MAX: Final = 300.0
"""A waiting client asks again after this; no reply subject is kept open for longer."""

Id = Annotated[
    str,
    Meta(
        description="Id of an instance: letters, digits, '_' and '-', at most 128.",
        extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"},
    ),
]
WorkflowName = Annotated[str, Meta(description="Name of a workflow; dots are allowed.")]
Hash = Annotated[str, Meta(description="Hash of a definition.")]
At = Annotated[int, Meta(description="Time, nanoseconds since 1970, UTC; 0: not yet.")]
MessageId = Annotated[
    str, Meta(description="Chosen once by the client; a repeat with the same id does nothing.")
]
RunPriority = Annotated[
    Priority, Meta(description="Who goes first where requests wait: -9 a batch, 9 an emergency.")
]
Permissions = Annotated[
    tuple[str, ...],
    Meta(description="What the person may do: as the client says it, not checked."),
]
RunProfile = Annotated[
    str, Meta(description="The profile under which it runs; empty: as the daemon is set.")
]
Trace = Annotated[
    str,
    Meta(
        description="W3C traceparent: goes along with every request of the run, and its children."
    ),
]
Value = Annotated[Any, Meta(description="Any JSON value.")]
Raw = Annotated[
    bool, Meta(description="Do not mask what is sensitive; the daemon logs who asks for it.")
]
Limit = Annotated[int, Meta(description="At most this many rows.", ge=1, le=PAGE_MAX)]
Cursor = Annotated[
    str, Meta(description="Pass this as `after` for the next page; empty: no more.")
]
AfterSeq = Annotated[int, Meta(description="Only messages with a higher stream sequence.", ge=0)]
After = Annotated[str, Meta(description="`next` of the page before; empty: from the start.")]
WaitSeconds = Annotated[
    float, Meta(description="Wait this many seconds for the end; 0: do not.", ge=0, le=WAIT_S_MAX)
]
Standing = Annotated[Status, Meta(description="Where the instance stands.")]
Fates = Annotated[
    tuple[StepFate, ...],
    Meta(description="At the end: what became of its steps, when some of them can be undone."),
]
Why = Annotated[Failure | None, Meta(description="Why it failed, when it did.")]
By = Annotated[
    Operator | None,
    Meta(description="Who asks for it by hand, from where and why: it stands in the history."),
]
Libraries = Annotated[dict[str, str], Meta(description="Third-party versions when it was packed.")]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of requests and results."""


class Empty(Message, frozen=True, kw_only=True):
    """A request without fields."""
