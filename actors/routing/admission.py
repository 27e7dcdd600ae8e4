"""Admission: whether a request may be sent now, or is parked.

    paused by hand? -> service chosen? -> somebody there? -> its flow lets it go? -> sent

A request that was sent has its place. It is not asked for again while nobody may ask.
"""

from __future__ import annotations

from actors.owning.workflow import OpenAsk, WorkflowActor
from actors.routing.choosing import Choosing
from actors.routing.flow import Flow
from actors.routing.holds import Holds
from actors.routing.parking import Parking
from actors.routing.router import Router
from protocols.flow import Hold
from protocols.ports import Clock


class Admission:
    """Decides for one owner; ``parked`` counts who had to wait for a flow."""

    def __init__(  # noqa: PLR0917 - made once, by position
        self,
        router: Router,
        clock: Clock,
        parking: Parking,
        choosing: Choosing,
        holds: Holds,
        reask_s: float,
    ) -> None:
        self._router = router
        self._clock = clock
        self._parking = parking
        self._choosing = choosing
        self._holds = holds
        self._reask_s = reask_s
        self.parked = 0
        for hold in holds.active():
            self.said(hold)

    def stops(self, actor: WorkflowActor, state: OpenAsk, now: float) -> bool:
        """Stop a request of whoever is paused by hand, and one whose service is not chosen yet.

        What was sent to a service is not asked again while its run is paused.
        """
        hold = self._holds.on(actor.id, actor.instance.workflow) if self._holds.any else None
        if hold is None:
            route = state.ask.route
            return route is not None and self._choosing.stops(actor, state, route, now)
        if state.sent_at:
            self._ask_later(actor, state, now)
        else:
            self._parking.park(actor, state, self._router.flow(state.ask.service), hold.key)
        return True

    def admits(self, actor: WorkflowActor, state: OpenAsk, flow: Flow, now: float) -> bool:
        """Tell whether a request may go to a guarded service now; if not it is parked."""
        if state.sent_at:
            if not flow.closed(now):
                return True
            self._ask_later(actor, state, now)
            return False
        if self._parking.releasing:
            return True  # it is its turn
        if not self._parking.queued(flow) and flow.verdict(now) is None:
            return True
        self.parked += not state.parked
        self._parking.park(actor, state, flow)
        return False

    def said(self, hold: Hold) -> None:
        """Do what a person said: pause or resume, or force a breaker."""
        now = self._clock.monotonic()
        if hold.kind == "service":
            self._router.flow(hold.name).say(hold if hold.paused else None, now)
        elif hold.kind == "breaker":
            self._router.flow(hold.name).force(hold if hold.forced else None, now)
        elif not hold.paused:
            self._parking.open_lot(hold.key)

    def _ask_later(self, actor: WorkflowActor, state: OpenAsk, now: float) -> None:
        """Do not ask again now for an answer that has not come."""
        state.reask_at = now + self._reask_s
        actor.attend_at = min(actor.attend_at, state.reask_at, state.deadline)
