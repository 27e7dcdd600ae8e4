"""Is the connection alive? Decided by messages of our own that went through the server.

``is_connected`` of a client says what it believes; a PONG says that a server answers its
socket. A probe is a message to a subject that we subscribe ourselves: it comes back only
when reading, writing, the subscription and the routing of the server work. Pure: the caller
sends, and tells when something came back.
"""

from __future__ import annotations

from enum import Enum, auto


class Verdict(Enum):
    """What the caller does at a beat."""

    PROBE = auto()
    """Send a probe with number ``sent``."""
    WAIT = auto()
    """No probe: we do not read ourselves, so silence says nothing."""
    DEAF = auto()
    """Give the connection up."""


class Watchdog:
    """Counts probes that were not answered in a row; one connection has one."""

    def __init__(self, misses_max: int) -> None:
        self.sent = 0
        self.misses = 0
        self.misses_total = 0
        self.rtt_s = 0.0
        self._misses_max = misses_max
        self._sent_at: float | None = None

    def beat(self, now: float, *, reading: bool) -> Verdict:
        """Decide at each interval. ``reading`` is False while back-pressure stops the reading."""
        if not reading:
            self._sent_at = None
            self.misses = 0
            return Verdict.WAIT
        if self._sent_at is not None:
            self.misses += 1
            self.misses_total += 1
            if self.misses >= self._misses_max:
                return Verdict.DEAF
        self.sent += 1
        self._sent_at = now
        return Verdict.PROBE

    def answered(self, now: float, number: int) -> None:
        """Take note of an answer. A late one, to an earlier probe, proves life as well."""
        self.misses = 0
        if number == self.sent and self._sent_at is not None:
            self.rtt_s = now - self._sent_at
            self._sent_at = None
