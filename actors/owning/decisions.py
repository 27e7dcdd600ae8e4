"""Decisions: what the owner decides about an instance, written as messages.

    pinned     which definition a raw start is folded with (hazard F3)
    timeout    an attempt is given up
    refused    an attempt is not sent: nobody serves it, or it cannot be sent
    routed     who serves an attempt, chosen among the candidates of its route (hazard F4)
    continued  a generation has begun, and all that former ones asked for is done

A decision acts when it is folded: one that is only acknowledged may still be void.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
import trio

from actors.definitions.registry import Definitions
from actors.owning.outbox import Outbox
from actors.owning.workflow import OpenAsk, WorkflowActor
from protocols.effects import Continue, Pin
from protocols.errors import MovantError, NotFoundError
from protocols.failure import Failure
from protocols.mail import KERNEL
from protocols.routes import Scored

RETRY_S: Final = 1.0

log = structlog.get_logger()


class Decisions:
    """Decides for one owner, under the epoch of each partition."""

    outbox: Outbox
    """Set before ``pin``."""

    def __init__(self, definitions: Definitions, epoch_of: Callable[[int], int]) -> None:
        self._definitions = definitions
        self._epoch_of = epoch_of

    async def pin(self, actor: WorkflowActor, pin: Pin) -> None:
        """Pin a raw start; one of a workflow that nobody registered waits."""
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
            if actor.instance.is_open(pin) and not actor.gone:
                epoch = self._epoch_of(actor.partition)
                body = {"epoch": epoch, "definition": digest, "kernel": KERNEL}
                self.outbox.decision(actor, "pinned", body, _pinned)
            return

    def attempt(self, actor: WorkflowActor, state: OpenAsk, failure: Failure | None) -> None:
        """Refuse an attempt with a failure, or give it up as timed out."""
        ask = state.ask
        epoch = self._epoch_of(actor.partition)
        body: dict[str, Any] = {"epoch": epoch, "step": ask.step, "attempt": ask.attempt}
        kind = "timeout"
        if failure is not None:
            kind, body["failure"] = "refused", failure

        def written(_: int, error: MovantError | None) -> None:
            if error is not None:
                state.closing = False
                actor.attend_at = 0.0

        self.outbox.decision(actor, kind, body, written)

    def routed(
        self,
        actor: WorkflowActor,
        state: OpenAsk,
        service: str,
        candidates: tuple[Scored, ...],
        reason: str,
    ) -> None:
        """Say who serves an attempt. Nobody is asked before that is folded."""
        ask = state.ask
        body = {
            "epoch": self._epoch_of(actor.partition),
            "step": ask.step,
            "attempt": ask.attempt,
            "service": service,
            "candidates": candidates,
            "reason": reason,
        }

        def written(_: int, error: MovantError | None) -> None:
            if error is not None:
                state.closing = False
                actor.attend_at = 0.0

        self.outbox.decision(actor, "routed", body, written)

    def continued(self, actor: WorkflowActor) -> None:
        """Record the newest generation as soon as what was asked for before it is acknowledged.

        A fold that begins there does not ask for that again. ``unsettled`` has the effects in
        the order of asking, so the record is due when it stands first.
        """
        actor.close_continues()
        first = next(iter(actor.unsettled.values()), None)
        if type(first) is not Continue or actor.gone:
            return
        snapshot = first.snapshot
        if actor.recording == snapshot.generation:
            return
        actor.recording = snapshot.generation
        body = {
            "epoch": self._epoch_of(actor.partition),
            "generation": snapshot.generation,
            "through": snapshot.through,
            "snapshot": snapshot,
        }

        def written(_: int, error: MovantError | None) -> None:
            if error is not None:
                log.error("continued.refused", run=actor.id, reason=str(error))
                actor.recording = 0  # again with the next acknowledgement or generation

        self.outbox.decision(actor, "continued", body, written)


def _pinned(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.error("pin.refused", reason=str(error))
