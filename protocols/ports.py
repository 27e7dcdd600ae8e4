"""Ports: how time, randomness and I/O reach the kernel and the actors.

The real ones are in ``runtime``; a simulator brings its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from protocols.errors import MovantError


class Frame(msgspec.Struct, gc=False):
    """One NATS message as it came. ``headers`` is the raw block or empty.

    ``subject`` and ``reply`` are text; bytes that are no UTF-8 are shown with backslash
    escapes, which no valid subject of ours contains.
    """

    subject: str
    reply: str
    headers: bytes
    payload: bytes


class Clock(Protocol):
    """Wall and monotonic time."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC. For due times; may step."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back. For deadlines."""
        ...

    def boottime(self) -> float:
        """Seconds that never step back and go on while the machine is suspended. For leases."""
        ...


class Entropy(Protocol):
    """Randomness for ids that need to be unique, never for workflow code."""

    def token(self, bytes_count: int) -> str:
        """Return random hexadecimal text of ``2 * bytes_count`` characters."""
        ...


Done = Callable[[Frame | MovantError], None]
"""Told the answer of a request, once: a Frame, or why there is none."""

Sink = Callable[[Sequence[Frame]], None]
"""Told batches of frames on the trio thread, in order; must not wait and must not raise."""


class Subscription(Protocol):
    """A live subscription; it survives reconnects."""

    def unsubscribe(self) -> None:
        """Stop delivery. Idempotent; queued, never waits."""
        ...


class Outgoing(msgspec.Struct, gc=False):
    """One message to publish. ``headers`` are header lines as ``headers.encode`` gives them."""

    subject: str
    payload: bytes
    headers: bytes = b""
    reply: str = ""


class Beat(msgspec.Struct, frozen=True):
    """A message that asks for an answer, and who is told its payload."""

    message: Outgoing
    answered: Callable[[bytes], None]


Beating = Callable[[float, Callable[[], Beat | None]], Callable[[], None]]
"""Send what a function returns every so many seconds; returns how to stop that."""


class Transport(Protocol):
    """What actors know of NATS. All methods are called on the trio thread only."""

    @property
    def connected(self) -> bool:
        """False from the moment a loss is known until the connection answers again."""
        ...

    @property
    def payload_bytes_max(self) -> int:
        """The server's ``max_payload``."""
        ...

    def publish(self, message: Outgoing, *, perishable: bool = False) -> None:
        """Queue one message; at most once. Raises OverloadedError, DisconnectedError.

        A perishable one is dropped when this process may not act any more at the moment when
        it would be written.
        """
        ...

    def request_soon(
        self,
        message: Outgoing,
        timeout_s: float,
        done: Done,
        *,
        before: Sequence[Outgoing] = (),
    ) -> None:
        """Queue a request; ``done`` is told its first reply, or why there is none.

        ``before`` is published first and in one go with it (an atomic batch needs a reply for
        its last message only). ``done`` gets a NoRespondersError (503), an UnknownOutcomeError
        (timeout, or the connection was lost while it was open), or a DisconnectedError when it
        was not sent. Raises OverloadedError when the queue is full.
        """
        ...

    async def request(self, message: Outgoing, timeout_s: float) -> Frame:
        """Send a request and wait for its first reply. Raises what ``done`` would be told."""
        ...

    async def subscribe(self, subject: str, sink: Sink, *, queue: str = "") -> Subscription:
        """Subscribe; when it returns the server has it. ``sink`` gets batches."""
        ...

    def new_inbox(self) -> str:
        """Return a fresh subject for replies."""
        ...

    def on_state(self, told: Callable[[bool], None]) -> Callable[[], None]:
        """Call ``told(False)`` at each loss, ``told(True)`` at each reconnect, until stopped.

        Returns how to stop.
        """
        ...
