"""Ending: waits for the end of one instance, by its events and by looking.

Subscribe first and look then, so that nothing is missed; an event that carries the outcome
saves the second look. Events are not durable for a waiter, so it also looks once a second; a look
at what is under way has to be cheap, for there may be thousands who wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Self

import msgspec
import trio

from actors.owning.outbox import LifecycleData
from protocols.api import runs as api
from protocols.effects import FINAL, Status
from protocols.ports import Frame, Subscription, Transport

LOOK_S: Final = 1.0

Look = Callable[[], Awaitable[api.RunOutcome]]

_decoder: Final = msgspec.json.Decoder(LifecycleData)


class Ending:
    """An ``async with`` block in which the events of one instance are heard."""

    def __init__(self, transport: Transport, instance: str) -> None:
        self._transport = transport
        self._instance = instance
        self._changed = trio.Event()
        self._told: api.RunOutcome | None = None
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await self._transport.subscribe(
            f"movant.event.*.{self._instance}.*", self._take
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            self._subscription.unsubscribe()

    async def wait(self, look: Look, timeout_s: float, *, fresh: bool) -> api.RunOutcome:
        """Return how the instance stands at its end, when blocked, or after ``timeout_s``.

        ``fresh`` says that it was started just now: looking at once would tell nothing.
        """
        with trio.move_on_after(timeout_s):
            while self._told is None:
                if not fresh:
                    outcome = await look()
                    if outcome.status in FINAL or outcome.status == "blocked":
                        return outcome
                fresh = False
                with trio.move_on_after(LOOK_S):
                    await self._changed.wait()
                self._changed = trio.Event()
        return self._told or await look()

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            kind = frame.subject.rpartition(".")[2]
            if kind in FINAL:
                self._told = self._told or self._outcome(frame.payload, kind)
                self._changed.set()
            elif kind == "blocked":
                self._changed.set()

    def _outcome(self, payload: bytes, status: Status) -> api.RunOutcome | None:
        """Return the outcome that an event tells; None when it has to be looked up."""
        try:
            data = _decoder.decode(payload)
            result: Any = msgspec.json.decode(data.result) if bytes(data.result) else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if status == "completed" and not bytes(data.result):
            return None  # too large for an event
        return api.RunOutcome(
            id=self._instance,
            status=status,
            result=result,
            failure=data.failure,
            steps=data.steps,
        )


def outcome_of(view: api.RunView) -> api.RunOutcome:
    """Return the part of a view that tells how the instance ended."""
    return api.RunOutcome(
        id=view.id,
        status=view.status,
        result=view.result,
        failure=view.failure,
        blocked=view.blocked,
        steps=view.steps,
        result_blob=view.result_blob,
    )
