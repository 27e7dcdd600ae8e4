"""Leaves: what statements name a stored message by, the same from wherever it was read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from protocols.witness import leaf

if TYPE_CHECKING:
    from actors.owning.letters import Delivery

_SERVER_LINES: Final = b"\r\nNats-Stream: "
_BATCH_LINES: Final = re.compile(rb"Nats-Batch-(?:Id|Sequence|Commit): [^\r]*\r\n")
_EMPTY_BLOCK: Final = b"NATS/1.0\r\n\r\n"


def leaf_of(delivery: Delivery) -> bytes:
    """Return what statements name a stored message by: the same however it was read."""
    raw = delivery.headers
    headers = plain_headers(raw) if raw else raw
    return leaf(delivery.seq, delivery.at, delivery.subject, headers, delivery.payload)


def plain_headers(raw: bytes) -> bytes:
    """Return a header block as its sender wrote it: without the server's and a batch's lines."""
    if not raw:
        return raw
    cut = raw.rfind(_SERVER_LINES)  # the server's lines stand behind all others
    if cut >= 0:
        raw = raw[: cut + 2] + b"\r\n"
    if b"Nats-Batch-" in raw:
        raw = _BATCH_LINES.sub(b"", raw)
    return b"" if raw == _EMPTY_BLOCK else raw
