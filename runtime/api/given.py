"""Given: a value that a client gives, and what stands for it in the mailbox."""

from __future__ import annotations

from typing import Any, NamedTuple

from actors.store.blobs import Blobs
from actors.store.storing import REFERENCE_LINES
from protocols import codec
from protocols.blobs import BLOB_BYTES_MAX, INLINE_BYTES_MAX, LARGE, Blob, checked, encoded
from protocols.headers import JSON
from protocols.subjects import check_id


class Given(NamedTuple):
    """A value, its payload in the mailbox, and header lines for that."""

    value: Any
    body: bytes
    lines: bytes = b""


async def given(
    blobs: Blobs, instance: str, value: Any, blob: Blob | None, *, begins: bool = False
) -> Given:
    """Return what a client gives, or has stored before; a large one is stored here.

    ``begins``: a run begins with it; the last of the room is kept for those that have begun.
    Raises NotFoundError for a blob that is not there, OverloadedError when there is no room.
    """
    if blob is not None:
        if begins:
            await blobs.check_room()
        content = await blobs.get(check_id(instance), checked(blob))
        value = codec.decode(content, (blob.content_type or JSON) + LARGE)
        return Given(value, encoded(blob), REFERENCE_LINES)
    body = codec.encode(value, limit=BLOB_BYTES_MAX)
    if len(body) <= INLINE_BYTES_MAX:
        return Given(value, body)
    if begins:
        await blobs.check_room()
    return Given(value, encoded(await blobs.put(check_id(instance), body)), REFERENCE_LINES)


def small(value: Any) -> Given:
    """Return a value of many: each has to fit a message. Raises OversizedError."""
    return Given(value, codec.encode(value))
