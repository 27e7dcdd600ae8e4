"""EmbeddedServer against the real nats-server: one store, one server, the same port."""

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
from typing import Any

import pytest
import trio

from protocols.errors import ConfigurationError
from runtime.server import credentials, health, store
from runtime.server.accounts import USERS
from runtime.server.binary import Binary, checked
from runtime.server.configuration import LOOPBACK, Settings
from runtime.server.embedded import EmbeddedServer, Watch
from runtime.server.errors import (
    DiskFullError,
    PortTakenError,
    ServerDiedError,
    ServerTooOldError,
    ServerUnusableError,
    StoreLockedError,
    StoreNotWritableError,
    from_api_error,
)
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

_DAEMON = """
import sys, structlog, trio
from pathlib import Path
from runtime.server.configuration import Settings
from runtime.server.embedded import EmbeddedServer

async def main():
    server = EmbeddedServer(Settings(store=Path(sys.argv[1])))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        print(server.pid, server.port, flush=True)

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
trio.run(main)
"""


@pytest.fixture
def binary(nats_binary: str) -> Binary:
    """Return the checked nats-server."""
    return checked(nats_binary)


@asynccontextmanager
async def _running(server: EmbeddedServer) -> AsyncIterator[EmbeddedServer]:
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run)
            yield server
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # Only the server's task can fail here: its error is what the test is about.
        raise group.exceptions[0] from None


async def _strike(server: EmbeddedServer, number: signal.Signals, seen: list[int]) -> None:
    """Signal the running server and wait for what its run says about it."""
    async with _running(server):
        seen += [server.pid, server.port]
        os.kill(server.pid, number)
        await trio.sleep_forever()


def _request(where: Path, port: int, subject: str, body: str = "") -> dict[str, Any]:
    """Send one request of the daemon's by hand and return its JSON answer."""
    login = json.dumps({"verbose": False, "user": "daemon", "pass": _password(where)})
    hello = f"CONNECT {login}\r\nSUB answer 1\r\n"
    with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
        connection.sendall(f"{hello}PUB {subject} answer {len(body)}\r\n{body}\r\n".encode())
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"MSG answer"):
                    answer: dict[str, Any] = json.loads(lines.readline())
                    return answer
    raise AssertionError("no answer")


def _password(where: Path, user: str = "daemon") -> str:
    return credentials.read(where, user)


async def _serves(server: EmbeddedServer) -> bool:
    password = _password(server.settings.store)
    return not (await health.ask(LOOPBACK, server.port, 2.0, "daemon", password)).problem


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_it_serves_jetstream_and_ends_with_its_scope(tmp_path: Path, binary: Binary) -> None:
    """A cancelled run leaves no process behind."""
    server = EmbeddedServer(Settings(store=tmp_path / "store"), binary=binary)

    async with _running(server):
        pid = server.pid
        served = await _serves(server)

    assert served
    assert server.version == binary.version_text
    assert not _alive(pid)


async def test_a_killed_server_is_reported_and_comes_back_on_its_port(
    tmp_path: Path, binary: Binary
) -> None:
    """A kill -9 of the server ends the run with ServerDiedError; the next run keeps the url."""
    server = EmbeddedServer(Settings(store=tmp_path), binary=binary)

    seen: list[int] = []

    with pytest.raises(ServerDiedError, match="status -9"):
        await _strike(server, signal.SIGKILL, seen)

    async with _running(server):
        assert server.port == seen[1]
        assert server.pid != seen[0]
        assert await _serves(server)


async def test_a_frozen_server_is_reported_and_removed(tmp_path: Path, binary: Binary) -> None:
    """A server that stays silent counts as dead, though its process lives."""
    watch = Watch(period_s=0.05, timeout_s=0.1, misses_max=2)
    server = EmbeddedServer(Settings(store=tmp_path), binary=binary, watch=watch)
    seen: list[int] = []

    with pytest.raises(ServerDiedError, match="does not serve"):
        await _strike(server, signal.SIGSTOP, seen)

    assert not _alive(seen[0])


async def test_a_taken_port_is_named_as_the_cause(tmp_path: Path, binary: Binary) -> None:
    """The caller learns that the port is the problem and what to do."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        server = EmbeddedServer(
            Settings(store=tmp_path, port=other.getsockname()[1]), binary=binary
        )

        with pytest.raises(PortTakenError) as caught:
            await server.run()

    assert "choose another port" in caught.value.hint


async def test_a_new_daemon_finds_another_port_when_its_former_one_is_taken(
    tmp_path: Path, binary: Binary
) -> None:
    """The port of the last daemon is a preference, not a need."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        (tmp_path / "server.port").write_text(str(taken))

        async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as server:
            assert server.port not in {0, taken}


async def test_a_second_daemon_on_a_store_is_refused(tmp_path: Path, binary: Binary) -> None:
    """The error names the daemon that has the store, and the first one goes on."""
    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as first:
        with pytest.raises(StoreLockedError) as caught:
            await EmbeddedServer(Settings(store=tmp_path), binary=binary).run()

        assert caught.value.pid == os.getpid()
        assert "movant status" in caught.value.hint
        assert await _serves(first)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_killed_daemon_can_be_started_again_at_once(
    tmp_path: Path, binary: Binary, number: signal.Signals
) -> None:
    """The next daemon has store, port and data; the former server is gone."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with daemon:
        assert daemon.stdout is not None
        former, port = map(int, daemon.stdout.readline().split() or ["0", "0"])
        _request(
            tmp_path, port, "$JS.API.STREAM.CREATE.KEPT", '{"name":"KEPT","subjects":["kept"]}'
        )
        stored = _request(tmp_path, port, "kept", "a message")
        daemon.send_signal(number)
        daemon.wait()

    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as server:
        assert server.port == port
        assert server.pid != former
        assert not _alive(former)
        assert stored["seq"] == 1
        assert _request(tmp_path, port, "$JS.API.STREAM.INFO.KEPT")["state"]["messages"] == 1


async def test_a_leftover_server_is_ended_by_its_proven_pid(
    tmp_path: Path, binary: Binary
) -> None:
    """A server that outlived its daemon never shares the store with the next one."""
    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)):
        pass
    configuration = tmp_path / "server.conf"
    with subprocess.Popen(
        [binary.path, "-c", str(configuration)], stderr=subprocess.DEVNULL
    ) as left:
        with trio.fail_after(5):
            while store.leftover(tmp_path) != left.pid:
                await trio.sleep(0.01)

        async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as server:
            served = await _serves(server)
            left_status = left.wait(1)

    assert served
    assert left_status == 0


async def test_a_stranger_with_the_recorded_pid_is_left_alone(
    tmp_path: Path, binary: Binary
) -> None:
    """A pid file alone proves nothing: pids are used again."""
    (tmp_path / "server.pid").write_text(str(os.getpid()))

    found = store.leftover(tmp_path)
    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)):
        pass

    assert found == 0


async def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path, binary: Binary) -> None:
    """The error names the directory before any process is started."""
    (tmp_path / "file").write_text("")
    server = EmbeddedServer(Settings(store=tmp_path / "file" / "store"), binary=binary)

    with pytest.raises(StoreNotWritableError, match="cannot be written") as caught:
        await server.run()

    assert caught.value.hint
    assert server.pid == 0


async def test_too_little_free_space_is_refused_before_the_start(
    tmp_path: Path, binary: Binary
) -> None:
    """A full disk is an error with a next step, not a server that switches JetStream off."""
    server = EmbeddedServer(Settings(store=tmp_path, free_bytes_min=1 << 60), binary=binary)

    with pytest.raises(DiskFullError, match="MiB are free") as caught:
        await server.run()

    assert "df -h" in caught.value.hint


async def test_a_server_that_ends_at_once_shows_its_last_lines(tmp_path: Path) -> None:
    """Whoever reads the error sees what the server said."""
    script = tmp_path / "nats-server"
    script.write_text("#!/bin/sh\necho 'the moon is in the wrong house' >&2\nexit 3\n")
    script.chmod(0o755)
    server = EmbeddedServer(Settings(store=tmp_path), binary=Binary(str(script), (2, 15, 1)))

    with pytest.raises(ServerUnusableError, match=r"(?s)status 3.*the moon is in the wrong house"):
        await server.run()


async def test_a_stranger_is_refused_and_every_user_is_served(
    tmp_path: Path, binary: Binary
) -> None:
    """Nobody connects without a login; the generated accounts are accepted by the server."""
    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as server:
        stranger = await health.ask(LOOPBACK, server.port, 2.0)
        wrong = await health.ask(LOOPBACK, server.port, 2.0, "daemon", "guessed")
        told = {
            user: (
                await health.ask(LOOPBACK, server.port, 2.0, user, _password(tmp_path, user))
            ).problem
            for user in USERS
        }

    assert "Authorization Violation" in stranger.problem
    assert "Authorization Violation" in wrong.problem
    assert {user for user, problem in told.items() if not problem} == {
        "daemon",
        "admin",
        "monitor",
    }
    assert all(
        "Permissions Violation" in told[user] and "$JS.API.INFO" in told[user]
        for user in ("client", "service")
    )


async def test_a_store_without_users_gets_them_and_keeps_its_streams(
    tmp_path: Path, nats_binary: str, binary: Binary
) -> None:
    """What a former version stored is there for the daemon's user after the first start."""
    with NatsServer(nats_binary) as former:
        with Raw(former.url) as raw:
            raw.ask("$JS.API.STREAM.CREATE.KEPT", b'{"name":"KEPT","subjects":["kept"]}')
            stored = raw.ask("kept", b"a message")
        former.stop()
        (former.directory / "store" / "jetstream").rename(tmp_path / "jetstream")

    async with _running(EmbeddedServer(Settings(store=tmp_path), binary=binary)) as server:
        kept = _request(tmp_path, server.port, "$JS.API.STREAM.INFO.KEPT")

    assert stored["seq"] == 1
    assert kept["state"]["messages"] == 1
    assert [each.name for each in (tmp_path / "jetstream").iterdir()] == ["MOVANT"]


def test_the_servers_ways_to_say_full_become_one_error() -> None:
    """Insufficient resources tell the operator about disk and limit; other errors do not."""
    full = from_api_error(10047, "insufficient storage resources available")
    other = from_api_error(10059, "stream not found")

    assert isinstance(full, DiskFullError)
    assert "store_bytes_max" in full.hint
    assert other is None


def test_every_error_for_a_person_is_a_configuration_error() -> None:
    """A supervisor may restart after ServerDiedError and must not after these."""
    for kind in (PortTakenError, StoreLockedError, DiskFullError, ServerTooOldError):
        assert issubclass(kind, ConfigurationError)

    assert not issubclass(ServerDiedError, ConfigurationError)
