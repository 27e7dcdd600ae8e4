"""The record of a finished instance in ARCHIVE, and of a wake in TIMERS."""

from __future__ import annotations

import msgspec

from protocols.failure import Failure


class ArchiveRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an instance ended. Times are nanoseconds since 1970, UTC.

    ``through`` is the sequence of the message that ended it.
    """

    id: str
    workflow: str
    definition: str
    status: str
    started_at: int
    finished_at: int
    through: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None


class Wake(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a wake: effects with a cause >= ``since`` are due again when it fires.

    ``parked`` names the steps that were not sent yet, so that their time does not count.
    """

    number: int
    epoch: int
    since: int
    parked: tuple[str, ...] = ()
