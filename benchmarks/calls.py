"""Calls: what a process notes of each request, in a file that outlives it.

A record has 16 bytes: a digest of the request's key, and the time in nanoseconds since 1970.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

RECORD: Final = struct.Struct("<8sQ")


class Called(NamedTuple):
    """One request: which key, and when in seconds since 1970."""

    digest: bytes
    at: float


def digest(key: str) -> bytes:
    """Return what stands for a key."""
    return blake2b(key.encode(), digest_size=8).digest()


def noter(path: Path | None) -> Callable[[str], object]:
    """Return what notes a request by its key; without a path that is nothing."""
    if path is None:
        return lambda _: None
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    return lambda key: os.write(descriptor, RECORD.pack(digest(key), time.time_ns()))


def count(path: Path) -> int:
    """Return how many requests are noted so far."""
    return path.stat().st_size // RECORD.size if path.exists() else 0


def read(path: Path) -> list[Called]:
    """Return all that is noted, in the order of writing."""
    raw = path.read_bytes() if path.exists() else b""
    whole = len(raw) - len(raw) % RECORD.size
    return [Called(key, at / 1e9) for key, at in RECORD.iter_unpack(raw[:whole])]
