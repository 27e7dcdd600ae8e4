"""Daemon: wires the supervision tree; start -> ready -> drain -> stopped.

    daemon (rest_for_one)
    ├─ server      (one_for_one) the embedded nats-server, when there is one
    ├─ bridge      the connection
    ├─ store       streams, keys, lease, writers
    ├─ actors      the actor system
    ├─ router      routes and presence
    ├─ services    (one_for_one) the connectors that are hosted here, when there are some
    ├─ workflows   owner, requests, reader, checkpoints
    └─ edges       (one_for_one) triggers, API, HTTP

What a child makes for those after it stands in ``Parts``; when a child is restarted, all that
come after it are made anew from it.
"""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path
from typing import Any, cast

import structlog
import trio

from actors.core.system import open_system
from actors.definitions.registry import Definitions
from actors.definitions.stored import KvDefinitionStore
from actors.owning.assignment import Assignment
from actors.owning.fold_guard import FoldGuard
from actors.owning.heard import hear
from actors.owning.intake import Intake
from actors.owning.late import Late
from actors.owning.markers import mark
from actors.owning.outbox import Outbox
from actors.owning.owner import Owner
from actors.owning.spawning import Spawning
from actors.routing.pings import Pings
from actors.routing.requests import Requests
from actors.routing.router import Router
from actors.services.local import LocalService, RunLocal
from actors.store import streams
from actors.store.archive import Archive
from actors.store.dead_letters import DeadLetters
from actors.store.direct_reader import DirectReader
from actors.store.ferry import Ferry
from actors.store.kv import Kv
from actors.store.leases import Leases
from actors.store.neighbours import refuse_neighbours
from actors.store.readers import Readers
from actors.store.strays import Strays
from actors.store.stream_writer import StreamWriter
from actors.store.values import Values
from protocols.errors import ConfigurationError, MovantError
from runtime import collector
from runtime.accounts import serve_accounts
from runtime.api.gateway import serve_api
from runtime.bridge.connection import connect
from runtime.checkpoints import Checkpoints
from runtime.checks import wanted_streams
from runtime.client.discovery import login, own_login
from runtime.clock import SystemClock, SystemEntropy
from runtime.config import DaemonConfig, redacted
from runtime.connectors.hosting import hosted
from runtime.draining import STREAMS, drain
from runtime.holds import StoredHolds
from runtime.identity import ALIVE, is_dead, own_member
from runtime.parts import Parts
from runtime.problems import problems
from runtime.registering import register_file
from runtime.reply_keys import load_keys
from runtime.retention import collect
from runtime.server.accounts import foreign_subjects, heard_subjects
from runtime.server.configuration import Settings
from runtime.server.embedded import EmbeddedServer
from runtime.started import Looking, WhenUp
from runtime.triggers.hosting import host_triggers
from runtime.turns import give_turns
from runtime.undoing import ChildUndos
from runtime.version import VERSION
from supervisors.child import ChildSpec, ChildStatus
from supervisors.incarnation import ChildView
from supervisors.intensity import Intensity
from supervisors.strategy import Strategy
from supervisors.supervisor import Supervisor
from supervisors.tree import SupervisorSpec, build

log = structlog.get_logger()


class Daemon:
    """One daemon. ``run`` returns after ``drain``; it raises what nobody could mend."""

    def __init__(self, config: DaemonConfig) -> None:
        self.config = config
        self.clock = SystemClock()
        self.entropy = SystemEntropy()
        self.parts = Parts()
        self.key = self.entropy.token(8)
        """Which daemon this is among those of its NATS account, in this life."""
        self.state = "starting"
        self.started_at = self.clock.monotonic()
        self._drain = trio.Event()
        self._changed = trio.Event()
        """Set when the tree is up, or has ended."""
        self._fatal: MovantError | None = None
        self._root: Supervisor | None = None
        self.url = config.nats.url

    # For the command line and the edges.

    @property
    def version(self) -> str:
        """The version of movant."""
        return VERSION

    def new_id(self) -> str:
        """Return a fresh id that sorts by time."""
        return f"{self.clock.now_ns() // 1_000_000:011x}{self.entropy.token(6)}"

    @property
    def name(self) -> str:
        """The daemon's name, unique in its NATS account."""
        return self.config.name or socket.gethostname()

    @property
    def durability(self) -> str:
        """What an acknowledgement means here: fsync, interval or replicated."""
        if self.config.nats.url:
            return "replicated" if self.config.replicas > 1 else "server"
        return self.config.server.durability

    def tree(self) -> ChildView | None:
        """Return the supervision tree as data."""
        return None if self._root is None else self._root.view()

    def problems(self) -> list[str]:
        """Return what a person should look at."""
        return problems(self.parts)

    def drain(self) -> None:
        """Begin a graceful stop. Idempotent."""
        self._drain.set()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained. Reports ``started(self)`` when instances are hosted.

        Raises the error that ended it when that was not a drain.
        """
        collector.tune(collector.YOUNG)
        root = self._root = build(self._tree(), seed=self.name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervise, root)
            await self._changed.wait()
            if self._fatal is None and not self._drain.is_set():
                collector.settle()
                self.state = "ready"
                log.info(
                    "daemon.ready",
                    daemon=self.name,
                    url=redacted(self.url),
                    durability=self.durability,
                )
                task_status.started(self)
                await self._drain.wait()
                self.state = "draining"
                if self._fatal is None:
                    log.info("daemon.draining", timeout_s=self.config.drain_timeout_s)
                    with trio.move_on_after(self.config.drain_timeout_s):
                        await drain(self.parts)
            root.request_stop()
        self.state = "stopped"
        log.info("daemon.stopped", daemon=self.name)
        if self._fatal is not None:
            raise self._fatal

    async def _supervise(self, root: Supervisor) -> None:
        try:
            await root.run(task_status=WhenUp(self._changed.set))
        except MovantError as error:
            self._fatal = self._fatal or error
        finally:
            self._drain.set()
            self._changed.set()

    # The tree.

    def _tree(self) -> SupervisorSpec:
        children: list[ChildSpec | SupervisorSpec] = []
        if not self.config.nats.url:
            children.append(
                SupervisorSpec(
                    id="server",
                    children=(
                        ChildSpec(
                            id="nats-server",
                            start=self._serve_nats,
                            shutdown=20.0,
                            start_timeout_s=180.0,
                        ),
                    ),
                    intensity=Intensity(restarts_max=5, period_s=60.0),
                    start_timeout_s=240.0,
                )
            )
        children += [
            ChildSpec(id="bridge", start=self._bridge),
            ChildSpec(id="store", start=self._store, start_timeout_s=60.0),
            ChildSpec(id="actors", start=self._actors),
            ChildSpec(id="router", start=self._route),
            *hosted(self.config.connectors, self.parts),
            ChildSpec(id="workflows", start=self._workflows, start_timeout_s=600.0),
            SupervisorSpec(
                id="edges",
                children=(
                    ChildSpec(id="triggers", start=partial(host_triggers, self)),
                    ChildSpec(id="api", start=partial(serve_api, self)),
                    ChildSpec(id="budgets", start=partial(serve_accounts, self)),
                    ChildSpec(id="http", start=self._edge),
                    ChildSpec(id="collector", start=partial(collect, self)),
                ),
            ),
        ]
        return SupervisorSpec(
            id="daemon",
            children=tuple(children),
            strategy=Strategy.REST_FOR_ONE,
            intensity=Intensity(restarts_max=5, period_s=60.0),
            start_timeout_s=900.0,
        )

    async def _serve_nats(self, *, task_status: ChildStatus) -> None:
        server = getattr(self.parts, "server", None)
        if server is None:
            chosen = self.config.server
            server = self.parts.server = EmbeddedServer(
                Settings(
                    store=chosen.store,
                    port=chosen.port,
                    durability=chosen.durability,
                    store_bytes_max=chosen.file_store_bytes_max,
                    free_bytes_min=chosen.free_bytes_min,
                    foreign=foreign_subjects(self.config.services),
                    heard=heard_subjects(chosen.client_subjects),
                )
            )
        await server.run(Looking(task_status, lambda url: setattr(self, "url", url)))

    async def _bridge(self, *, task_status: ChildStatus) -> None:
        nats = self.config.nats
        if not nats.url:
            nats = own_login(self.config.server.store, self.url, "daemon")
        async with connect(self.url, name=f"movant {self.name}", **login(nats)) as transport:
            self.parts.transport = transport
            task_status.started()
            await transport.wait_failed()

    async def _store(self, *, task_status: ChildStatus) -> None:
        """Check streams, load keys, join the other daemons, run the writers."""
        parts, config, transport = self.parts, self.config, self.parts.transport
        try:
            await refuse_neighbours(transport, foreign_subjects(config.services))
            await streams.ensure(transport, wanted_streams(config))
            keys = Kv(transport, "movant_keys")
            parts.keys = await streams.patiently(lambda: load_keys(keys, self.entropy))
        except ConfigurationError as error:
            self._give_up(error)
            raise
        checkpoints = Kv(transport, "movant_checkpoints")
        parts.definition_store = KvDefinitionStore(Kv(transport, "movant_definitions"))
        parts.definitions = Definitions(parts.definition_store)
        parts.holds = StoredHolds(parts)
        parts.writers = {
            name: StreamWriter(transport, self.entropy, name=name)
            for name in (*STREAMS, checkpoints.stream)
        }
        parts.checkpoints = Checkpoints(checkpoints, parts.writers[checkpoints.stream])
        parts.leases = Leases(
            Kv(transport, "movant_leases"),
            self.clock,
            self.key,
            own_member(self.name, self.version),
            is_dead,
            partitions=config.partitions,
        )
        transport.keep_fresh(lambda: parts.leases.held)
        ALIVE.add(self.key)
        try:
            async with trio.open_nursery() as nursery:
                parts.values = Values(transport, nursery.start_soon, config.limits.value_bytes_max)
                for writer in parts.writers.values():
                    await nursery.start(writer.run)
                await streams.patiently(parts.leases.join)
                # Behind our record: see runtime.api.holds.
                await streams.patiently(parts.holds.load)
                nursery.start_soon(parts.leases.run, transport.beat)
                nursery.start_soon(parts.holds.run)
                task_status.started()
        finally:
            ALIVE.discard(self.key)

    async def _actors(self, *, task_status: ChildStatus) -> None:
        async with open_system() as system:
            self.parts.system = system
            task_status.started()
            await trio.sleep_forever()

    async def _edge(self, *, task_status: ChildStatus) -> None:
        if not self.config.http.address:
            task_status.started()
            await trio.sleep_forever()
        from runtime.http import serve_edge  # noqa: PLC0415 - a web server takes long to import

        await serve_edge(self, task_status=task_status)

    async def _route(self, *, task_status: ChildStatus) -> None:
        parts = self.parts
        router = parts.router = Router(
            parts.transport,
            self.entropy,
            # Late: the requests are made by the child after this one.
            lambda route, newcomer: parts.requests.presence_changed(route, newcomer),  # noqa: PLW0108
            foreign=self.config.services,
            settings=self.config.flow,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(router.run)
            nursery.start_soon(Pings(parts.transport, self.clock, router.in_use).run)
            task_status.started()

    async def _workflows(self, *, task_status: ChildStatus) -> None:
        """Recover and host instances."""
        parts, config, values = self.parts, self.config, self.parts.values
        async with (
            DirectReader(parts.transport, "MAIL", replicas=config.replicas) as mailboxes,
            DirectReader(parts.transport, "ARCHIVE") as archived,
            trio.open_nursery() as nursery,
        ):
            parts.mailboxes = mailboxes
            parts.archive = Archive(parts.transport, archived, replicas=config.replicas)
            await streams.patiently(mailboxes.first)
            local = parts.system.start(LocalService, parts.writers["MAIL"], values.answers)
            parts.local = cast("LocalService", parts.system.registry.actor_of(local))
            owner = parts.owner = Owner(
                parts.system,
                self.clock,
                parts.keys,
                parts.definitions,
                mailboxes,
                guard=FoldGuard(self.clock),
                partitions=config.partitions,
                archive=parts.archive,
                resolving=values.resolving,
                live_max=config.limits.live_instances_max,
                refill=lambda: parts.readers.refill(),  # noqa: PLW0108  # made below
            )
            parts.requests = Requests(
                parts.transport,
                parts.router,
                self.clock,
                parts.keys,
                live=owner.live.values,
                decide=owner.decisions.attempt,
                local=lambda _, ask, reply: local.tell(RunLocal(ask, reply)),
                may_act=lambda partition: parts.leases.held and owner.acts_in(partition),
                rouse=owner.rouse,
                hear=partial(hear, owner),
                routed=owner.decisions.routed,
                locality=config.locality,
                holds=parts.holds.holds,
                reask_s=config.reask_s,
                storing=values.storing,
            )
            spawning = Spawning(
                parts.writers["MAIL"], mailboxes, parts.keys, config.partitions, nursery.start_soon
            )
            outbox = parts.outbox = Outbox(
                parts.writers,
                owner.settled,
                spawning,
                position=owner.partitions.known_to,
                undo=ChildUndos(self, spawning, nursery.start_soon).undo,
                storing=values.storing,
            )
            owner.wire(parts.requests, outbox, Late(parts.writers, values.blobs))
            await nursery.start(give_turns, self)
            dead = DeadLetters(parts.writers["DEAD"])
            intake = parts.intake = Intake(
                owner,
                parts.keys,
                dead=dead.take,
                lost=lambda: parts.assignment.again(),  # noqa: PLW0108  # made below
            )
            parts.readers = Readers(
                parts.transport,
                self.entropy,
                owner.partitions,
                take=intake.take,
                take_all=intake.take_all,
                demand=owner.demand,
                ready=lambda: parts.leases.held,
                missing=lambda: parts.assignment.again(),  # noqa: PLW0108  # made below
            )
            parts.assignment = Assignment(
                parts.leases,
                owner,
                parts.readers,
                parts.checkpoints,
                partial(mark, parts.writers["MAIL"], self.name),
            )
            for path in config.workflows:
                await self.register(path)
            kept = Kv(parts.transport, "movant_checkpoints")
            strays = Strays(parts.transport, self.entropy, kept, dead, lambda: owner.acts_in(0))
            nursery.start_soon(strays.run)
            await nursery.start(self._host, owner)
            await nursery.start(parts.requests.run)
            await nursery.start(parts.readers.run)
            parts.transport.on_state(
                lambda up: parts.requests.reconnected() if up and owner is parts.owner else None
            )
            await nursery.start(parts.assignment.run)
            await owner.caught_up()
            log.info("owner.caught_up", position=owner.statistics().position)
            nursery.start_soon(parts.checkpoints.run, owner.checkpoint)
            if config.replicas > 1:  # one server goes on importing at once
                parts.ferry = Ferry(parts.transport, parts.writers["MAIL"], owner.acts_in)
                nursery.start_soon(parts.ferry.run)
            nursery.start_soon(collector.tidy, lambda: len(owner.live))
            task_status.started()

    async def _host(self, owner: Owner, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await owner.run(task_status=task_status)
        finally:
            owner.close()
            owner.guard.close()
            self.parts.system.kill(self.parts.local.actor_ref)

    def _give_up(self, error: MovantError) -> None:
        """Stop the daemon with an error that a restart cannot mend."""
        self._fatal = error
        self._drain.set()
        if self._root is not None:
            self._root.request_stop()

    async def register(self, path: Path) -> list[str]:
        """Pack and register the workflows of a file; return their names."""
        return await register_file(self, path)
