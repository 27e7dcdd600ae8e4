"""Calls: what a process notes of each request, in a file that outlives it.

The file is mapped into memory, so a note costs no system call and is there even when the
process is killed right after it. It begins with the number of records. A record has 16 bytes: a
digest of the request's key, and the time in nanoseconds since 1970.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

HEAD: Final = struct.Struct("<Q")
RECORD: Final = struct.Struct("<8sQ")
RECORDS_MAX: Final = 4_000_000
"""A file has holes where nothing was written."""
BYTES: Final = HEAD.size + RECORDS_MAX * RECORD.size


class Called(NamedTuple):
    """One request: which key, and when in seconds since 1970."""

    digest: bytes
    at: float


def digest(key: str) -> bytes:
    """Return what stands for a key."""
    return blake2b(key.encode(), digest_size=8).digest()


def noter(path: Path | None) -> Callable[[str], None]:
    """Return what notes a request by its key; without a path that is nothing."""
    if path is None:
        return lambda _: None
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.ftruncate(descriptor, BYTES)
    mapped = mmap.mmap(descriptor, BYTES)
    os.close(descriptor)
    (noted,) = HEAD.unpack_from(mapped)

    def note(key: str) -> None:
        nonlocal noted
        RECORD.pack_into(mapped, HEAD.size + noted * RECORD.size, digest(key), time.time_ns())
        noted += 1
        HEAD.pack_into(mapped, 0, noted)

    return note


def count(path: Path) -> int:
    """Return how many requests are noted so far."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        raw = file.read(HEAD.size)
    return int(HEAD.unpack(raw)[0]) if len(raw) == HEAD.size else 0


def read(path: Path) -> list[Called]:
    """Return all that is noted, in the order of writing."""
    noted = count(path)
    if not noted:
        return []
    with path.open("rb") as file:
        raw = file.read(HEAD.size + noted * RECORD.size)
    return [Called(key, at / 1e9) for key, at in RECORD.iter_unpack(raw[HEAD.size :])]
