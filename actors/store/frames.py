"""What the server answers to a direct get, as the message that is stored."""

from __future__ import annotations

from actors.owning.letters import Delivery
from protocols.events import from_time
from protocols.ports import Frame


def delivery_of(frame: Frame) -> Delivery:
    """Return the message that a frame of a direct get holds."""
    raw = frame.headers
    return Delivery(
        int(_own(raw, b"\r\nNats-Sequence: ")),
        from_time(_own(raw, b"\r\nNats-Time-Stamp: ").decode()),
        _own(raw, b"\r\nNats-Subject: ").decode("utf-8", "backslashreplace"),
        raw,
        frame.payload,
    )


def _own(raw: bytes, name: bytes) -> bytes:
    """Return what the server says: its lines are behind those that were stored, which may lie."""
    start = raw.rindex(name) + len(name)
    return raw[start : raw.index(b"\r\n", start)]
