"""The helper that other tests rely on keeps its promises."""

from __future__ import annotations

import os
import socket

import pytest

from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


def _greeting(server: NatsServer) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        return connection.recv(4)


def test_a_killed_server_comes_back_on_the_same_port(nats_server: NatsServer) -> None:
    """Clients that reconnect find the server where it was."""
    port, pid = nats_server.port, nats_server.pid

    nats_server.kill()
    assert not nats_server.running
    nats_server.restart()

    assert nats_server.port == port
    assert nats_server.pid != pid
    assert _greeting(nats_server) == b"INFO"


def test_a_frozen_server_accepts_and_stays_silent(nats_server: NatsServer) -> None:
    """A freeze looks like a hung server, not like a dead one."""
    nats_server.freeze()
    with (
        socket.create_connection(("127.0.0.1", nats_server.port), timeout=0.2) as connection,
        pytest.raises(TimeoutError),
    ):
        connection.recv(4)

    nats_server.thaw()

    assert _greeting(nats_server) == b"INFO"


def test_nothing_is_left_after_close(nats_binary: str) -> None:
    """Process and directory are gone, even for a frozen server."""
    server = NatsServer(nats_binary).start()
    pid = server.pid
    server.freeze()

    server.close()

    assert not server.directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
