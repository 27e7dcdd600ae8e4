"""Passivation: settled instances leave memory; what is open for long is covered by a wake.

A wake is a durable timer of the instance: when its firing is folded, every effect with a cause
at or above ``since`` is due again. So an hour-long step costs one stored message a while and
no memory. A wake is never cancelled; arming the next one replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

import trio

from actors.core.slices import in_slices, parts
from actors.motions.places import Places
from actors.owning.guards import GUARD_S, Guards
from actors.owning.outbox import Outbox
from actors.owning.workflow import WorkflowActor
from actors.routing.requests import Requests
from protocols.archive import Wake
from protocols.effects import Enqueue, Pin
from protocols.errors import MovantError
from protocols.mail import Woken
from protocols.ports import Clock

IDLE_S: Final = 2.0
EVERY_S: Final = 0.5
COVER_AFTER_S: Final = 60.0
"""An effect that is open for longer is covered by a wake."""
LONG_MESSAGES: Final = 1_000
LONG_IDLE_S: Final = 60.0
"""Who has so many messages stays longer: bringing it back means to fold all of them."""
CROWDED_S: Final = 1.0
"""The same while more instances are in memory than the limit allows."""
WAKE_MIN_S: Final = 1.0
WAKE_MAX_S: Final = 900.0
PARKED_WAKE_S: Final = 30.0
"""When a parked instance first looks whether its service has come; each time it doubles.

The daemon itself remembers who is parked and looks much sooner; a wake is for its crash.
"""
DOUBLINGS_MAX: Final = 10


class Passivation:
    """Drops settled actors and covers long-lasting effects."""

    def __init__(
        self,
        clock: Clock,
        live: dict[str, WorkflowActor],
        drop: Callable[[WorkflowActor], None],
        epoch_of: Callable[[int], int],
        may_act: Callable[[int], bool],
        *,
        places: Places,
        live_max: int,
    ) -> None:
        self._clock = clock
        self._live = live
        self._drop = drop
        self._epoch_of = epoch_of
        self._may_act = may_act
        self.guards = Guards(clock)
        self._live_max = live_max
        self._places = places
        self.count = 0
        self.wakes = 0
        self.outbox: Outbox
        self.requests: Requests

    async def run(self) -> None:
        """Look at all live actors twice a second until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            now = self._clock.monotonic()
            # Above the limit nobody is turned away: replies have to be taken, or nothing would
            # ever end. Whoever only waits has to leave sooner.
            crowded = len(self._live) > self._live_max
            look = partial(self._look, now=now, crowded=crowded)
            for part in parts(list(self._live.values())):
                due = [
                    actor
                    for actor in part
                    if actor.idle_until <= now
                    or (actor.touched <= now - IDLE_S and actor.touched != actor.idle_since)
                    or crowded
                ]
                await in_slices(due, look)
                await trio.lowlevel.checkpoint()

    def _look(self, actor: WorkflowActor, *, now: float, crowded: bool) -> bool:
        """Drop an actor, or arm what lets it be dropped soon; tell whether there was something."""
        settled_s, open_s = (0.0, CROWDED_S) if crowded else (IDLE_S, COVER_AFTER_S)
        idle_s = now - actor.touched
        kept = len(actor.guards)
        since = now
        if kept:
            since = min([each for _, each in actor.guards.values()])
            before = now if idle_s >= settled_s and not actor.asks else now - GUARD_S
            if since <= before:
                self.guards.arm(actor, self.outbox, before=before)
        armed = len(actor.guards) < kept
        if not crowded and actor.instance.messages > LONG_MESSAGES:
            settled_s = LONG_IDLE_S
        if idle_s < settled_s or actor.backlog or actor.activating or actor.gone:
            _rest(actor, settled_s, since)
            return armed
        actor.close_asks()
        if actor.settled and not actor.needed_here:
            self.count += 1
            self.requests.parking.remember(actor)
            self._places.keep(actor)
            self._drop(actor)
            return True
        if idle_s <= open_s:
            if not (actor.unsettled or actor.held or actor.settled):
                _rest(actor, open_s, since)
            return armed
        return self.cover(actor) or armed

    def cover(self, actor: WorkflowActor) -> bool:
        """Arm a wake for what is open, so that the actor may leave memory; tell whether it was.

        Not by a former owner: his wake would replace the next one's, and tell of steps that
        they were never sent.
        """
        if not self._may_act(actor.partition):
            return False
        self.guards.arm(actor, self.outbox, before=inf)
        asks = list(actor.asks.values())
        pins = [x for x in actor.unsettled.values() if isinstance(x, Pin | Enqueue)]
        if actor.waking or not (asks or pins):
            return False
        now = self._clock.monotonic()
        at = min((min(each.deadline, each.reask_at) for each in asks), default=inf)
        if pins or any(each.parked for each in asks):
            at = min(at, now + PARKED_WAKE_S * 2.0 ** min(actor.woken_number, DOUBLINGS_MAX))
        delay_s = min(max(at - now, WAKE_MIN_S), WAKE_MAX_S)
        causes = [each.ask.cause for each in asks] + [each.cause for each in pins]
        number = actor.wake_number = actor.wake_number + 1
        actor.waking = True
        self.wakes += 1
        wake = Wake(
            number=number,
            epoch=self._epoch_of(actor.partition),
            since=min(causes),
            parked=tuple(each.ask.step for each in asks if each.never_sent),
        )

        def written(_: int, error: MovantError | None) -> None:
            actor.waking = False
            # An acknowledgement that comes after the firing was folded covers nothing.
            if error is None and actor.woken_number < number:
                actor.pin_covered = bool(pins)
                for each in asks:
                    each.covered = True
            else:
                actor.attend_at = 0.0  # what waited for this wake has to be looked at now

        self.outbox.wake(actor, wake, self._clock.now_ns() + int(delay_s * 1e9), written)
        return True


def _rest(actor: WorkflowActor, idle_s: float, since: float) -> None:
    """Let an actor be until it was idle for so long, or what is kept ``since`` then is due.

    Not for longer than that takes: one who folds something every second gets new guards.
    """
    actor.idle_since = actor.touched
    actor.idle_until = min(actor.touched + idle_s, since + GUARD_S)


def woken(actor: WorkflowActor, mail: Woken) -> None:
    """Uncover what a wake covered: somebody has to look again now."""
    # Whatever its number: a former owner's wake may have replaced the one that is being armed.
    actor.woken_number = actor.wake_number = max(actor.wake_number, mail.number)
    for state in actor.asks.values():
        if state.ask.cause >= mail.since:
            state.covered = False
    actor.pin_covered = False
    actor.attend_at = 0.0
