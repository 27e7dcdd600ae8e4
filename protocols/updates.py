"""Updates: signals that are answered, and what a fold says of one.

    pending ──> accepted ──> completed | failed
       └──────> rejected | completed | failed

An update is a signal like every other in the mailbox. What becomes of it is not recorded: whoever
folds that mailbox comes to the same answer.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from protocols.failure import Failure

ANSWER_BYTES_MAX: Final = 32 * 1024
"""Of a result: it is a part of the fold's state, and has to fit an event."""
ANSWERED_MAX: Final = 100
"""Answers that are remembered, so that who asks later, or again, is told the same."""
ANSWERED_BYTES_MAX: Final = 64 * 1024
"""Of their results, when a workflow continues as new: they have to fit its snapshot."""
REASON_CHARS_MAX: Final = 2_000

REJECTED: Final = "rejected"
"""The workflow did not take it, and says why."""
UNANSWERED: Final = "unanswered"
"""Nobody will answer it any more."""
OVER: Final = "the run has ended, and has not answered it"

UpdateStatus = Literal["pending", "accepted", "rejected", "completed", "failed"]
Until = Literal["accepted", "answered"]
"""What is waited for; one that is rejected is answered."""
ENDED: Final[frozenset[UpdateStatus]] = frozenset({"rejected", "completed", "failed"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of an update until now."""

    seq: int
    """Sequence of its message."""
    name: str
    message_id: str = ""
    status: UpdateStatus = "pending"
    accepted: int = 0
    """Sequence of the message at which the code accepted it; 0: it has not."""
    result: bytes = b""
    """Encoded, when it is completed."""
    failure: Failure | None = None
    """Why it was rejected or has failed."""


def is_over(status: UpdateStatus, until: Until) -> bool:
    """Tell whether an update stands where it is waited for."""
    return status in ENDED or status == until
