"""Daemon: wires the supervision tree; start -> ready -> drain -> stopped.

    daemon (rest_for_one)
    ├─ server      (one_for_one) the embedded nats-server, when there is one
    ├─ bridge      the connection
    ├─ store       streams, keys, lease, writers
    ├─ actors      the actor system
    ├─ router      routes and presence
    ├─ workflows   owner, requests, reader, checkpoints
    └─ edges       (one_for_one) API, health

What a child makes for those after it stands in ``Parts``; when a child is restarted, all that
come after it are made anew from it.
"""

from __future__ import annotations

import socket
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast

import structlog
import trio

from actors import streams
from actors.archive import Archive
from actors.dead_letters import DeadLetters
from actors.definitions import Definitions
from actors.direct_reader import DirectReader
from actors.fold_guard import FoldGuard
from actors.kv import Kv
from actors.kv_definitions import KvDefinitionStore
from actors.late import Late
from actors.leases import Leases
from actors.local import LocalService, RunLocal
from actors.outbox import Outbox, ttl
from actors.owner import Owner
from actors.packing import pack
from actors.partitions import FencedError
from actors.requests import Requests
from actors.router import Router
from actors.spawning import Spawning
from actors.stream_reader import StreamReader
from actors.stream_writer import StreamWriter
from actors.system import open_system
from protocols.errors import ConfigurationError, MovantError
from protocols.tokens import KeyRing
from runtime import collector
from runtime.bridge.transport import connect
from runtime.checkpoints import Checkpoints
from runtime.client_discovery import login
from runtime.clock import SystemClock, SystemEntropy
from runtime.config import DaemonConfig
from runtime.epochs import mark
from runtime.gateway import Gateway
from runtime.health import serve_health
from runtime.identity import is_dead, own_lease
from runtime.parts import Parts
from runtime.retention import collect, first_of_mail
from runtime.server.configuration import Settings
from runtime.server.embedded import EmbeddedServer
from runtime.started import Looking, WhenUp
from supervisors.child import ChildSpec, ChildStatus
from supervisors.incarnation import ChildView
from supervisors.intensity import Intensity
from supervisors.strategy import Strategy
from supervisors.supervisor import Supervisor
from supervisors.tree import SupervisorSpec, build

VERSION: Final = metadata.version("movant")
STREAMS: Final = ("MAIL", "TIMERS", "EVENTS", "ARCHIVE", "DEAD")
REPLY_KEY_BYTES: Final = 32

log = structlog.get_logger()


class Daemon:
    """One daemon. ``run`` returns after ``drain``; it raises what nobody could mend."""

    def __init__(self, config: DaemonConfig) -> None:
        self.config = config
        self.clock = SystemClock()
        self.entropy = SystemEntropy()
        self.parts = Parts()
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
        found = []
        transport = getattr(self.parts, "transport", None)
        if transport is None or not transport.connected:
            found.append("no connection to NATS")
        owner = getattr(self.parts, "owner", None)
        if owner is not None and owner.crashes:
            found.append(f"{len(owner.crashes)} instances crashed in this daemon")
        router = getattr(self.parts, "router", None)
        if router is not None:
            found += [
                f"stream {each.captured_by} captures {each.subject}"
                for each in router.views()
                if each.captured_by
            ]
        return found

    def drain(self) -> None:
        """Begin a graceful stop. Idempotent."""
        self._drain.set()

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained. Reports ``started(self)`` when instances are hosted.

        Raises the error that ended it when that was not a drain.
        """
        collector.tune()
        root = self._root = build(self._tree(), seed=self.name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervise, root)
            await self._changed.wait()
            if self._fatal is None and not self._drain.is_set():
                self.state = "ready"
                log.info(
                    "daemon.ready", daemon=self.name, url=self.url, durability=self.durability
                )
                task_status.started(self)
                await self._drain.wait()
                self.state = "draining"
                if self._fatal is None:
                    log.info("daemon.draining", timeout_s=self.config.drain_timeout_s)
                    with trio.move_on_after(self.config.drain_timeout_s):
                        await self._finish()
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

    async def _finish(self) -> None:
        """Take nothing new, let what is under way be stored, write the last checkpoint."""
        parts = self.parts
        parts.reader.stop()
        await parts.owner.drained()
        await parts.local.drained()
        for name in STREAMS:
            await parts.writers[name].drained()
        await parts.checkpoints.store(parts.owner.checkpoint())
        await parts.leases.release()

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
            ChildSpec(id="workflows", start=self._workflows, start_timeout_s=600.0),
            SupervisorSpec(
                id="edges",
                children=(
                    ChildSpec(id="api", start=self._api),
                    ChildSpec(id="health", start=self._health),
                    ChildSpec(id="collector", start=self._collect),
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
                )
            )
        await server.run(Looking(task_status, lambda url: setattr(self, "url", url)))

    async def _bridge(self, *, task_status: ChildStatus) -> None:
        async with connect(
            self.url, name=f"movant {self.name}", **login(self.config.nats)
        ) as transport:
            self.parts.transport = transport
            task_status.started()
            await transport.wait_failed()

    async def _store(self, *, task_status: ChildStatus) -> None:
        """Check streams, load keys, take the lease, run the writers."""
        parts, config = self.parts, self.config
        transport = parts.transport
        try:
            await streams.ensure(
                transport,
                streams.wanted(partitions=config.partitions, replicas=config.replicas),
            )
            parts.keys = await self._keys(Kv(transport, "movant_keys"))
            parts.leases = Leases(
                Kv(transport, "movant_leases"),
                self.clock,
                own_lease(self.name),
                is_dead,
            )
            epoch = await parts.leases.take(wait_s=config.lease_wait_s)
        except ConfigurationError as error:
            self._give_up(error)
            raise
        log.info("lease.taken", epoch=epoch)
        checkpoints = Kv(transport, "movant_checkpoints")
        parts.definition_store = KvDefinitionStore(Kv(transport, "movant_definitions"))
        parts.definitions = Definitions(parts.definition_store)
        parts.writers = {
            name: StreamWriter(transport, self.entropy, name=name)
            for name in (*STREAMS, checkpoints.stream)
        }
        parts.checkpoints = Checkpoints(checkpoints, parts.writers[checkpoints.stream])
        async with trio.open_nursery() as nursery:
            for writer in parts.writers.values():
                await nursery.start(writer.run)
            nursery.start_soon(parts.leases.run)
            task_status.started()

    async def _actors(self, *, task_status: ChildStatus) -> None:
        async with open_system() as system:
            self.parts.system = system
            task_status.started()
            await trio.sleep_forever()

    async def _route(self, *, task_status: ChildStatus) -> None:
        parts = self.parts
        router = parts.router = Router(
            parts.transport,
            self.entropy,
            # Late: the requests are made by the child after this one.
            lambda route, newcomer: parts.requests.presence_changed(route, newcomer),  # noqa: PLW0108
            foreign=self.config.services,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(router.run)
            task_status.started()

    async def _workflows(self, *, task_status: ChildStatus) -> None:
        """Recover and host instances."""
        parts, config = self.parts, self.config
        stored = await parts.checkpoints.load()
        dead = DeadLetters(parts.writers["DEAD"])
        retention = config.retention
        async with (
            DirectReader(parts.transport, "MAIL") as mailboxes,
            DirectReader(parts.transport, "ARCHIVE") as archived,
            trio.open_nursery() as nursery,
        ):
            parts.mailboxes = mailboxes
            parts.archive = Archive(parts.transport, archived, replicas=config.replicas)
            local = parts.system.start(LocalService, parts.writers["MAIL"])
            parts.local = cast("LocalService", parts.system.registry.actor_of(local))
            owner = parts.owner = Owner(
                parts.system,
                self.clock,
                parts.keys,
                parts.definitions,
                mailboxes,
                guard=FoldGuard(self.clock),
                partitions=config.partitions,
                epoch=parts.leases.epoch,
                archive=parts.archive,
                first=await first_of_mail(parts.transport),
                live_max=config.limits.live_instances_max,
                checkpoints=stored,
                dead=dead.take,
                refill=lambda: parts.reader.refill(),  # noqa: PLW0108  # made below
            )
            parts.requests = Requests(
                parts.transport,
                parts.router,
                self.clock,
                parts.keys,
                live=owner.live.values,
                decide=owner.decisions.attempt,
                local=lambda _, ask, reply: local.tell(RunLocal(ask, reply)),
            )
            outbox = parts.outbox = Outbox(
                parts.writers,
                owner.settled,
                Spawning(
                    parts.writers["MAIL"],
                    mailboxes,
                    parts.keys,
                    config.partitions,
                    nursery.start_soon,
                ),
                position=owner.handed,
                finished_s=retention.finished_s,
                events_s=retention.events_s,
            )
            late = Late(
                parts.writers["MAIL"],
                parts.writers["EVENTS"],
                event_lines=ttl(retention.events_s),
            )
            owner.wire(parts.requests, outbox, late)
            parts.reader = StreamReader(
                parts.transport,
                self.entropy,
                stream="MAIL",
                after=owner.after,
                sink=owner.take,
                demand=owner.demand,
            )
            for path in config.workflows:
                await self.register(path)
            nursery.start_soon(self._host, owner)
            await nursery.start(parts.requests.run)
            await nursery.start(parts.reader.run)
            parts.transport.on_state(
                lambda up: parts.requests.reconnected() if up and owner is parts.owner else None
            )
            await self._mark(parts.leases.epoch)
            await owner.caught_up()
            log.info("owner.caught_up", position=owner.statistics().position)
            nursery.start_soon(parts.checkpoints.run, owner.checkpoint)
            nursery.start_soon(collector.tidy, lambda: len(owner.live))
            task_status.started()

    async def _host(self, owner: Owner) -> None:
        try:
            await owner.run()
        except FencedError as error:
            self._give_up(error)
        finally:
            owner.close()
            owner.guard.close()
            self.parts.system.kill(self.parts.local.actor_ref)

    async def _api(self, *, task_status: ChildStatus) -> None:
        await Gateway(self).run(task_status=task_status)

    async def _collect(self, *, task_status: ChildStatus) -> None:
        await collect(self, task_status=task_status)

    async def _health(self, *, task_status: ChildStatus) -> None:
        await serve_health(self, task_status=task_status)

    def _give_up(self, error: MovantError) -> None:
        """Stop the daemon with an error that a restart cannot mend."""
        self._fatal = error
        self._drain.set()
        if self._root is not None:
            self._root.request_stop()

    # What the children need.

    async def register(self, path: Path) -> list[str]:
        """Pack and register the workflows of a file; return their names."""
        packed = await trio.to_thread.run_sync(pack, path)
        await self.parts.definitions.register(packed)
        self.parts.owner.registered(packed.workflows)
        log.info("workflow.registered", hash=packed.hash, workflows=list(packed.workflows))
        return list(packed.workflows)

    async def _keys(self, kv: Kv) -> KeyRing:
        """Load the reply keys; make the first one."""
        found = {each.key: each.value for each in await kv.all()}
        if not found:
            key_id = self.entropy.token(2)
            await kv.put(key_id, bytes.fromhex(self.entropy.token(REPLY_KEY_BYTES)), revision=0)
            found = {each.key: each.value for each in await kv.all()}
        return KeyRing(list(found)[-1], found)

    async def _mark(self, epoch: int) -> None:
        """Begin our epoch in every partition."""
        writer = self.parts.writers["MAIL"]
        for partition in range(self.config.partitions):
            mark(writer, partition, epoch, self.name)
        await writer.drained()
