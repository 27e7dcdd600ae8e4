"""Writing: many writes of one purpose, a bounded part of them at once, until all are stored."""

from __future__ import annotations

from typing import Final

import trio

from actors.store.stream_writer import StreamWriter
from protocols.errors import AlreadyExistsError, MovantError, OverloadedError
from protocols.ports import Outgoing

WRITE_BYTES: Final = 128 * 1024
"""Under way at once: what others write shall not wait behind megabytes."""
RETRY_S: Final = 0.5


class Writing:
    """Writes of one chunk, a bounded part of them at once."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._open_bytes = 0
        self._changed = trio.Event()
        self._error: MovantError | None = None

    async def write(self, message: Outgoing) -> None:
        """Queue a message when there is room; raises what refused one before it."""
        size = len(message.payload)
        while self._open_bytes and self._open_bytes + size > WRITE_BYTES:
            await self._wait()
        if self._error is not None:
            raise self._error

        def told(_: int, error: MovantError | None) -> None:
            self._open_bytes -= size
            # Stored by a pass that ended before its mark: the same subject is the same content.
            if error is not None and not isinstance(error, AlreadyExistsError):
                self._error = error
            self._changed.set()

        while True:
            try:
                self._writer.write(message, told)
                break
            except OverloadedError:
                await trio.sleep(RETRY_S)
        self._open_bytes += size

    async def done(self) -> None:
        """Wait until everything is stored."""
        while self._open_bytes:
            await self._wait()
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._changed = trio.Event()
        await self._changed.wait()
