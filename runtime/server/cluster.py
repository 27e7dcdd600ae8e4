"""Cluster: three nats-servers of this machine as one NATS cluster, each restarted when it dies.

    cluster (one_for_one)
    ├─ n1      EmbeddedServer in STORE/n1
    ├─ n2      … in STORE/n2
    └─ n3      … in STORE/n3

For trying and for tests: three servers on one disk survive the death of a process, not of the
machine. The stores are kept, so the same directory is the same cluster again.

The ports of the routes have to be known before the first node starts; one that somebody takes
in between makes all of them be picked anew. The clients' ports are each server's own and kept
over restarts. Users and passwords are those of an embedded server, in STORE/credentials.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from protocols.errors import MovantError
from runtime.server import credentials, health
from runtime.server.binary import Binary, find
from runtime.server.configuration import LOOPBACK, Durability, Node, Settings
from runtime.server.embedded import EmbeddedServer
from runtime.server.errors import PortTakenError, ServerDiedError
from runtime.started import WhenUp
from supervisors.backoff import Backoff
from supervisors.child import ChildSpec, ChildStatus, StartFailedError
from supervisors.intensity import Intensity
from supervisors.supervisor import Supervisor
from supervisors.tree import SupervisorSpec, build

NODES: Final = 3
"""The least that goes on without one: a majority of three is two."""
NAME: Final = "movant"
JETSTREAM_S_MAX: Final = 60.0
"""From the last node's start to the first meta leader: 1 to 3 s, on a busy machine more."""
TRIES_MAX: Final = 5
"""So often other route ports are picked."""
INTENSITY: Final = Intensity(restarts_max=30, period_s=60.0)
"""Many: here servers are killed on purpose."""
BACKOFF: Final = Backoff(max_delay_s=1.0)
_POLL_S: Final = 0.05
_ANSWER_S: Final = 2.0
_PASSWORD_BYTES: Final = 16

log = structlog.get_logger(__name__)


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What may be chosen. Ports: of the clients, by node; none: free ones, kept."""

    store: Path
    nodes: int = NODES
    ports: tuple[int, ...] = ()
    durability: Durability = "interval"
    """Each acknowledged message is on a majority of nodes; ``fsync``: on their disks as well."""


class Cluster:
    """The nodes and their supervisor. ``run`` serves until cancelled."""

    def __init__(self, settings: ClusterSettings, *, binary: Binary | None = None) -> None:
        assert len(settings.ports) in {0, settings.nodes}, "a port for each node, or none"
        self.settings = settings
        self._binary = binary
        self.nodes: dict[str, EmbeddedServer] = {}

    @property
    def urls(self) -> list[str]:
        """Where clients connect, by node; valid once started, the same over restarts."""
        return [each.url for each in self.nodes.values()]

    @property
    def url(self) -> str:
        """All of them, as ``nats.url`` takes them."""
        return ",".join(self.urls)

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; report the url when JetStream is served by all nodes.

        Raises a ConfigurationError when a person has to act, ServerDiedError when the nodes do
        not find each other, RestartIntensityExceededError when they die again and again.
        """
        if self._binary is None:
            self._binary = await trio.to_thread.run_sync(find)
        for left in range(TRIES_MAX, 0, -1):
            try:
                await self._run(self._binary, task_status)
            except StartFailedError as error:
                if error.__cause__ is None:
                    raise
                if not isinstance(error.__cause__, PortTakenError) or left == 1:
                    raise error.__cause__ from error
            else:
                return

    async def _run(self, binary: Binary, task_status: trio.TaskStatus[str]) -> None:
        self.settings.store.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = free_ports(self.settings.nodes)
        password = secrets.token_hex(_PASSWORD_BYTES)
        self.nodes = {
            f"n{number + 1}": EmbeddedServer(
                self._settings(number, tuple(ports), password), binary=binary
            )
            for number in range(self.settings.nodes)
        }
        root = self._supervisor()
        settled = trio.Event()
        failure: MovantError | None = None

        async def supervise() -> None:
            nonlocal failure
            try:
                await root.run(task_status=WhenUp(settled.set))
            except MovantError as error:
                failure = failure or error  # raised below: outside of the nursery's group
            finally:
                settled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise)
            await settled.wait()
            if failure is None:
                try:
                    await self._jetstream()
                except ServerDiedError as error:
                    failure = error
                    root.request_stop()
                else:
                    log.info("cluster.started", url=self.url)
                    task_status.started(self.url)
        if failure is not None:
            raise failure

    def _supervisor(self) -> Supervisor:
        def child(server: EmbeddedServer, name: str) -> ChildSpec:
            async def start(*, task_status: ChildStatus) -> None:
                await server.run(_Told(task_status))

            return ChildSpec(id=name, start=start, shutdown=20.0, start_timeout_s=180.0)

        return build(
            SupervisorSpec(
                id="cluster",
                children=tuple(child(server, name) for name, server in self.nodes.items()),
                intensity=INTENSITY,
                backoff=BACKOFF,
            )
        )

    def _settings(self, number: int, ports: tuple[int, ...], password: str) -> Settings:
        chosen = self.settings
        return Settings(
            store=chosen.store / f"n{number + 1}",
            name=f"n{number + 1}",
            port=chosen.ports[number] if chosen.ports else 0,
            durability=chosen.durability,
            node=Node(
                cluster=NAME,
                port=ports[number],
                ports=ports,
                password=password,
                credentials=chosen.store,
            ),
        )

    async def _jetstream(self) -> None:
        """Return when JetStream answers through every node. Raises ServerDiedError."""
        password = credentials.read(self.settings.store, "daemon")
        answer = health.Health()
        with trio.move_on_after(JETSTREAM_S_MAX):
            for server in self.nodes.values():
                while True:
                    answer = await health.ask(LOOPBACK, server.port, _ANSWER_S, "daemon", password)
                    if not answer.problem:
                        break
                    await trio.sleep(_POLL_S)
            return
        raise ServerDiedError(
            f"the nodes do not form a cluster in {JETSTREAM_S_MAX:g} s: {answer.problem}",
            hint=f"read the logs below {self.settings.store}, then start again",
        )


class _Told:
    """Tells a supervisor what a server reports."""

    def __init__(self, told: ChildStatus) -> None:
        self._told = told

    def started(self, value: str = "") -> None:
        self._told.started(value)


def free_ports(count: int) -> list[int]:
    """Return different ports that are free on the loopback interface now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
