"""Term: until when this daemon may act, by what its renewals earned.

A renewal counts from the moment when it was sent: others count from when they saw it, which is
later. One whose answer comes when the term is over earns nothing, since somebody may have taken
partitions over meanwhile; then only ``trust`` begins a new term.

Used from two threads: renewals are sent and answered on that of the connection, so that a busy
trio thread costs no lease, and before a request is written the connection asks as well.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

from actors.owning.membership import LEASE_S, RENEW_S
from protocols.ports import Clock

PAUSE_S: Final = LEASE_S / 2
"""Renewals further apart than this: the store was away, for others too."""
UNHEARD_S: Final = LEASE_S - 2 * RENEW_S
"""No renewal sent since was answered: the store may be away. A record of somebody else can be
one renewal older than the latest of ours, so this is said before his lease is over."""


class Term:
    """The term of one daemon's lease, by the clock that goes on while the machine is suspended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._renewed_at = float("-inf")
        self._until = float("-inf")
        self._paused = False
        self.over = False
        """Set once, by ``end``: nothing begins a term again."""

    @property
    def held(self) -> bool:
        """Whether this daemon may act now."""
        return self._clock.boottime() < self._until

    def renewed(self, began: float) -> None:
        """Take the news that a renewal that was sent at ``began`` is stored."""
        with self._lock:
            if began <= self._renewed_at:
                return
            if began - self._renewed_at > PAUSE_S:
                self._paused = True
            self._renewed_at = began
            if self._clock.boottime() < self._until:
                self._until = began + LEASE_S

    def trust(self) -> None:
        """Act under the latest renewal: the claims were looked at after the term was over."""
        with self._lock:
            if not self.over:
                self._until = self._renewed_at + LEASE_S

    def end(self) -> None:
        """Act no more."""
        with self._lock:
            self.over = True
            self._until = float("-inf")

    def unheard_s(self, now: float) -> float:
        """Return for how many seconds no renewal was heard to be stored."""
        return now - self._renewed_at

    def was_silent(self, now: float) -> bool:
        """Tell whether we could not renew, now or at any time since this was asked last.

        Others may have been as unable to: their silence up to now says nothing.
        """
        with self._lock:
            paused, self._paused = self._paused, False
            return paused or now - self._renewed_at > UNHEARD_S
