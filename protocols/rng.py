"""A random generator whose numbers never change: SHA-256 over seed and counter.

``random.Random`` may change its helpers between Python versions; a history that was folded
with one version must fold to the same state with the next.
"""

from __future__ import annotations

import hashlib
from typing import Final

_UNIT: Final = 1 << 53


class Rng:
    """A deterministic stream of numbers for one seed."""

    __slots__ = ("_counter", "_seed")

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._counter = 0

    def _next(self) -> bytes:
        self._counter += 1
        return hashlib.sha256(b"%b:%d" % (self._seed, self._counter)).digest()

    def random(self) -> float:
        """Return a float in [0, 1)."""
        return (int.from_bytes(self._next()[:8]) >> 11) / _UNIT

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]. Raises ValueError when the range is empty."""
        if low > high:
            message = f"empty range {low}..{high}"
            raise ValueError(message)
        return low + int.from_bytes(self._next()) % (high - low + 1)

    def uuid(self) -> str:
        """Return a version 4 UUID as text."""
        raw = bytearray(self._next()[:16])
        raw[6] = raw[6] & 0x0F | 0x40
        raw[8] = raw[8] & 0x3F | 0x80
        text = raw.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
