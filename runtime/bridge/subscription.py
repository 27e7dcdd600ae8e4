"""A subscription as the trio side knows it, and what its owner holds."""

from __future__ import annotations

from collections.abc import Callable

import trio

from protocols.ports import Sink


class Wanted:
    """The trio side of a subscription: where its frames go, and whether the server has it."""

    def __init__(self, subject: str, sink: Sink) -> None:
        self.subject = subject
        self.sink = sink
        self.standing = trio.Event()
        self.refused: str | None = None


class NatsSubscription:
    """A live subscription; it survives reconnects. See ``protocols.ports.Subscription``."""

    def __init__(self, unsubscribe: Callable[[], None]) -> None:
        self._unsubscribe = unsubscribe

    def unsubscribe(self) -> None:
        """Stop delivery: no frame is delivered after this call. Idempotent."""
        self._unsubscribe()
