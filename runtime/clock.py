"""The real clock and the real entropy. Nothing else in movant asks the machine for either."""

from __future__ import annotations

import secrets
import time
from typing import Final

_BOOTTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On macOS the monotonic clock itself goes on while the machine sleeps."""


class SystemClock:
    """``protocols.ports.Clock`` on this machine."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970, UTC."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return seconds that never step back and go on while the machine is suspended."""
        return time.clock_gettime(_BOOTTIME)


class SystemEntropy:
    """``protocols.ports.Entropy`` of the operating system."""

    def token(self, bytes_count: int) -> str:
        """Return random hexadecimal text of ``2 * bytes_count`` characters."""
        return secrets.token_hex(bytes_count)
