"""What the tests of the bridge share: a raw client that may misbehave, and waiting."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import trio

from protocols.errors import MovantError
from protocols.ports import Frame
from runtime.bridge import BridgeLimits

WAIT_S = 30.0
"""Far above what anything here takes; only a defect gets there."""

QUICK = BridgeLimits(
    connect_s=1.0, reconnect_s_min=0.02, reconnect_s_max=0.1, watchdog_s=0.1, close_s=0.3
)
"""Limits for tests with faults: everything is noticed in tenths of a second."""


class RawClient:
    """Speaks the protocol byte by byte, so that it can send what no client would."""

    def __init__(self, url: str, answer_s: float = WAIT_S) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._socket = socket.create_connection((parts.hostname, parts.port or 4222), answer_s)
        self._seen = b""
        options: dict[str, object] = {"verbose": False, "headers": True, "no_responders": True}
        if parts.username:
            options |= {"user": parts.username, "pass": parts.password}
        self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.sync()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def publish(self, subject: bytes, payload: bytes, reply: bytes = b"") -> None:
        """Publish without any check."""
        self.send(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload))

    def publish_with_headers(self, subject: bytes, headers: bytes, payload: bytes) -> None:
        """Publish with a raw header block."""
        size = len(headers) + len(payload)
        self.send(b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(headers), size, headers, payload))

    def sync(self) -> None:
        """Return when the server has read everything sent so far."""
        self.send(b"PING\r\n")
        self._seen = b""
        while b"PONG\r\n" not in self._seen:
            chunk = self._socket.recv(65_536)
            assert chunk, f"the server closed: {self._seen!r}"
            self._seen += chunk

    def refusals(self) -> list[str]:
        """Return what the server refused of all that was sent since the last look."""
        self.sync()
        lines = self._seen.decode().split("\r\n")
        return [line.removeprefix("-ERR ").strip("'") for line in lines if line[:4] == "-ERR"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


class ScriptedServer:
    """Says what a real server would not: a handshake, then any bytes at the first probe."""

    def __init__(self, bytes_told: bytes) -> None:
        self._bytes_told = bytes_told
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b"INFO {}\r\n")
        told = False
        seen = b""
        while chunk := connection.recv(65_536):
            seen += chunk
            *lines, seen = seen.split(b"\r\n")
            for line in lines:
                if line == b"PING":
                    connection.sendall(b"PONG\r\n")
                elif line.startswith(b"PUB") and not told:
                    told = True
                    connection.sendall(self._bytes_told)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)


class Collector:
    """A sink that keeps the frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def __call__(self, frames: Sequence[Frame]) -> None:
        """Keep a batch."""
        self.frames += frames

    @property
    def payloads(self) -> list[bytes]:
        """The payloads so far."""
        return [frame.payload for frame in self.frames]


class Told:
    """A ``done`` that keeps what it was told."""

    def __init__(self) -> None:
        self.answers: list[Frame | MovantError] = []

    def __call__(self, answer: Frame | MovantError) -> None:
        """Keep an answer."""
        self.answers.append(answer)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    with trio.fail_after(WAIT_S):
        while not holds():
            await trio.sleep(0.005)
