"""What stands in ARCHIVE, and the payload of a wake in TIMERS.

movant.done.<p>.<id>                                   the record of a finished instance
movant.done.<p>._bundle.<through>.<first id>.<digest>  the histories of many
"""

from __future__ import annotations

import msgspec

from protocols.blobs import Blob
from protocols.compensation import StepFate
from protocols.failure import Failure


class ArchiveRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an instance ended. Times are nanoseconds since 1970, UTC.

    ``through`` is the sequence of the message that ended it, ``position`` the position of its
    partition when this was written: the history stands in MAIL until the partition's mark is
    above it, and then in the bundle with the least ``through`` at or above it.
    """

    id: str
    workflow: str
    definition: str
    status: str
    started_at: int
    finished_at: int
    through: int
    position: int = 0
    start_id: str = ""
    """The message id of the start: by it a repeat is told from another run's start."""
    result: msgspec.Raw = msgspec.Raw(b"null")
    blob: Blob | None = None
    """The reference to a result that is too large for the record."""
    failure: Failure | None = None
    steps: tuple[StepFate, ...] = ()
    """What became of its steps, when some of them can be undone."""
    statements: int = 0
    """How many statements the witness has of it; 0: written by an earlier version."""
    head: str = ""
    """The hash of the last of them."""
    kept_s: float = 0.0
    """How long it is kept, in seconds, as its definition says; 0: that says nothing."""

    @property
    def at(self) -> int:
        """The position by which the history is found; early records have none of their own."""
        return self.position or self.through


class Wake(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a wake: effects with a cause >= ``since`` are due again when it fires.

    ``parked`` names the steps that were not sent yet, so that their time does not count.
    """

    number: int
    epoch: int
    since: int
    parked: tuple[str, ...] = ()
