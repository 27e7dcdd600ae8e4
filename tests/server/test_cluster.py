"""Cluster: three servers under one supervisor, for trying."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from protocols.ports import Outgoing
from runtime.bridge import connect
from runtime.server import cluster as module
from runtime.server import credentials
from runtime.server.binary import Binary, checked
from runtime.server.cluster import Cluster, ClusterSettings, free_ports
from runtime.server.configuration import LOOPBACK
from runtime.server.errors import PortTakenError
from tests.support.daemon import until

pytestmark = pytest.mark.server


@pytest.fixture
def binary(nats_binary: str) -> Binary:
    """Return the checked nats-server."""
    return checked(nats_binary)


@asynccontextmanager
async def _running(cluster: Cluster) -> AsyncIterator[Cluster]:
    async with trio.open_nursery() as nursery:
        await nursery.start(cluster.run)
        yield cluster
        nursery.cancel_scope.cancel()


async def _replicas(url: str, password: str) -> int:
    """Make a stream with three replicas and return how many the server tells of."""
    body = json.dumps({"name": "X", "subjects": ["x"], "num_replicas": 3}).encode()
    async with connect(url, name="test", user="daemon", password=password) as transport:
        answer = await transport.request(Outgoing("$JS.API.STREAM.CREATE.X", body), 10.0)
    return 1 + len(json.loads(answer.payload)["cluster"]["replicas"])


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_killed_node_comes_back_where_it_was(tmp_path: Path, binary: Binary) -> None:
    """The others go on; nothing is left when it ends; a login keeps strangers out."""
    cluster = Cluster(ClusterSettings(store=tmp_path), binary=binary)

    async with _running(cluster):
        urls = cluster.urls
        replicas = await _replicas(cluster.url, credentials.read(tmp_path, "daemon"))
        first = cluster.nodes["n1"]
        pid = first.pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: first.pid not in {0, pid})
        pids = [each.pid for each in cluster.nodes.values()]
        modes = {
            (tmp_path / name / "server.conf").stat().st_mode & 0o777 for name in cluster.nodes
        }

    assert replicas == 3
    assert cluster.urls == urls
    assert modes == {0o600}
    assert not any(map(_alive, [pid, *pids]))


async def test_route_ports_that_somebody_takes_are_picked_anew(
    tmp_path: Path, binary: Binary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking for free ports and using them there is time for others."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = [other.getsockname()[1], *free_ports(2)]
        picks = [taken, free_ports(3)]
        monkeypatch.setattr(module, "free_ports", lambda _: picks.pop(0))

        cluster = Cluster(ClusterSettings(store=tmp_path), binary=binary)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cluster.run)
            await until(lambda: not picks and all(each.pid for each in cluster.nodes.values()))
            nursery.cancel_scope.cancel()

    assert not picks


async def test_a_port_that_a_person_chose_is_named_when_it_is_taken(
    tmp_path: Path, binary: Binary
) -> None:
    """Another choice is not ours to make."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        ports = (other.getsockname()[1], *free_ports(2))
        cluster = Cluster(ClusterSettings(store=tmp_path, ports=ports), binary=binary)

        with pytest.raises(PortTakenError):
            await cluster.run()


def test_the_command_tells_where_and_ends_with_ctrl_c(tmp_path: Path, nats_binary: str) -> None:
    """One JSON line for programs; exit code 0, and no process is left."""
    command = [sys.executable, "-m", "runtime", "nats", "cluster", "--store", str(tmp_path)]
    with subprocess.Popen([*command, "-o", "jsonl"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        code = process.wait(20)

    assert nats_binary
    assert code == 0
    assert told["url"] == ",".join(each["url"] for each in told["nodes"])
    assert not any(_alive(each["pid"]) for each in told["nodes"])
