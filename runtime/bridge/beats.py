"""A message that is sent again and again, by the asyncio thread alone.

For what has to go out in time however busy the trio thread is: the renewal of a lease. It goes
straight to the socket, past the outbox, and its answer is taken before trio sees anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from protocols.ports import Beat, Frame
from runtime.bridge import wire

OPEN_MAX: Final = 64
"""Beats whose answer is waited for; the oldest are given up first."""


class Beats:
    """What to send next, and who is told the answers; used on the asyncio thread only."""

    def __init__(self, inbox: str) -> None:
        self._inbox = inbox
        self._number = 0
        self._open: dict[str, Callable[[bytes], None]] = {}
        self.source: Callable[[], Beat | None] = _none
        self.every_s = 0.0
        """0: there is nothing to send."""

    @property
    def subject(self) -> str:
        """What answers are subscribed by."""
        return f"{self._inbox}.*"

    def next(self, payload_bytes_max: int) -> bytes:
        """Return the bytes that send the next beat; empty when there is none now."""
        beat = self.source()
        if beat is None:
            return b""
        self._number += 1
        reply = f"{self._inbox}.{self._number}"
        line = wire.publish(beat.message, payload_bytes_max, reply)
        if len(self._open) >= OPEN_MAX:
            del self._open[next(iter(self._open))]
        self._open[reply] = beat.answered
        return line

    def answered(self, frames: Sequence[Frame]) -> None:
        """Hand answers on; what comes late or twice is nobody's."""
        for frame in frames:
            told = self._open.pop(frame.subject, None)
            if told is not None:
                told(frame.payload)


def _none() -> Beat | None:
    return None
