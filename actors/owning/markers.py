"""Markers: an epoch begins in the partition's own order."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import trio

from actors.store.stream_writer import StreamWriter
from protocols.errors import MovantError
from protocols.ports import Outgoing
from protocols.subjects import marker


async def mark(writer: StreamWriter, daemon: str, epochs: Mapping[int, int]) -> None:
    """Write the marker of an epoch in each of some partitions, and wait until they stand.

    Raises what the store refuses one of them with.
    """
    done = trio.Event()
    left = len(epochs)
    refused: list[MovantError] = []

    def written(_: int, error: MovantError | None) -> None:
        nonlocal left
        left -= 1
        if error is not None:
            refused.append(error)
        if not left:
            done.set()

    for partition, epoch in epochs.items():
        body = msgspec.json.encode({"epoch": epoch, "daemon": daemon})
        writer.write(Outgoing(marker(partition), body), written)
    await done.wait()
    if refused:
        raise refused[0]
