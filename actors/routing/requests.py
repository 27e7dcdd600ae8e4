"""Requests: sends what folds ask of services, and looks after it until it is decided.

    new -> (due later) -> route known? -> sent -> reply (the fold closes it)
                            | absent, paused, breaker open, over a limit: parked
                            | sent: asked again with the same key; given up at the deadline

A request that is lost, or whose plain reply is lost, is asked again with the same key: at a
re-ask interval that doubles, when its service comes back, and when the connection comes back.
Nothing here is state: after a crash the fold asks for the same requests again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any, Final

import structlog
import trio

from actors.core.slices import in_slices, parts
from actors.owning.workflow import OpenAsk, WorkflowActor
from actors.routing.admission import Admission
from actors.routing.beats import Beats, Hear, given_up
from actors.routing.choosing import Choosing, Routed
from actors.routing.holds import Holds
from actors.routing.lines import request_headers
from actors.routing.parking import Parking, Rouse
from actors.routing.router import LOCAL, Presence, Route, Router
from actors.store.storing import REFERENCE_LINES, Storing
from protocols.blobs import INLINE_BYTES_MAX, Blob, encoded, placed
from protocols.effects import Ask
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import (
    InvalidIdError,
    MovantError,
    OversizedError,
    RefusedError,
    UnavailableError,
)
from protocols.failure import NO_RESPONDERS, VALIDATION, Failure
from protocols.mail import AttemptTimedOut
from protocols.ports import Clock, Outgoing, Transport
from protocols.subjects import BEATS, to_reply
from protocols.tokens import KeyRing

REASK_S: Final = 30.0
REASK_MAX_S: Final = 900.0
SWEEP_S: Final = 0.25
GRACE_S: Final = 0.05
"""A deadline is written a moment late, so that the server's clock is surely past it."""
RETRY_S: Final = 0.2
DOUBLINGS_MAX: Final = 10
AT_ONCE_MAX: Final = 20_000
"""First requests that go as soon as it is known that somebody is there; more go in turn."""
SENDS: Final = 100
"""Delayed attempts that go between two checkpoints of the loop."""
LATER_S: Final = 0.002
"""A due time closer than this is now."""

log = structlog.get_logger()

Decide = Callable[[WorkflowActor, OpenAsk, Failure | None], None]
"""Write the owner's decision on an attempt: a refusal, or for None a timeout."""

LocalRunner = Callable[[WorkflowActor, Ask, str], None]
"""Run a function of the workflow's own code; the reply subject is the third argument."""


class Requests:
    """Looks after all open attempts of the instances that are live here. Run ``run``."""

    def __init__(
        self,
        transport: Transport,
        router: Router,
        clock: Clock,
        keys: KeyRing,
        *,
        live: Callable[[], Iterable[WorkflowActor]],
        decide: Decide,
        local: LocalRunner,
        may_act: Callable[[int], bool],
        rouse: Rouse,
        hear: Hear,
        routed: Routed,
        locality: str = "",
        holds: Holds | None = None,
        reask_s: float = REASK_S,
        storing: Storing,
    ) -> None:
        self._storing = storing
        self._transport = transport
        self._router = router
        self._clock = clock
        self._keys = keys
        self._live = live
        self._decide = decide
        self._local = local
        self.may_act = may_act
        """Whether effects may be done for a partition: it is ours, and our lease holds."""
        self._reask_s = reask_s
        self._holds = Holds() if holds is None else holds
        self.parking = Parking(clock, send=self._send, rouse=rouse)
        self.choosing = Choosing(router, clock, self.parking, routed, locality)
        self.admission = Admission(
            router, clock, self.parking, self.choosing, self._holds, reask_s
        )
        router.stirred = self.parking.stir
        self._later: list[tuple[float, int, WorkflowActor, Any]] = []
        self.beats = Beats(clock, keys, hear)
        self._number = 0
        self._wake = trio.Event()
        self.sent = self.reasked = self.parked = 0

    def add(self, actor: WorkflowActor, ask: Ask) -> None:
        """Take a new attempt, and send it when it is due."""
        state = actor.asks[ask.identity] = OpenAsk(ask)
        # By the time of the fold, not of this machine: the two clocks may differ.
        delay_s = (ask.due - actor.instance.now) / 1e9 if ask.attempt > 1 else 0.0
        if delay_s > LATER_S:
            self._send_later(actor, state, delay_s)
        else:
            self._send(actor, state)

    def resume(self, actor: WorkflowActor, ask: Ask) -> None:
        """Take an attempt that an earlier life of the actor may have sent.

        It is sent once more with the same key; one that may be sent only once is just looked
        after. Its time goes on from when it was asked for, but never ends before an answer
        could come.
        """
        state = actor.asks[ask.identity] = OpenAsk(ask)
        state.suspect = True
        state.spent_s = max(0.0, (self._clock.now_ns() - ask.due) / 1e9)
        state.tries = min(actor.woken_number, DOUBLINGS_MAX)
        if ask.options.idempotent:
            delay_s = (ask.due - self._clock.now_ns()) / 1e9
            if delay_s > LATER_S:
                self._send_later(actor, state, delay_s)
            else:
                self._send(actor, state)
        else:
            self._sent(actor, state, self._clock.monotonic())

    def hold(self, actor: WorkflowActor, ask: Ask) -> None:
        """Take an attempt that a wake covers: only that knows whether it was ever sent."""
        state = actor.asks[ask.identity] = OpenAsk(ask)
        state.held = state.covered = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after deadlines, re-asks and delayed attempts until cancelled."""
        heard = await self._transport.subscribe(BEATS, self.beats.take)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.parking.run)
                task_status.started()
                await self._sweep()
        finally:
            heard.unsubscribe()

    async def _sweep(self) -> None:
        sweep_at = self._clock.monotonic() + SWEEP_S
        while True:
            now = self._clock.monotonic()
            wait_s = sweep_at - now
            if self._later:
                wait_s = min(wait_s, self._later[0][0] - now)
            if wait_s > 0:
                self._wake = trio.Event()
                with trio.move_on_after(wait_s):
                    await self._wake.wait()
            else:
                await trio.lowlevel.checkpoint()
            now = self._clock.monotonic()
            for _ in range(SENDS):
                if not self._later or self._later[0][0] > now:
                    break
                _, _, actor, identity = heapq.heappop(self._later)
                state = actor.asks.get(identity)
                if state is not None and actor.instance.is_open(state.ask):
                    self._send(actor, state)
            if now >= sweep_at:
                if now - sweep_at > SWEEP_S:
                    self.beats.delay(now - sweep_at)
                sweep_at = now + SWEEP_S
                self.choosing.look(now)
                self.beats.look()
                for part in parts(list(self._live())):
                    due = [actor for actor in part if actor.attend_at <= now]
                    await in_slices(due, partial(self.attend, now=now))
                    await trio.lowlevel.checkpoint()

    def attend(self, actor: WorkflowActor, now: float) -> bool:
        """Look at every open attempt of an actor, if its time has come; tell whether it has."""
        if actor.attend_at > now or actor.gone:
            return False
        actor.close_asks()
        next_at = inf
        for state in list(actor.asks.values()):
            if state.closing:
                continue
            if state.deadline <= now or (state.silent_at <= now and self._transport.connected):
                state.closing = True
                self._decide(actor, state, given_up(state, now))
                continue
            if state.reask_at <= now:
                self.reasked += 1
                state.tries += 1  # only silence makes the interval longer
                self._send(actor, state)
            elif state.parked and state.ticket is None:
                self._release(actor, state)  # its wake has fired
            next_at = min(next_at, state.deadline, state.reask_at, state.silent_at)
        actor.attend_at = next_at
        return True

    def early(self, actor: WorkflowActor, mail: AttemptTimedOut) -> None:
        """Give an attempt the rest of its time: by the server's clock it was given up too early.

        The fold did not count the decision, so another one has to follow.
        """
        state = actor.asks.get(("ask", mail.step, mail.attempt))
        if state is None:
            return
        due = state.ask.due + int(state.ask.options.timeout_s * 1e9)
        left_s = max(0.0, (due - mail.at) / 1e9) + GRACE_S
        state.closing = False
        state.deadline = self._clock.monotonic() + left_s
        actor.attend_at = 0.0

    def presence_changed(self, route: Route, newcomer: bool) -> None:  # noqa: FBT001 - a callback
        """Release what was parked for a subject; ask again what its dead responder had."""
        if route.presence is Presence.UNKNOWN:
            return
        if route.presence is not Presence.PRESENT:
            for actor, state in self.parking.here(route):
                self._send(actor, state)  # it may be one that is refused now
            self.choosing.came(route)
            return
        known = route.before is not Presence.ABSENT
        self.parking.open_lot(route, at_once=AT_ONCE_MAX if known else 0)
        self.choosing.came(route)
        if not newcomer:
            return
        self._again(lambda state: state.route is route and not state.parked)

    def reconnected(self) -> None:
        """Ask everything again that was sent before the connection was lost."""
        self.beats.anew()
        self._again(lambda state: bool(state.sent_at))
        self._router.recheck()

    def _again(self, wanted: Callable[[OpenAsk], bool]) -> None:
        for actor in list(self._live()):
            for state in list(actor.asks.values()):
                if wanted(state) and not state.closing and state.ask.options.idempotent:
                    self.reasked += 1
                    self._send(actor, state)

    def _release(self, actor: WorkflowActor, state: OpenAsk) -> None:
        """Send what was parked. A wake that is armed says of a step that it was never sent.

        Whoever folds that wake sends the step, so one that may be sent once waits for it.
        """
        if state.ask.options.idempotent or not (state.covered or actor.waking):
            self._send(actor, state)

    def _send_later(self, actor: WorkflowActor, state: OpenAsk, delay_s: float) -> None:
        self._number += 1
        entry = (self._clock.monotonic() + delay_s, self._number, actor, state.ask.identity)
        heapq.heappush(self._later, entry)
        if self._later[0] is entry:
            self._wake.set()

    def _send(self, actor: WorkflowActor, state: OpenAsk) -> None:
        if self.may_act(actor.partition):
            self._dispatch(actor, state)
        else:
            # The lease has lapsed: somebody else may own the partition and send this as well.
            state.reask_at = inf  # or every sweep would add one more of these
            self._send_later(actor, state, RETRY_S)

    def _dispatch(self, actor: WorkflowActor, state: OpenAsk) -> None:
        ask = state.ask
        now = self._clock.monotonic()
        if (self._holds.any or ask.route is not None) and self.admission.stops(actor, state, now):
            return
        if ask.service == LOCAL:
            if not state.sent_at:
                self._sent(actor, state, now)
                self._local(actor, ask, self._reply(actor, ask))
            return
        if state.sent_at and not ask.options.idempotent:
            return  # it may be due for more than one reason, and is sent for the first one
        route = state.route or self._route(actor, state)
        if route is None:
            return
        if route.presence is not Presence.PRESENT:
            self._park(actor, state, route)
            return
        flow = route.flow
        if flow.guarded and not self.admission.admits(actor, state, flow, now):
            return
        if self._publish(actor, state, route, now):
            if flow.guarded:
                flow.went(now, again=state.slot)
                state.slot = True
            self._sent(actor, state, now)

    def _store(self, actor: WorkflowActor, state: OpenAsk) -> None:
        """Store what is too large for a request, and send it then."""

        def stored(blob: Blob | None, error: MovantError | None) -> None:
            state.storing = False
            state.blob = blob and placed(blob, actor.id, actor.partition)
            if actor.gone or actor.asks.get(state.ask.identity) is not state or state.closing:
                return
            if error is None:
                self._send(actor, state)
            else:
                kind = OVER_LIMIT if isinstance(error, OversizedError) else "blob"
                self._refuse(actor, state, kind, error.message)

        if not state.storing:
            state.storing = True
            self._storing.soon(actor.id, state.ask.body, stored)

    def _route(self, actor: WorkflowActor, state: OpenAsk) -> Route | None:
        """Find the route of a request; one that no subject can name is refused."""
        try:
            route = self._router.route(state.ask.service, state.ask.operation)
        except InvalidIdError as error:
            self._refuse(actor, state, VALIDATION, error.message)
            return None
        state.route = route
        route.users += 1
        return route

    def _publish(self, actor: WorkflowActor, state: OpenAsk, route: Route, now: float) -> bool:
        """Hand a request to the server; False when it was refused or has to be tried again."""
        ask = state.ask
        if len(ask.body) > INLINE_BYTES_MAX and state.blob is None:
            self._store(actor, state)
            return False
        try:
            start = actor.instance.start
            trace = start.traceparent if start is not None else ""
            reply = self._reply(actor, ask)
            lines = request_headers(ask, self._left_s(state, now), reply, trace)
            body = ask.body
            if state.blob is not None:
                body, lines = encoded(state.blob), lines + REFERENCE_LINES
            message = Outgoing(route.subject, body, lines, reply)
            self._transport.publish(message, perishable=True)
        except UnavailableError:
            state.reask_at = inf  # or every sweep would add one more of these
            self._send_later(actor, state, RETRY_S)
        except OversizedError as error:
            self._refuse(actor, state, OVER_LIMIT, error.message)
        except RefusedError as error:
            self._refuse(actor, state, VALIDATION, f"{route.subject}: {error.message}")
        else:
            return True
        return False

    def _reply(self, actor: WorkflowActor, ask: Ask) -> str:
        """Return where the answer to an attempt goes."""
        token = self._keys.sign(actor.id, ask.step, ask.attempt)
        return to_reply(actor.id, ask.step, ask.attempt, token)

    def _left_s(self, state: OpenAsk, now: float) -> float:
        """Return how long an answer can still be of use, in seconds."""
        if state.sent_at:
            left_s = state.deadline - GRACE_S - now
        else:
            left_s = self._time_s(state) if state.spent_s else state.ask.options.timeout_s
        if state.ask.until:
            left_s = min(left_s, (state.ask.until - self._clock.now_ns()) / 1e9)
        return max(left_s, 0.001)

    def _time_s(self, state: OpenAsk) -> float:
        """Return the time of an attempt of which some may be spent: enough for an answer."""
        timeout_s = state.ask.options.timeout_s
        least_s = min(timeout_s, self._reask_s) if state.spent_s else 0.0
        return max(timeout_s - state.spent_s, least_s)

    def _sent(self, actor: WorkflowActor, state: OpenAsk, now: float) -> None:
        if not state.sent_at:
            self.sent += 1
            state.sent_at = now
            state.deadline = now + self._time_s(state) + GRACE_S
        if state.parked:
            state.parked = False
            if state.ticket is not None:
                state.ticket.close()
        if state.ask.options.idempotent and state.ask.service != LOCAL:
            doubled_s = self._reask_s * 2.0**state.tries
            state.reask_at = now + (min(doubled_s, REASK_MAX_S) if state.tries else doubled_s)
        else:
            state.reask_at = inf
        soonest = state.reask_at if state.reask_at < state.deadline else state.deadline  # noqa: FURB136
        if state.ask.options.heartbeat_s is not None:
            self.beats.expect(actor, state, now)
            soonest = min(soonest, state.silent_at)
        actor.attend_at = min(actor.attend_at, soonest)

    def _park(self, actor: WorkflowActor, state: OpenAsk, route: Route) -> None:
        if route.presence is Presence.CAPTURED:
            self._refuse(
                actor,
                state,
                "captured",
                f"stream {route.captured_by} captures {route.subject} and would answer in the"
                " service's place",
            )
        elif route.presence is Presence.ABSENT and (
            state.ask.options.absent == "fail"
            or (state.ask.route is not None and self.choosing.better(state, state.ask.route))
        ):
            self._refuse(
                actor, state, NO_RESPONDERS, f"nobody serves {route.subject}", retryable=True
            )
        else:
            if state.sent_at:
                state.reask_at = inf  # when somebody is there again
            if not state.parked and route.presence is Presence.ABSENT:
                self.parked += 1
                log.debug("step.parked", run=actor.id, step=state.ask.path, subject=route.subject)
            self.parking.park(actor, state, route.flow, route)

    def _refuse(
        self,
        actor: WorkflowActor,
        state: OpenAsk,
        kind: str,
        message: str,
        *,
        retryable: bool = False,
    ) -> None:
        state.closing = True
        if state.ticket is not None:
            state.ticket.close()
        may_be_sent = bool(state.sent_at or state.suspect)
        self._decide(
            actor,
            state,
            Failure(kind=kind, message=message, retryable=retryable, unknown=may_be_sent),
        )
