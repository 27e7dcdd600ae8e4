"""Requests: sends what folds ask of services, and looks after it until it is decided.

    new -> (due later) -> route known? -> sent -> reply (the fold closes it)
                            | absent: parked, or refused by policy
                            | sent: asked again with the same key; given up at the deadline

A request that is lost, or whose plain reply is lost, is asked again with the same key: at a
re-ask interval that doubles, when its service comes back, and when the connection comes back.
Nothing here is state: after a crash the fold asks for the same requests again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.router import LOCAL, Presence, Route, Router
from actors.workflow import OpenAsk, WorkflowActor
from protocols import headers as h
from protocols.effects import Ask
from protocols.errors import InvalidIdError, OversizedError, RefusedError, UnavailableError
from protocols.failure import NO_RESPONDERS, VALIDATION, Failure
from protocols.mail import AttemptTimedOut
from protocols.ports import Clock, Outgoing, Transport
from protocols.subjects import STEP_TOKEN_BYTES_MAX, to_reply
from protocols.tokens import KeyRing

REASK_S: Final = 30.0
REASK_MAX_S: Final = 900.0
SWEEP_S: Final = 0.25
GRACE_S: Final = 0.05
"""A deadline is written a moment late, so that the server's clock is surely past it."""
RETRY_S: Final = 0.2
DOUBLINGS_MAX: Final = 10
AWAY_MAX: Final = 200_000
"""Parked instances remembered while they are out of memory, about 300 B each."""
ROUSED_AT_ONCE: Final = 200
ROUSE_S: Final = 0.02
LATER_S: Final = 0.002
"""A due time closer than this is now."""

log = structlog.get_logger()

Decide = Callable[[WorkflowActor, OpenAsk, Failure | None], None]
"""Write the owner's decision on an attempt: a refusal, or for None a timeout."""

LocalRunner = Callable[[WorkflowActor, Ask, str], None]
"""Run a function of the workflow's own code; the reply subject is the third argument."""


Rouse = Callable[[str, int, int, set[str]], None]
"""Bring an instance back: id, partition, lowest cause, and the steps that were never sent."""


class _Away(msgspec.Struct):
    """A parked instance that is out of memory."""

    partition: int
    cause: int
    steps: set[str]


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
        reask_s: float = REASK_S,
    ) -> None:
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
        self._rouse = rouse
        self._away: dict[Route, dict[str, _Away]] = {}
        """Parked instances that are out of memory, by what they wait for."""
        self._away_count = 0
        self._coming: deque[tuple[str, _Away]] = deque()
        self._come = trio.Event()
        self._later: list[tuple[float, int, WorkflowActor, Any]] = []
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

    def remember(self, actor: WorkflowActor) -> None:
        """Note a parked instance that is about to leave memory, to bring it back in time."""
        for state in actor.asks.values():
            route = state.route
            if not (state.parked and route and state.ask.options.idempotent):
                continue
            if self._away_count >= AWAY_MAX:
                return  # its wake will find it
            away = self._away.get(route)
            if away is None:
                away = self._away[route] = {}
                route.users += 1  # so that it is looked for
            known = away.get(actor.id)
            if known is None:
                self._away_count += 1
                known = away[actor.id] = _Away(actor.partition, state.ask.cause, set())
            known.cause = min(known.cause, state.ask.cause)
            known.steps.add(state.ask.step)

    def forget(self, partition: int) -> None:
        """Forget the parked instances of a partition: somebody else looks after them."""
        for route, away in list(self._away.items()):
            for instance in [id_ for id_, each in away.items() if each.partition == partition]:
                del away[instance]
                self._away_count -= 1
            if not away:
                self._found(route)

    def _found(self, route: Route) -> dict[str, _Away]:
        route.users -= 1
        return self._away.pop(route)

    def hold(self, actor: WorkflowActor, ask: Ask) -> None:
        """Take an attempt that a wake covers: only that knows whether it was ever sent."""
        state = actor.asks[ask.identity] = OpenAsk(ask)
        state.held = state.covered = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after deadlines, re-asks and delayed attempts until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bring_back)
            task_status.started()
            await self._sweep()

    async def _bring_back(self) -> None:
        """Bring parked instances back into memory, not all at the same moment."""
        while True:
            for _ in range(min(len(self._coming), ROUSED_AT_ONCE)):
                instance, away = self._coming.popleft()
                self._rouse(instance, away.partition, away.cause, away.steps)
            if self._coming:
                await trio.sleep(ROUSE_S)
            else:
                self._come = trio.Event()
                await self._come.wait()

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
            while self._later and self._later[0][0] <= now:
                _, _, actor, identity = heapq.heappop(self._later)
                state = actor.asks.get(identity)
                if state is not None and actor.instance.is_open(state.ask):
                    self._send(actor, state)
            if now >= sweep_at:
                sweep_at = now + SWEEP_S
                for actor in list(self._live()):
                    if actor.attend_at <= now:
                        self.attend(actor, now)

    def attend(self, actor: WorkflowActor, now: float) -> None:
        """Look at every open attempt of an actor whose time has come."""
        actor.close_asks()
        next_at = inf
        for state in list(actor.asks.values()):
            if state.closing:
                continue
            if state.deadline <= now:
                state.closing = True
                self._decide(actor, state, None)
                continue
            if state.reask_at <= now:
                self.reasked += 1
                state.tries += 1  # only silence makes the interval longer
                self._send(actor, state)
            elif state.parked and state.route and state.route.presence is Presence.PRESENT:
                self._release(actor, state)  # its wake has fired
            next_at = min(next_at, state.deadline, state.reask_at)
        actor.attend_at = next_at

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
        if route.presence is Presence.PRESENT and route in self._away:
            found = self._found(route)
            self._away_count -= len(found)
            self._coming.extend(found.items())
            self._come.set()
        for actor in list(self._live()):
            for state in list(actor.asks.values()):
                if state.route is not route or state.closing:
                    continue
                if state.parked:
                    self._release(actor, state)
                elif newcomer and state.ask.options.idempotent:
                    self.reasked += 1
                    self._send(actor, state)

    def reconnected(self) -> None:
        """Ask everything again that was sent before the connection was lost."""
        for actor in list(self._live()):
            for state in list(actor.asks.values()):
                if state.sent_at and not state.closing and state.ask.options.idempotent:
                    self.reasked += 1
                    self._send(actor, state)
        self._router.recheck()

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
        reply = to_reply(
            actor.id, ask.step, ask.attempt, self._keys.sign(actor.id, ask.step, ask.attempt)
        )
        if ask.service == LOCAL:
            if not state.sent_at:
                self._sent(actor, state, now)
                self._local(actor, ask, reply)
            return
        if state.sent_at and not ask.options.idempotent:
            return  # it may be due for more than one reason, and is sent for the first one
        route = state.route
        if route is None:
            try:
                route = self._router.route(ask.service, ask.operation)
            except InvalidIdError as error:
                self._refuse(actor, state, VALIDATION, error.message)
                return
            state.route = route
            route.users += 1
        if route.presence is not Presence.PRESENT:
            self._park(actor, state, route)
            return
        try:
            message = Outgoing(route.subject, ask.body, request_headers(ask), reply)
            self._transport.publish(message, perishable=True)
        except UnavailableError:
            state.reask_at = inf  # or every sweep would add one more of these
            self._send_later(actor, state, RETRY_S)
            return
        except OversizedError as error:
            self._refuse(actor, state, VALIDATION, error.message)
            return
        except RefusedError as error:
            self._refuse(actor, state, VALIDATION, f"{route.subject}: {error.message}")
            return
        self._sent(actor, state, now)

    def _sent(self, actor: WorkflowActor, state: OpenAsk, now: float) -> None:
        if not state.sent_at:
            self.sent += 1
            state.sent_at = now
            timeout_s = state.ask.options.timeout_s
            least_s = min(timeout_s, self._reask_s) if state.spent_s else 0.0
            state.deadline = now + max(timeout_s - state.spent_s, least_s) + GRACE_S
        state.parked = False
        if state.ask.options.idempotent and state.ask.service != LOCAL:
            wait_s = (
                min(self._reask_s * 2.0**state.tries, REASK_MAX_S)
                if state.tries
                else (self._reask_s)
            )
            state.reask_at = now + wait_s
        else:
            state.reask_at = inf
        soonest = state.reask_at if state.reask_at < state.deadline else state.deadline  # noqa: FURB136
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
        elif route.presence is Presence.ABSENT and state.ask.options.absent == "fail":
            self._refuse(
                actor, state, NO_RESPONDERS, f"nobody serves {route.subject}", retryable=True
            )
        elif not state.parked:
            state.parked = True
            state.spent_s = 0.0  # waiting for a service does not use the attempt's time
            if route.presence is Presence.ABSENT:
                self.parked += 1
                log.debug("step.parked", run=actor.id, step=state.ask.path, subject=route.subject)

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
        may_be_sent = bool(state.sent_at or state.suspect)
        self._decide(
            actor,
            state,
            Failure(kind=kind, message=message, retryable=retryable, unknown=may_be_sent),
        )


def request_headers(ask: Ask) -> bytes:
    """Return the header lines of a request."""
    lines = b"Movant-Key: %b\r\nMovant-Attempt: %d\r\nMovant-Timeout: %g\r\n" % (
        ask.key.encode(),
        ask.attempt,
        ask.options.timeout_s,
    )
    if ask.undoes:
        lines += b"Movant-Undoes: %b\r\n" % ask.undoes.encode()
    if ask.step[0] == "~" or len(ask.step) > STEP_TOKEN_BYTES_MAX:
        lines += h.encode({h.PATH: ask.path})
    return lines
