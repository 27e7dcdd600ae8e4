"""Checkpoints: kept in a key-value bucket, one key per partition, written when they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog
import trio

from actors.checkpoint import Checkpoint
from actors.kv import Kv
from actors.stream_writer import StreamWriter
from protocols.errors import MovantError
from protocols.ports import Outgoing

EVERY_S: Final = 1.0

log = structlog.get_logger()


class Checkpoints:
    """Loads and stores the checkpoints of all partitions."""

    def __init__(self, kv: Kv, writer: StreamWriter) -> None:
        self._kv = kv
        self._writer = writer
        self._stored: dict[int, Checkpoint] = {}

    async def load(self) -> dict[int, Checkpoint]:
        """Return what is stored, by partition."""
        self._stored = {
            int(each.key): msgspec.json.decode(each.value, type=Checkpoint)
            for each in await self._kv.all()
            if each.key.isdigit()
        }
        return dict(self._stored)

    async def marks(self) -> dict[int, int]:
        """Return the marks that are stored, by partition, those of other daemons too."""
        return {
            int(each.key): msgspec.json.decode(each.value, type=Checkpoint).mark
            for each in await self._kv.all()
            if each.key.isdigit()
        }

    async def run(self, take: Callable[[], Mapping[int, Checkpoint]]) -> None:
        """Store what ``take`` returns, once a second, until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            if not self._writer.depth:  # else the last one is still under way
                await self.store(take())

    async def store(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Store what has changed and wait until the server has it."""
        for partition, checkpoint in checkpoints.items():
            if checkpoint != self._stored.get(partition):
                self._stored[partition] = checkpoint
                self._writer.write(
                    Outgoing(self._kv.subject(str(partition)), msgspec.json.encode(checkpoint)),
                    _written,
                )
        await self._writer.drained()


def _written(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.error("checkpoint.refused", reason=str(error))
