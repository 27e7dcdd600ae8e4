"""Parking: requests that may not go yet, until they may; the emergency first, then the oldest.

    lot of a subject   nobody serves it           -- somebody comes --.
    lot of a hold      run, workflow, everything  -- resume ----------+--> queue of the service
                       breaker, pause, limit, Retry-After ------------'        |
                                                 its flow lets one go --> sent, or brought back

What is parked is an unsettled effect like any other: no attempt is used, no time runs, wakes
cover it, and after a crash the fold asks for it again. An instance may leave memory meanwhile;
its ticket stays and brings it back. The order is that of the messages that asked, so it is the
same after a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final

import trio

from actors.owning.workflow import OpenAsk, WorkflowActor
from actors.routing.flow import Flow
from actors.routing.router import Presence, Route
from protocols.ports import Clock

AWAY_MAX: Final = 200_000
"""Parked requests remembered while their instances are out of memory, about 400 B each."""
ROUSED_AT_ONCE: Final = 200
ROUSE_S: Final = 0.02
"""Who was brought back gets this time to come, before others are."""
LOOK_S_MIN: Final = 0.005
SLICE: Final = 500
STALE_MAX: Final = 1_000
"""Tickets that nobody waits for, and that are still in a queue."""

Rouse = Callable[[str, int, int, set[str]], None]
"""Bring an instance back: id, partition, lowest cause, and the steps that were never sent."""
Send = Callable[[WorkflowActor, OpenAsk], None]


class Ticket:
    """One parked request. ``actor`` and ``state`` are None while its instance is away."""

    __slots__ = (
        "_parking",
        "actor",
        "cause",
        "chooses",
        "flow",
        "id",
        "lot",
        "never_sent",
        "open",
        "partition",
        "priority",
        "state",
        "step",
    )

    def __init__(
        self, parking: Parking, actor: WorkflowActor, state: OpenAsk, flow: Flow, lot: Any
    ) -> None:
        self._parking = parking
        self.actor: WorkflowActor | None = actor
        self.state: OpenAsk | None = state
        self.flow = flow
        self.lot = lot
        """What it waits for: a Route, a hold's key, choices, or None for its turn."""
        self.id = actor.id
        self.partition = actor.partition
        self.cause = state.ask.cause
        self.step = state.ask.step
        self.never_sent = state.never_sent
        route = state.ask.route
        self.chooses = route is not None and not route.decided
        """Another service may be chosen: it need not wait for this one."""
        self.priority = priority_of(actor, state)
        self.open = True

    def close(self) -> None:
        """Wait no more. Idempotent."""
        self._parking.close(self)


class _Queue:
    """Tickets of one service that wait for their turn, in order."""

    __slots__ = ("_entries", "_number", "live")

    def __init__(self) -> None:
        self._entries: list[tuple[int, int, int, Ticket]] = []
        self._number = 0
        self.live = 0

    def add(self, ticket: Ticket) -> None:
        self._number += 1
        self.live += 1
        heapq.heappush(self._entries, (-ticket.priority, ticket.cause, self._number, ticket))

    def __iter__(self) -> Iterator[Ticket]:
        """Yield those that are open, in no order."""
        return (each[3] for each in self._entries if each[3].open)

    def drop(self) -> None:
        """Note that one of the tickets is closed; it is taken out later."""
        self.live -= 1
        if len(self._entries) > 2 * self.live + STALE_MAX:
            self._entries = [each for each in self._entries if each[3].open]
            heapq.heapify(self._entries)

    def first(self) -> Ticket | None:
        """Return the next ticket that is open; it stays where it is."""
        entries = self._entries
        while entries and not entries[0][3].open:
            heapq.heappop(entries)
        return entries[0][3] if entries else None


class Parking:
    """All parked requests of one daemon. Run ``run``."""

    def __init__(self, clock: Clock, *, send: Send, rouse: Rouse) -> None:
        self._clock = clock
        self._send = send
        self._rouse = rouse
        self._queues: dict[Flow, _Queue] = {}
        self._lots: dict[Any, dict[Ticket, None]] = {}
        self._away: dict[tuple[str, str], Ticket] = {}
        self._wake = trio.Event()
        self.releasing = False
        """True while one is sent whose turn it is."""

    def park(self, actor: WorkflowActor, state: OpenAsk, flow: Flow, lot: Any = None) -> None:
        """Park a request in a lot, or in the queue of its service."""
        before = state.ticket
        if before is not None:
            if before.lot is lot or before.lot == lot:
                return
            before.close()
        away = self._away.get((actor.id, state.ask.step))
        if away is not None:
            away.close()
        state.parked = True
        if not state.sent_at:
            state.spent_s = 0.0  # waiting for a service does not use the attempt's time
        ticket = state.ticket = Ticket(self, actor, state, flow, lot)
        flow.park()
        self._place(ticket)

    def queued(self, flow: Flow) -> bool:
        """Tell whether others wait for their turn at a service."""
        return flow in self._queues

    def waiting(self, instance: str, step: str) -> Ticket | None:
        """Return the ticket of a request whose instance is out of memory, if it is parked."""
        return self._away.get((instance, step))

    def here(self, lot: Any) -> list[tuple[WorkflowActor, OpenAsk]]:
        """Return the requests in a lot whose instances are in memory."""
        return [
            (each.actor, each.state)
            for each in self._lots.get(lot, ())
            if each.actor is not None and each.state is not None
        ]

    def clear(self) -> None:
        """Forget everything: the owner ends."""
        for ticket in [each for lot in self._lots.values() for each in lot]:
            ticket.close()
        for queue in list(self._queues.values()):
            while (first := queue.first()) is not None:
                first.close()
        self._queues.clear()

    def stir(self, _: Flow | None = None) -> None:
        """Look now who may go."""
        self._wake.set()

    def close(self, ticket: Ticket) -> None:
        """Let nobody wait with a ticket any more. Idempotent."""
        if not ticket.open:
            return
        ticket.open = False
        state, ticket.actor, ticket.state = ticket.state, None, None
        if state is not None:
            state.ticket = None
        else:
            self._away.pop((ticket.id, ticket.step), None)
            if type(ticket.lot) is Route:
                ticket.lot.users -= 1
        if ticket.lot is None:
            self._queues[ticket.flow].drop()
        else:
            self._leave(ticket)
        ticket.flow.unpark()

    # Instances come and go.

    def remember(self, actor: WorkflowActor) -> None:
        """Keep the tickets of an instance that is about to leave memory, to bring it back."""
        for state in actor.asks.values():
            ticket = state.ticket
            if ticket is None or not state.ask.options.idempotent:
                continue
            if len(self._away) >= AWAY_MAX:
                return  # its wake will find it
            ticket.actor = ticket.state = state.ticket = None
            self._away[ticket.id, ticket.step] = ticket
            if type(ticket.lot) is Route:
                ticket.lot.users += 1  # so that it is looked for

    def forget(self, partition: int) -> None:
        """Forget the parked instances of a partition: somebody else looks after them."""
        for ticket in [each for each in self._away.values() if each.partition == partition]:
            ticket.close()

    # What was waited for has come.

    def open_lot(self, lot: Any, *, at_once: int = 0) -> None:
        """Let everybody in a lot go on to the queue of its service, or at once when few."""
        found = self._lots.get(lot)
        if not found:
            return
        tickets = sorted(found, key=_order)
        few = len(tickets) <= at_once
        flows: dict[Flow, None] = {}
        for ticket in tickets:
            if not ticket.open:
                continue  # what went before it has decided it
            if few or ticket.chooses:
                self._go(ticket, turn=False)
            else:
                self._queue(ticket)
                flows[ticket.flow] = None
        now = self._clock.monotonic()
        for flow in flows:
            flow.begin_release(now)

    def _queue(self, ticket: Ticket) -> None:
        """Let a ticket leave its lot for the queue of its service."""
        self._leave(ticket)
        if ticket.state is None and type(ticket.lot) is Route:
            ticket.lot.users -= 1
        ticket.lot = None
        self._place(ticket)

    def _leave(self, ticket: Ticket) -> None:
        lot = self._lots[ticket.lot]
        del lot[ticket]
        if not lot:
            del self._lots[ticket.lot]

    def holds(self, lot: Any) -> bool:
        """Tell whether somebody waits in a lot."""
        return lot in self._lots

    def let_go(self, lot: Any, most: int) -> None:
        """Let the first in a lot try again now."""
        for ticket in heapq.nsmallest(most, self._lots.get(lot, ()), key=_order):
            if ticket.open:
                self._go(ticket, turn=False)

    async def run(self) -> None:
        """Let go who may, until cancelled."""
        while True:
            self._wake = trio.Event()
            now = self._clock.monotonic()
            wait_s = inf
            for flow in list(self._queues):
                wait_s = min(wait_s, self.release(flow, now))
            if wait_s <= 0.0:
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(max(wait_s, LOOK_S_MIN)):
                await self._wake.wait()

    def release(self, flow: Flow, now: float) -> float:
        """Let some of a service's queue go; return when to look again, in seconds."""
        queue = self._queues[flow]
        roused = 0
        for _ in range(SLICE):
            ticket = queue.first()
            if ticket is None:
                if not queue.live:
                    self._queues.pop(flow, None)
                return inf
            verdict = flow.verdict(now)
            if verdict is not None and not (ticket.chooses and flow.closed(now)):
                return max(verdict.wait_s, ROUSE_S if roused else 0.0)
            if roused and ticket.state is not None:
                return ROUSE_S  # those who are brought back were before it
            roused += ticket.state is None
            self._go(ticket, turn=verdict is None)
            if roused >= ROUSED_AT_ONCE:
                return ROUSE_S
        return ROUSE_S if roused else 0.0

    def _go(self, ticket: Ticket, *, turn: bool) -> None:
        """Send a request, or bring its instance back, which then sends it."""
        actor, state = ticket.actor, ticket.state
        ticket.close()
        if actor is None or state is None:
            steps = {ticket.step} if ticket.never_sent else set()
            self._rouse(ticket.id, ticket.partition, ticket.cause, steps)
            return
        if not actor.instance.is_open(state.ask) or state.closing:
            return
        # A wake that is armed says of a step that it was never sent. Whoever folds it sends the
        # step, so one that may be sent once waits for it.
        if state.ask.options.idempotent or not (state.covered or actor.waking):
            self.releasing = turn
            try:
                self._send(actor, state)
            finally:
                self.releasing = False

    def _place(self, ticket: Ticket) -> None:
        if ticket.lot is not None:
            self._lots.setdefault(ticket.lot, {})[ticket] = None
            return
        queue = self._queues.get(ticket.flow)
        if queue is None:
            queue = self._queues[ticket.flow] = _Queue()
        queue.add(ticket)
        self._wake.set()

    # For people.

    def all_stuck(self, now: float) -> list[Ticket]:
        """Return all of which ``stuck`` is true, without a look at each that only waits."""
        found: list[Ticket] = []
        for tickets in self._lots.values():
            if self.stuck(next(iter(tickets)), now):  # all of a lot wait for the same
                found += tickets
        for flow, queue in self._queues.items():
            if flow.closed(now):
                found += queue
        return found

    def stuck(self, ticket: Ticket, now: float) -> bool:
        """Tell whether a parked request waits for more than its turn: somebody is away or ill."""
        if type(ticket.lot) is Route:
            return ticket.lot.presence is Presence.ABSENT
        return ticket.lot is not None or ticket.flow.closed(now)

    def why(self, ticket: Ticket, now: float) -> str:
        """Say what a parked request waits for."""
        if type(ticket.lot) is Route:
            return "nobody serves it" if ticket.lot.presence is Presence.ABSENT else ""
        if isinstance(ticket.lot, str):
            return ""  # the run itself says who paused it
        if ticket.lot is not None:
            return "nobody of its route can be asked"
        verdict = ticket.flow.verdict(now)
        return verdict.reason if verdict is not None else "it waits for its turn"


def priority_of(actor: WorkflowActor, state: OpenAsk) -> int:
    """Return the priority of a request: the step's own, or that of its instance."""
    own = state.ask.options.priority
    if own is not None:
        return own
    start = actor.instance.start
    return start.priority if start is not None else 0


def _order(ticket: Ticket) -> tuple[int, int]:
    return (-ticket.priority, ticket.cause)
