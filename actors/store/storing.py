"""Storing: large values go into BLOBS before the message that refers to them is written.

A put that cannot be done now is tried again, as the effect that needs it is not settled before:
after a crash the fold asks for it again. What is over the limit is told to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
import trio

from actors.store.blobs import Blobs
from protocols import headers as h
from protocols.blobs import BLOB, Blob
from protocols.errors import MovantError, RefusedError

AGAIN_S: Final = 1.0
REFERENCE_LINES: Final = h.encode({h.CONTENT_TYPE: BLOB})
"""Header lines of a message that carries a reference."""

log = structlog.get_logger()

Stored = Callable[[Blob | None, MovantError | None], None]
"""Told the reference, or why there will never be one."""


class Storing:
    """Stores values beside what goes on. ``start_soon`` runs the work."""

    def __init__(self, blobs: Blobs, start_soon: Callable[..., Any]) -> None:
        self._blobs = blobs
        self.start_soon = start_soon

    def soon(self, instance: str, content: bytes, stored: Stored) -> None:
        """Store a content for a run and tell the reference."""
        self.start_soon(self._store, instance, content, stored)

    async def _store(self, instance: str, content: bytes, stored: Stored) -> None:
        while True:
            try:
                stored(await self._blobs.put(instance, content), None)
            except RefusedError as error:
                stored(None, error)
            except MovantError as error:
                log.warning("blob.waiting", run=instance, reason=error.message)
                await trio.sleep(AGAIN_S)
                continue
            return

    async def surely(self, instance: str, content: bytes) -> Blob:
        """Store a content, however long that takes: who asks has nobody to tell a refusal.

        The limit of this process is for inputs of steps, which fail then; this has to be kept.
        """
        while True:
            try:
                return await self._blobs.put(instance, content, limited=False)
            except MovantError as error:
                log.error("blob.waiting", run=instance, reason=error.message)
            await trio.sleep(AGAIN_S)
