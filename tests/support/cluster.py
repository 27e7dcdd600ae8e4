"""Three real nats-servers as a cluster for tests: routes on loopback, faults on demand.

    with NatsCluster(binary) as cluster:
        url = cluster.url                      # all three, joined by commas
        cluster.leader("MAIL").kill()          # and later: cluster.revive()

Only processes that were started here are ever signalled, each by its pid.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

import trio

from tests.support.nats import NatsServer
from tests.support.raw import Raw

NODES: Final = 3
READY_S: Final = 60.0
"""A start takes 1 to 3 s (an election); a crowded machine gets twenty times that."""
STEPDOWN_S: Final = 2.0
"""Between two of them: an election needs its time."""
TRIES: Final = 5
"""So often other ports are picked when somebody takes one before the server does."""
_POLL_S: Final = 0.05

_EXTRA: Final = """\
cluster {{
  name: "movant-test"
  listen: "127.0.0.1:{route}"
  routes: [{routes}]
}}
{extra}
"""


class NatsCluster:
    """Three nodes with JetStream. ``sync_interval`` as for ``NatsServer``."""

    def __init__(self, binary: str, *, sync_interval: str = "2m", extra: str = "") -> None:
        self._binary = binary
        self._sync_interval = sync_interval
        self._extra = extra
        self.nodes: list[NatsServer] = []

    @property
    def urls(self) -> list[str]:
        """Where clients connect, by node."""
        return [each.url for each in self.nodes]

    @property
    def url(self) -> str:
        """All addresses as one setting."""
        return ",".join(self.urls)

    def node(self, name: str) -> NatsServer:
        """Return a node by its name."""
        return next(each for each in self.nodes if each.name == name)

    def start(self) -> Self:
        """Start all nodes and return when JetStream is served through each."""
        for _ in range(TRIES):
            try:
                self._start()
            except _PortTakenError:
                self.close()
            else:
                return self
        raise RuntimeError("no free ports for a cluster")

    def settled(self, *, within_s: float = READY_S) -> None:
        """Wait until every living node serves JetStream and no replica is behind."""
        began = time.monotonic()
        while time.monotonic() < began + within_s:
            with suppress(OSError, AssertionError):
                if all(_serves(each) for each in self._living()):
                    behind = self.behind()
                    if not behind:
                        return
                    if time.monotonic() > began + within_s / 2:
                        # A replica may stay behind until its stream has another leader.
                        self.ask(f"STREAM.LEADER.STEPDOWN.{behind[0].partition('/')[0]}")
                        time.sleep(STEPDOWN_S)  # noqa: TID251 - see below
            time.sleep(_POLL_S)  # noqa: TID251 - a fixture waits for processes, outside of trio
        raise RuntimeError(f"the cluster is not ready in {within_s} s:\n{self._logs()}")

    def revive(self) -> None:
        """Start what was killed, let frozen nodes go on, and wait until all is well."""
        for each in self.nodes:
            each.thaw()
            if not each.running:
                each.spawn()
        self.settled()

    def ask(self, verb: str, request: Any = None) -> Any:
        """Return the answer of the JetStream API through the first node that lives."""
        body = b"" if request is None else json.dumps(request).encode()
        with Raw(self._living()[0].url) as raw:
            return raw.ask(f"$JS.API.{verb}", body)

    def state(self, stream: str) -> dict[str, Any]:
        """Return a stream's ``cluster``: leader and replicas."""
        answer = self.ask(f"STREAM.INFO.{stream}")
        found: dict[str, Any] = (answer or {}).get("cluster") or {}
        return found

    def leader(self, stream: str) -> NatsServer:
        """Return the node that leads a stream; wait while there is none."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with suppress(OSError, AssertionError):
                name = self.state(stream).get("leader")
                if name and self.node(name).running:
                    return self.node(name)
            time.sleep(_POLL_S)  # noqa: TID251 - see settled
        raise RuntimeError(f"{stream} has no leader in {READY_S} s")

    def lead(self, stream: str, node: NatsServer) -> None:
        """Make a node the leader of a stream."""
        deadline = time.monotonic() + READY_S
        while self.leader(stream) is not node:
            assert time.monotonic() < deadline, f"{node.name} does not come to lead {stream}"
            self.ask(f"STREAM.LEADER.STEPDOWN.{stream}", {"placement": {"preferred": node.name}})
            time.sleep(_POLL_S)  # noqa: TID251 - see settled

    def followers(self, stream: str) -> list[NatsServer]:
        """Return the nodes that do not lead a stream."""
        leader = self.leader(stream)
        return [each for each in self.nodes if each is not leader]

    def behind(self) -> list[str]:
        """Return ``stream/node`` of every replica that is not current."""
        found = []
        for name in (self.ask("STREAM.NAMES") or {}).get("streams") or []:
            state = self.state(name)
            if not state.get("leader"):
                found.append(f"{name}/leader")
            found += [
                f"{name}/{each['name']}"
                for each in state.get("replicas") or []
                if not each.get("current") and self.node(each["name"]).running
            ]
        return found

    def close(self) -> None:
        """End all processes and remove their directories. Idempotent."""
        with ExitStack() as stack:
            for each in self.nodes:
                stack.callback(each.close)
        self.nodes = []

    def _start(self) -> None:
        ports = _free_ports(2 * NODES)
        client, route = ports[:NODES], ports[NODES:]
        routes = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in route)
        self.nodes = [
            NatsServer(
                self._binary,
                sync_interval=self._sync_interval,
                name=f"n{number + 1}",
                port=client[number],
                extra=_EXTRA.format(route=route[number], routes=routes, extra=self._extra),
            )
            for number in range(NODES)
        ]
        for each in self.nodes:
            each.spawn()
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for each in self.nodes:
                if not each.running:
                    if "address already in use" in each.log:
                        raise _PortTakenError
                    raise RuntimeError(f"a node ended at once:\n{self._logs()}")
            if all(_serves(each) for each in self.nodes):
                return
            time.sleep(_POLL_S)  # noqa: TID251 - see settled
        raise RuntimeError(f"the cluster is not ready in {READY_S} s:\n{self._logs()}")

    def _living(self) -> list[NatsServer]:
        return [each for each in self.nodes if each.running and not each.frozen]

    def _logs(self) -> str:
        return "\n".join(f"{each.name}:\n{each.log[-1500:]}" for each in self.nodes)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _PortTakenError(Exception):
    pass


async def revived(cluster: NatsCluster) -> None:
    """Do ``revive`` while the tasks of a test go on."""
    await trio.to_thread.run_sync(cluster.revive)


def _serves(node: NatsServer) -> bool:
    """Tell whether JetStream answers through a node: it knows its meta leader."""
    try:
        with Raw(node.url, answer_s=1.0) as raw:
            answer = raw.ask("$JS.API.INFO")
            return answer is not None and "error" not in answer
    except (OSError, AssertionError):
        return False


def _free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
