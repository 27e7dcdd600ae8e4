"""Router: which subject serves a step, and whether anybody is there.

A request whose reply subject is a stream hides the server's "no responders", so presence is
probed: a trace-only message makes the server report who would get it and delivers nothing
(reference: hazard S1; nats-server ADR-41). A subject is probed at first use and at least every
2 s while a request on it is open. A probe proves a subscription, not a working handler.

At first use the router also asks whether a stream captures the subject: a catch-all stream
would answer in the service's place (hazard S4). Such a subject is refused. Every probe tells as
well which streams would have got the message, those of other accounts included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec
import structlog
import trio

from actors.routing.flow import Flow
from actors.routing.probe_trace import Trace, Traced
from actors.store.neighbours import streams_on
from protocols import headers as h
from protocols.errors import MovantError
from protocols.flow import DEFAULT, FLOW_DEFAULTS, FlowSettings
from protocols.ports import Entropy, Frame, Outgoing, Transport
from protocols.subjects import service as service_subject

PROBE_S_MAX: Final = 2.0
PROBE_S_MIN: Final = 0.1
PROBES_PER_S: Final = 100
"""With few subjects in use each is probed more often: a service that comes back is used at
once, and what a dead one had is asked again. A probe costs the server 50 us."""
PROBE_ANSWER_S: Final = 1.5
CONFIRMATIONS: Final = 8
"""Probes that must not name an old responder: with two members one in 256 errs, and the price
of an error is a request that is asked again with the same key."""
MEMBERS_MAX: Final = 64
"""Members of a queue group that are remembered."""
ROUTES_MAX: Final = 10_000
"""Distinct subjects that a daemon remembers; a definition names a handful."""
LOCAL: Final = "_local"
"""The service of ``ctx.run``: functions of the workflow's own code."""

log = structlog.get_logger()


def probe_interval_s(routes: int) -> float:
    """Return how long to wait between two probes of that many subjects."""
    return min(max(routes / PROBES_PER_S, PROBE_S_MIN), PROBE_S_MAX)


class Presence(Enum):
    """What is known about the subscribers of a subject."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    ABSENT = "absent"
    CAPTURED = "captured"


class Route:
    """One subject of a service. ``users`` counts open requests; only then it is probed."""

    __slots__ = (
        "before",
        "captured_by",
        "flow",
        "operation",
        "presence",
        "seen",
        "service",
        "subject",
        "users",
    )

    def __init__(self, service: str, operation: str, subject: str, flow: Flow) -> None:
        self.service = service
        self.flow = flow
        self.operation = operation
        self.subject = subject
        self.presence = self.before = Presence.UNKNOWN
        self.users = 0
        self.captured_by = ""
        self.seen: dict[str, None] = {}


class RouteView(msgspec.Struct, frozen=True):
    """A route as people see it."""

    service: str
    operation: str
    subject: str
    presence: str
    open: int
    captured_by: str = ""


_PRESENT: Final = Presence.PRESENT
_LOOKED_AT_ONCE: Final = frozenset({Presence.ABSENT, Presence.CAPTURED})

Changed = Callable[[Route, bool], None]
"""Told when presence changes; the flag says that all known responders were replaced."""


class Router:
    """Resolves service and operation; keeps presence up to date. Run ``run``."""

    def __init__(
        self,
        transport: Transport,
        entropy: Entropy,
        changed: Changed,
        *,
        foreign: Mapping[str, str] | None = None,
        settings: Mapping[str, FlowSettings] | None = None,
    ) -> None:
        self._transport = transport
        self._inbox = f"movant.probe.{entropy.token(8)}"
        self._changed = changed
        self._foreign = dict(foreign or {})
        self._settings = dict(settings or {})
        self.flows: dict[str, Flow] = {}
        """What is known of each service that was asked, or that somebody spoke of."""
        self.stirred: Callable[[Flow], None] = lambda _: None
        """Told when parked requests of a service may go."""
        self._routes: dict[tuple[str, str], Route] = {}
        self._answers: dict[str, Trace] = {}
        self._fresh: list[Route] = []
        self._wake = trio.Event()
        self._told = trio.Event()
        self._number = 0

    def route(self, service: str, operation: str) -> Route:
        """Return the route of an operation; a new one is unknown until its first probe.

        A foreign service has a subject of its own, with ``{operation}`` in it or behind it.
        """
        found = self._routes.get((service, operation))
        if found is not None:
            if (
                found.presence is not _PRESENT  # first: an Enum's hash is a call of its own
                and found.presence in _LOOKED_AT_ONCE
                and not found.users
            ):
                # Nobody has looked since its last user left: its service may have come.
                found.presence = Presence.UNKNOWN
                self._wake.set()
            return found
        if len(self._routes) >= ROUTES_MAX:
            self._forget()
        pattern = self._foreign.get(service)
        if not pattern:
            subject = service_subject(service, operation)
        elif "{operation}" in pattern:
            subject = pattern.replace("{operation}", operation)
        else:
            subject = f"{pattern}.{operation}"
        flow = self.flow(service)
        found = self._routes[service, operation] = Route(service, operation, subject, flow)
        self._fresh.append(found)
        self._wake.set()
        return found

    def flow(self, service: str) -> Flow:
        """Return what is known of a service, and how it may be asked."""
        found = self.flows.get(service)
        if found is None:
            settings = self._settings.get(service) or self._settings.get(DEFAULT, FLOW_DEFAULTS)
            found = self.flows[service] = Flow(service, settings, self._stir)
        return found

    def _stir(self, flow: Flow) -> None:
        self.stirred(flow)

    def in_use(self) -> list[Flow]:
        """Return the flows of services that have a subscriber and open requests."""
        return list(
            {
                each.flow.service: each.flow
                for each in self._routes.values()
                if each.users and each.presence is Presence.PRESENT
            }.values()
        )

    def views(self) -> list[RouteView]:
        """Return all routes that were used."""
        return [
            RouteView(
                each.service,
                each.operation,
                each.subject,
                each.presence.value,
                each.users,
                each.captured_by,
            )
            for each in self._routes.values()
        ]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Probe until cancelled."""
        subscription = await self._transport.subscribe(self._inbox + ".*", self._take)
        task_status.started()
        try:
            while True:
                self._wake = trio.Event()
                fresh, self._fresh = self._fresh, []
                for each in fresh:
                    await self._check_capture(each)
                used = [each for each in self._routes.values() if each.users > 0]
                await self._probe({id(each): each for each in (*fresh, *used)}.values())
                if not self._fresh:
                    with trio.move_on_after(probe_interval_s(len(used))):
                        await self._wake.wait()
        finally:
            subscription.unsubscribe()

    def recheck(self) -> None:
        """Probe now: the connection is back, or somebody says that a service came."""
        self._wake.set()

    def _forget(self) -> None:
        for key in [key for key, each in self._routes.items() if each.users <= 0]:
            del self._routes[key]
        used = {each.service for each in self._routes.values()}
        for name in [name for name in self.flows if name not in used]:
            if not (self.flows[name].guarded or self.flows[name].ranked):
                del self.flows[name]

    async def _check_capture(self, route: Route) -> None:
        try:
            names = await streams_on(self._transport, route.subject)
        except MovantError:
            return
        self._note_captors(route, names)

    def _note_captors(self, route: Route, names: Sequence[str]) -> None:
        """Remember who captures a subject; a stream that is gone captures no longer."""
        before, route.captured_by = route.captured_by, names[0] if names else ""
        if route.captured_by and not before:
            log.error("route.captured", subject=route.subject, stream=route.captured_by)

    async def _probe(self, routes: Iterable[Route]) -> None:
        """Probe some subjects at once and tell what changed."""
        probed = list(routes)
        for route, traced in zip(probed, await self._ask(probed), strict=True):
            if traced is not None:
                if traced.captors or route.captured_by:
                    self._note_captors(route, traced.captors)
                await self._judge(route, traced.responders)

    async def _judge(self, route: Route, responders: set[str]) -> None:
        """Compare a probe's answer with what was known, and tell what changed."""
        before, known = route.presence, set(route.seen)
        route.before = before
        if route.captured_by:
            route.presence = Presence.CAPTURED
        else:
            route.presence = Presence.PRESENT if responders else Presence.ABSENT
        newcomers = responders - known
        replaced = bool(newcomers and known) and await self._gone(route, known)
        if replaced:
            route.seen.clear()
        route.seen.update(dict.fromkeys(sorted(newcomers)))
        while len(route.seen) > MEMBERS_MAX:
            del route.seen[next(iter(route.seen))]
        if replaced:
            route.flow.speaks = False  # whoever came need not answer pings
        if route.presence is not before or replaced:
            facts = {
                "subject": route.subject,
                "presence": route.presence.value,
                "open": route.users,
            }
            if route.presence is Presence.ABSENT:
                log.warning("route.presence", **facts)
            else:
                log.info("route.presence", **facts)
            self._changed(route, replaced)

    async def _gone(self, route: Route, known: set[str]) -> bool:
        """Tell whether the responders that were known have been replaced by others.

        A probe names one member of a queue group, so a newcomer may just have joined. Only
        when none of the old ones is named in several probes was what they had in hand lost.
        """
        answers = await self._ask([route] * CONFIRMATIONS)
        return all(each is not None and not each.responders & known for each in answers)

    async def _ask(self, routes: Sequence[Route]) -> list[Traced | None]:
        """Return who would get a message on each subject; None without an answer."""
        tokens = []
        for route in routes:
            self._number += 1
            tokens.append(str(self._number))
            lines = h.encode({h.TRACE_DEST: f"{self._inbox}.{tokens[-1]}", h.TRACE_ONLY: "true"})
            self._answers[tokens[-1]] = Trace()
            try:
                self._transport.publish(Outgoing(route.subject, b"", lines))
            except MovantError:
                break  # not connected, or too busy: the next round asks again
        with trio.move_on_after(PROBE_ANSWER_S):
            while not all(self._answers[token].complete for token in tokens):
                self._told = trio.Event()
                await self._told.wait()
        answers = [self._answers.pop(token).traced() for token in tokens]
        return answers + [None] * (len(routes) - len(answers))

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            token = frame.subject.rpartition(".")[2]
            if token in self._answers:
                self._answers[token].add(frame.payload)
        self._told.set()
