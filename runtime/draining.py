"""Draining: let what is under way be stored, and hand over what this daemon owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog
import trio

from actors.store import streams
from protocols.errors import MovantError

if TYPE_CHECKING:
    from runtime.parts import Parts

STREAMS: Final = ("MAIL", "TIMERS", "EVENTS", "ARCHIVE", "DEAD")
"""The streams that a daemon writes to."""
AGAIN_S: Final = 0.25

log = structlog.get_logger()


async def drain(parts: Parts) -> None:
    """Take nothing new and hand over; when the server does not answer, again, for ever."""
    while True:
        try:
            await _hand_over(parts)
        except MovantError as error:
            log.warning("drain.waiting", reason=str(error))
            await trio.sleep(AGAIN_S)
        else:
            return


async def _hand_over(parts: Parts) -> None:
    await streams.patiently(parts.leases.drain)
    parts.readers.stop()
    await parts.owner.drained()
    await parts.local.drained()
    for name in STREAMS:
        await parts.writers[name].drained()
    await streams.patiently(parts.assignment.give_all)
    await streams.patiently(parts.leases.leave)
