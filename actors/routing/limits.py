"""Limits: how many requests per second may go, as a bucket of tokens that fills with time.

Pure: the time is an argument, in seconds on the monotonic clock.
"""

from __future__ import annotations

from typing import Final

BURST_S: Final = 0.1
"""A burst that is not given is what comes in this time."""
RAMP_BURST_S: Final = 0.02
DOUBLINGS_MAX: Final = 30


class Bucket:
    """``rate_per_s`` tokens a second, at most ``burst`` of them kept."""

    __slots__ = ("_at", "_tokens", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float = 0.0) -> None:
        self.rate_per_s = rate_per_s
        self.burst = max(burst or rate_per_s * BURST_S, 1.0)
        self._tokens = self.burst
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """Return how long to wait for a token; 0: there is one."""
        self._fill(now)
        missing = 1.0 - self._tokens
        # A wait that rounds to nothing would come back at once and find nothing, again and again.
        return max(missing / self.rate_per_s, 1e-6) if missing > 1e-9 else 0.0  # noqa: PLR2004

    def take(self, now: float) -> None:
        """Take a token, also one that is not there yet: then others wait longer."""
        self._fill(now)
        self._tokens -= 1.0

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._tokens + (now - self._at) * self.rate_per_s, self.burst)
            self._at = now


class Ramp:
    """A bucket for what was parked: its rate doubles each second, so that it catches up.

    With a fixed rate a service that is asked more often than that would never catch up.
    """

    __slots__ = ("_began", "_bucket", "_rate_per_s")

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._bucket = Bucket(rate_per_s)
        self._began = 0.0

    def begin(self, now: float) -> None:
        """Begin at the first rate again."""
        self._began = now
        self._bucket = Bucket(self._rate_per_s, self._rate_per_s * RAMP_BURST_S)
        self._bucket.take(now)

    def wait_s(self, now: float) -> float:
        """Return how long to wait for a token; 0: there is one."""
        doublings = min(int(now - self._began), DOUBLINGS_MAX)
        self._bucket.rate_per_s = self._rate_per_s * 2.0**doublings
        self._bucket.burst = max(self._bucket.rate_per_s * RAMP_BURST_S, 1.0)
        return self._bucket.wait_s(now)

    def take(self, now: float) -> None:
        """Take a token."""
        self._bucket.take(now)
