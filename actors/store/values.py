"""Values: all that a process does with values that are too large for a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.owning.resolving import Resolving
from actors.services.large_answers import LargeAnswers
from actors.store.blobs import Blobs
from actors.store.storing import Storing
from protocols.ports import Transport


class Values:
    """The blobs of one connection, and who fetches and stores them. One per process."""

    def __init__(
        self, transport: Transport, start_soon: Callable[..., Any], bytes_max: int
    ) -> None:
        self.blobs = Blobs(transport, bytes_max=bytes_max)
        self.resolving = Resolving(self.blobs)
        self.storing = Storing(self.blobs, start_soon)
        self.answers = LargeAnswers(self.blobs)
