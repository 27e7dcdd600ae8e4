"""Watching one run: its live events, with no gap between the subscription and its state.

    subscribe -> ask for the state -> events as they come -> the event that ends the run

Live events are not stored, so the state is asked again after every loss of the connection and
after a long silence: the end of a run is never missed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final

import trio

from protocols import headers
from protocols.api import runs as api
from protocols.effects import FINAL
from protocols.errors import BadValueError, OverloadedError
from protocols.events import Event, from_wire
from protocols.ports import Frame
from runtime.client.calls import Calls

EVENTS_MAX: Final = 10_000
"""Events that may wait for their reader; a slower one is told that it is too slow."""
SILENCE_S: Final = 15.0
"""After this much silence the run's state is asked again."""


class _Inflow:
    """What comes from the subscription, until the reader takes it."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.overrun = False
        self.stale = True
        """The state has to be asked: at the beginning and after a reconnect."""
        self.changed = trio.Event()

    def take(self, frames: Sequence[Frame]) -> None:
        """Keep the events among the frames; what cannot be read still tells that something was."""
        for frame in frames:
            try:
                event = from_wire(headers.decode(frame.headers) or {}, frame.payload)
            except BadValueError:
                self.stale = True
                continue
            if len(self.events) >= EVENTS_MAX:
                self.overrun = True
            else:
                self.events.append(event)
        self.wake()

    def reconnected(self, connected: bool) -> None:  # noqa: FBT001 - the port's signature
        """Remember that events may have been missed."""
        if connected:
            self.stale = True
            self.wake()

    def wake(self) -> None:
        """Let the reader look."""
        self.changed.set()
        self.changed = trio.Event()


async def watch(calls: Calls, run: str) -> AsyncIterator[Event]:
    """Yield the events of a run up to the one that ends it; see ``Client.watch``."""
    inflow = _Inflow()
    subscription = await calls.transport.subscribe(f"movant.event.*.{run}.>", inflow.take)
    stop = calls.transport.on_state(inflow.reconnected)
    seen: set[str] = set()
    try:
        while True:
            while inflow.events:
                event = inflow.events.popleft()
                if event.id in seen:
                    continue
                if event.kind in _FINAL_KINDS:
                    yield event
                    return
                seen.add(event.id)
                yield event
            if inflow.overrun:
                raise OverloadedError(
                    f"{EVENTS_MAX} events of run {run} came faster than they were read",
                    hint=f"movant run history {run} has all of them",
                )
            changed = inflow.changed
            if inflow.stale:
                inflow.stale = False
                view = await calls.call("run.show", api.RunShow(id=run), api.RunView)
                if view.status in FINAL and not any(
                    each.kind in _FINAL_KINDS for each in inflow.events
                ):
                    inflow.events.append(_ended(view))
                continue
            with trio.move_on_after(SILENCE_S) as silence:
                await changed.wait()
            if silence.cancelled_caught:
                inflow.stale = True
    finally:
        stop()
        subscription.unsubscribe()


_FINAL_KINDS: Final = frozenset(FINAL)
"""Events that end a run are named like its final states."""


def _ended(view: api.RunView) -> Event:
    """Return the event that ended a run whose events are gone."""
    data = {"result": view.result} if view.failure is None else {"failure": view.failure}
    return Event(
        id=f"{view.id}/{view.status}",
        kind=view.status,
        workflow=view.workflow,
        instance=view.id,
        at=view.finished_at,
        data=data,
    )
