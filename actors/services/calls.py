"""Calls: what a handler is told of a request, and how it tells that it is alive."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import trio

from protocols import codec
from protocols import headers as h
from protocols.errors import BadValueError, MovantError, OversizedError
from protocols.ports import Clock, Outgoing, Transport
from protocols.service import Call
from protocols.subjects import BEATS

EACH: Final = 10
"""Beats that go out in the time of one that has to: the others are left out."""


class Beating:
    """Sends the beats of one request: to all attempts that wait for its answer."""

    def __init__(self, transport: Transport, clock: Clock, subject: str, every_s: float) -> None:
        self._publish = transport.publish
        self._clock = clock
        self.subjects = [subject]
        self._pause_s = every_s / EACH
        self._sent_at = -inf
        self._token = trio.lowlevel.current_trio_token()

    def __call__(self, details: Any) -> None:
        """Send a beat, unless one was sent just now; from any thread."""
        body = codec.encode(details, limit=h.BEAT_BYTES_MAX)
        now = self._clock.monotonic()
        if now - self._sent_at >= self._pause_s:
            self._sent_at = now
            with suppress(trio.RunFinishedError):  # nobody is left who could send it
                self._token.run_sync_soon(self._send, body)

    def also(self, other: Beating) -> None:
        """Beat for another attempt as well, which has come for the same work."""
        self.subjects += [each for each in other.subjects if each not in self.subjects]

    def _send(self, body: bytes) -> None:
        for subject in self.subjects:
            with suppress(MovantError):  # a beat that is lost is followed by others
                self._publish(Outgoing(subject, body, b""))


def read_call(
    service: str, operation: str, raw: bytes, transport: Transport, clock: Clock
) -> tuple[Call, str]:
    """Return what the headers of a request say, and how its payload is encoded."""
    found = h.decode(raw) if raw else None
    if not found:
        return Call(service, operation), ""
    attempt = found.get(h.ATTEMPT, "1")
    call = Call(
        service,
        operation,
        found.get(h.KEY, ""),
        int(attempt) if attempt.isascii() and attempt.isdigit() else 1,
        _number(found.get(h.TIMEOUT, "0")),
        found.get(h.TRACEPARENT, ""),
        found.get(h.UNDOES, ""),
        *(_beats(found, transport, clock) if h.BEAT in found else ()),
    )
    return call, found.get(h.CONTENT_TYPE, "")


def _beats(
    found: dict[str, str], transport: Transport, clock: Clock
) -> tuple[float, Any, Beating | None]:
    every_s, subject = _number(found.get(h.HEARTBEAT, "0")), found[h.BEAT]
    last: Any = None
    with suppress(BadValueError, OversizedError):
        last = codec.decode(unquote_to_bytes(found.get(h.LAST, "")))
    # Who asks chooses where beats go, and they go there with our rights.
    ours = subject.startswith(BEATS[:-1]) and "*" not in subject and ">" not in subject
    return every_s, last, Beating(transport, clock, subject, every_s) if ours else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
