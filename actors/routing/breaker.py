"""Breaker: stops asking a service that is ill, and finds out when it is well again.

    closed -- 10 of the last 12 answers say "ill" --> open -- 10 s --> half open
      ^------------------- a try succeeds ------------------------------'  |
                                            open, for twice as long <------' a try fails

Ill is who does not answer, or answers that it is not able to. A refusal is an answer of a
healthy service. Pure: the time is an argument, in seconds on the monotonic clock.
"""

from __future__ import annotations

from math import inf
from typing import Final, Literal

from protocols.error_kinds import ILL, classify
from protocols.failure import Failure
from protocols.flow import FlowSettings, Forced

FORGET_S: Final = 300.0
"""Answers that are older than this say nothing about a service now."""

State = Literal["closed", "open", "half_open"]


def says_ill(failure: Failure) -> bool:
    """Tell whether a failure says that the service is ill: by its root cause, or when unknown.

    A refusal never does: who says that asking again cannot help has understood the request.
    One that names a time to come again says that it is busy: see ``Flow.answered``.
    """
    if not failure.retryable or failure.retry_after_s is not None:
        return False
    return failure.unknown or classify(failure) in ILL


class Breaker:
    """The breaker of one service."""

    __slots__ = (
        "_mask",
        "_open_s",
        "_outcomes",
        "_settings",
        "_try_at",
        "changed_at",
        "forced",
        "opened",
        "state",
    )

    def __init__(self, settings: FlowSettings) -> None:
        self._settings = settings
        self._mask = (1 << settings.breaker_of) - 1
        self._outcomes = 0
        """The last answers as bits, the newest lowest: 1 is a failure."""
        self._open_s = settings.breaker_open_s
        self._try_at = 0.0
        self.changed_at = 0.0
        """When it was opened or heard of a failure last."""
        self.state: State = "closed"
        self.forced: Forced = ""
        self.opened = 0
        """How often it has opened by itself."""

    @property
    def calm(self) -> bool:
        """True while it is closed and remembers no failure: nobody has to tell it of successes."""
        return self.state == "closed" and not self._outcomes and not self.forced

    def shown(self) -> str:
        """Return its state for people."""
        return f"{self.forced} (forced)" if self.forced else self.state

    def wait_s(self, now: float) -> float:
        """Return how long the next request has to wait; 0: it may go now."""
        if self.forced or self.state == "closed":
            return inf if self.forced == "open" else 0.0
        if now < self._try_at:
            return self._try_at - now
        self.state = "half_open"
        return 0.0

    def went(self, now: float) -> None:
        """Note that a request was sent: when half open it is the try, and the next one waits.

        A try that is never answered must not close the way for ever.
        """
        if self.state == "half_open":
            self._try_at = now + self._open_s

    def succeeded(self, sent_at: float, now: float) -> bool:
        """Note a success of a request that was sent then; True when that closes the breaker."""
        if self.state == "closed":
            self._outcomes = self._kept(now) << 1 & self._mask
            return False
        if sent_at < self.changed_at:
            return False  # it was under way before: it says nothing about now
        self.close()
        return True

    def failed(self, sent_at: float, now: float) -> bool:
        """Note a failure that says "ill"; True when that opens the breaker."""
        settings = self._settings
        if not settings.breaker_failures:
            return False
        if self.state == "closed":
            self._outcomes = (self._kept(now) << 1 | 1) & self._mask
            self.changed_at = now
            if self._outcomes.bit_count() < min(settings.breaker_failures, settings.breaker_of):
                return False
            self._open_s = settings.breaker_open_s
            self.opened += 1
        elif self.state == "open" or sent_at < self.changed_at:
            return False
        else:
            self._open_s = min(self._open_s * 2.0, settings.breaker_open_max_s)
        self.state = "open"
        self.changed_at = now
        self._try_at = now + self._open_s
        return True

    def hurry(self, now: float) -> None:
        """Let the next try go now: there is a sign of life."""
        self._try_at = min(self._try_at, now)

    def close(self) -> None:
        """Close it and forget all failures."""
        self.state = "closed"
        self._outcomes = 0

    def _kept(self, now: float) -> int:
        return self._outcomes if now - self.changed_at <= FORGET_S else 0
