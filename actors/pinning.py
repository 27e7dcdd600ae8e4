"""Pinning: decides which definition a raw start is folded with (hazard F3).

The decision is a message, and it counts when it is folded: one that is only acknowledged may
still be void. A start of a workflow that nobody registered waits.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio

from actors.definitions import Definitions
from actors.outbox import Outbox
from actors.workflow import WorkflowActor
from protocols.effects import Pin
from protocols.errors import MovantError, NotFoundError

RETRY_S: Final = 1.0

log = structlog.get_logger()


class Pinning:
    """Pins instances for one owner."""

    outbox: Outbox
    """Set before ``pin``."""

    def __init__(self, definitions: Definitions, epoch: int) -> None:
        self._definitions = definitions
        self._epoch = epoch

    async def pin(self, actor: WorkflowActor, pin: Pin) -> None:
        """Write the decision, unless the workflow is not known."""
        while True:
            try:
                digest, _ = await self._definitions.latest(pin.workflow)
            except NotFoundError:
                log.warning("workflow.unknown", run=actor.id, workflow=pin.workflow)
                return
            except MovantError as error:
                log.warning("pin.waiting", run=actor.id, reason=str(error))
                await trio.sleep(RETRY_S)
                continue
            if actor.instance.is_open(pin):
                body = {"epoch": self._epoch, "definition": digest, "kernel": 1}
                self.outbox.decision(actor, "pinned", body, _pinned)
            return


def _pinned(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.error("pin.refused", reason=str(error))
