"""ServiceHost: hosted services as a process of their own.

    run_service(health, nats="nats://127.0.0.1:4222")

SIGTERM and SIGINT drain: nothing new is taken, what runs is answered and stored, exit code 0.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog
import trio

from actors.core.ref import TrioRef
from actors.core.system import ActorSystem, open_system
from actors.services.large_answers import LargeAnswers
from actors.services.service import ServiceActor
from actors.store.blobs import Blobs
from actors.store.stream_writer import StreamWriter
from protocols.errors import ConfigurationError, OverloadedError
from protocols.ports import Frame, Subscription, Transport
from protocols.service import Service
from runtime import collector, telemetry
from runtime.bridge.connection import connect
from runtime.client.discovery import login, with_login
from runtime.clock import SystemClock, SystemEntropy
from runtime.config import nats_from_environment, redacted
from runtime.discovery import QUEUE_GROUP, Discovery

DRAIN_S: Final = 30.0
"""How long a stop waits for handlers; what is not answered then is asked again."""

log = structlog.get_logger()


def run_service(
    *services: Service, nats: str = "", store: Path | None = None, drain_s: float = DRAIN_S
) -> None:
    """Serve until SIGTERM or SIGINT. Blocks; call it from a program's main.

    ``nats`` is the server's URL; without it MOVANT_NATS__URL (or MOVANT_NATS) is used. On the
    server of a daemon of this machine the login is found by itself; ``store`` is that daemon's
    directory when it is not the usual one. A program that has not configured structlog logs as
    movant's own programs do. Raises ConfigurationError and DisconnectedError when serving cannot
    begin.
    """
    if not services:
        raise ConfigurationError("no service to run")
    if not structlog.is_configured():
        telemetry.configure()
    trio.run(partial(_main, services, nats, store, drain_s))


async def _main(
    services: Sequence[Service], nats: str, store: Path | None, drain_s: float
) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_signal, stop)
        await serve(services, nats, stop, store=store, drain_s=drain_s)
        nursery.cancel_scope.cancel()


async def until_signal(stop: trio.Event) -> None:
    """Set ``stop`` at SIGTERM or SIGINT, and end the process at the second one."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            if stop.is_set():
                os._exit(130)  # the second one: at once
            stop.set()


class Hosting(Protocol):
    """What it takes to host a service here."""

    @property
    def system(self) -> ActorSystem:
        """Where its actor runs."""
        ...

    @property
    def transport(self) -> Transport:
        """Where requests come from."""
        ...

    @property
    def writer(self) -> StreamWriter:
        """Writes answers into mailboxes."""
        ...


class Served(NamedTuple):
    """A connection to a server, with what it takes to host services on it."""

    system: ActorSystem
    transport: Transport
    writer: StreamWriter
    url: str


@asynccontextmanager
async def served(nats: str, *, names: str, store: Path | None = None) -> AsyncIterator[Served]:
    """Connect to a server, and yield what it takes to host services on it.

    Raises ConfigurationError and DisconnectedError.
    """
    settings = nats_from_environment(nats)
    if not settings.url:
        raise ConfigurationError(
            "no NATS server is named", hint="pass nats=… or set MOVANT_NATS=nats://127.0.0.1:4222"
        )
    settings = with_login(settings, store, "service")
    collector.tune()
    async with (
        connect(settings.url, name=f"service {names}", **login(settings)) as transport,
        trio.open_nursery() as nursery,
    ):
        writer = StreamWriter(transport, SystemEntropy(), name="MAIL")
        await nursery.start(writer.run)
        async with open_system() as system:
            yield Served(system, transport, writer, redacted(settings.url))
        nursery.cancel_scope.cancel()
    log.info("service.stopped", services=names)


async def serve(
    services: Sequence[Service],
    nats: str,
    stop: trio.Event,
    *,
    store: Path | None = None,
    drain_s: float = DRAIN_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``stop``; then drain."""
    names = ", ".join(each.name for each in services)
    async with (
        served(nats, names=names, store=store) as hosting,
        trio.open_nursery() as nursery,
    ):
        for service in services:
            await nursery.start(partial(offer, hosting, service, stop, drain_s=drain_s))
        log.info("service.ready", services=names, url=hosting.url)
        task_status.started()


async def offer(
    hosting: Hosting,
    service: Service,
    stop: trio.Event,
    *,
    drain_s: float = DRAIN_S,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Take requests for a service until ``stop``; then answer what was taken, and end."""
    actor = _start(hosting, service)
    subscriptions: list[Subscription] = []
    try:
        subscriptions += await _subscribe(hosting.transport, SystemEntropy().token(10), actor)
        task_status.started()
        await stop.wait()
        log.info("service.draining", services=service.name)
        for each in subscriptions:
            each.unsubscribe()
        with trio.move_on_after(drain_s):
            await actor.drained()
            await hosting.writer.drained()
    finally:
        for each in subscriptions:
            each.unsubscribe()
        actor.actor_ref.request_stop()


def _start(hosting: Hosting, service: Service) -> ServiceActor:
    ref: TrioRef[ServiceActor] = hosting.system.start(
        ServiceActor,
        service,
        hosting.transport,
        hosting.writer,
        SystemClock(),
        LargeAnswers(Blobs(hosting.transport, alone=True)),
        name=f"service/{service.name}",
    )
    actor = hosting.system.registry.actor_of(ref)
    assert isinstance(actor, ServiceActor)
    return actor


async def _subscribe(
    transport: Transport, service_id: str, actor: ServiceActor
) -> list[Subscription]:
    service = actor.service
    subscriptions: list[Subscription] = []
    endpoints = {name: f"movant.svc.{service.name}.{name}" for name in service.operations}

    def take(frames: Sequence[Frame]) -> None:
        tell = actor.actor_ref.tell
        for frame in frames:
            try:
                tell(frame)
            except OverloadedError:
                actor.refuse(frame)

    subscriptions += [
        await transport.subscribe(subject, take, queue=QUEUE_GROUP)
        for subject in endpoints.values()
    ]
    subscriptions += await Discovery(transport).serve(
        name=service.name,
        version=service.version,
        service_id=service_id,
        endpoints=endpoints,
        descriptions={name: each.description for name, each in service.operations.items()},
        numbers=actor.numbers_of,
        description=service.description,
        queue=QUEUE_GROUP,
    )
    return subscriptions
