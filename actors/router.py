"""Router: which subject serves a step, and whether anybody is there.

A request whose reply subject is a stream hides the server's "no responders", so presence is
probed: a trace-only message makes the server report who would get it and delivers nothing
(reference: hazard S1; nats-server ADR-41). A subject is probed at first use and at least every
2 s while a request on it is open. A probe proves a subscription, not a working handler.

At first use the router also asks whether a stream captures the subject: a catch-all stream
would answer in the service's place (hazard S4). Such a subject is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec
import structlog
import trio

from protocols import headers as h
from protocols.errors import MovantError
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

    __slots__ = ("captured_by", "operation", "presence", "seen", "service", "subject", "users")

    def __init__(self, service: str, operation: str, subject: str) -> None:
        self.service = service
        self.operation = operation
        self.subject = subject
        self.presence = Presence.UNKNOWN
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
    ) -> None:
        self._transport = transport
        self._inbox = f"movant.probe.{entropy.token(8)}"
        self._changed = changed
        self._foreign = dict(foreign or {})
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
            if found.presence is Presence.ABSENT and not found.users:
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
        found = self._routes[service, operation] = Route(service, operation, subject)
        self._fresh.append(found)
        self._wake.set()
        return found

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

    async def _check_capture(self, route: Route) -> None:
        try:
            answer = await self._transport.request(
                Outgoing("$JS.API.STREAM.NAMES", msgspec.json.encode({"subject": route.subject})),
                timeout_s=PROBE_ANSWER_S,
            )
            names = msgspec.json.decode(answer.payload).get("streams") or []
        except (MovantError, msgspec.DecodeError, AttributeError):
            return
        if names:
            route.captured_by = str(names[0])
            log.error("route.captured", subject=route.subject, stream=route.captured_by)

    async def _probe(self, routes: Iterable[Route]) -> None:
        """Probe some subjects at once and tell what changed."""
        probed = list(routes)
        for route, responders in zip(probed, await self._ask(probed), strict=True):
            if responders is not None:
                await self._judge(route, responders)

    async def _judge(self, route: Route, responders: set[str]) -> None:
        """Compare a probe's answer with what was known, and tell what changed."""
        before, known = route.presence, set(route.seen)
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
        return all(each is not None and not each & known for each in answers)

    async def _ask(self, routes: Sequence[Route]) -> list[set[str] | None]:
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
        answers = [self._answers.pop(token).responders() for token in tokens]
        return answers + [None] * (len(routes) - len(answers))

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            token = frame.subject.rpartition(".")[2]
            if token in self._answers:
                self._answers[token].add(frame.payload)
        self._told.set()


class Trace:
    """What servers report about one probe: each tells of its own subscribers.

    A server names clients, and for each other server of the cluster that it would hand the
    message to a *hop*; that one reports by itself. So the answer is complete with one event
    more than there are hops, and only then a route to a server is known to lead to somebody.
    """

    __slots__ = ("_clients", "_events", "_hops", "_told")

    def __init__(self) -> None:
        self._clients: set[str] = set()
        self._hops: dict[str, str] = {}
        self._told: set[str] = set()
        self._events = 0

    @property
    def complete(self) -> bool:
        """Whether every server that was named has reported."""
        return self._events > 0 and self._told >= self._hops.keys()

    def add(self, event: bytes) -> None:
        """Take the report of one server; one that cannot be read names nobody."""
        self._events += 1
        try:
            found = msgspec.json.decode(event)
            server = str((found.get("server") or {}).get("id", ""))
            headers = (found.get("request") or {}).get("header") or {}
            self._told.update(map(str, headers.get("Nats-Trace-Hop") or ()))
            for each in found.get("events") or []:
                if each.get("type") != "eg" or each.get("error"):
                    continue
                name = f"{server}/{each.get('cid', each.get('name', ''))}"
                if each.get("hop"):
                    self._hops[str(each["hop"])] = name
                else:
                    self._clients.add(name)
        except (msgspec.DecodeError, AttributeError, TypeError):
            return

    def responders(self) -> set[str] | None:
        """Return who would get a message, None when nobody has reported.

        A server that has not reported in time is taken at the word of the one that named it.
        """
        if not self._events:
            return None
        return self._clients | {name for hop, name in self._hops.items() if hop not in self._told}
