"""Health over HTTP: ``/healthz`` and ``/readyz``, and nothing else.

    /healthz   200 while the daemon's loop answers, also while it drains
    /readyz    200 when it takes work; 503 with the reasons when it does not

A few lines instead of a framework, because a health check must not break with what it checks.
Strict limits: one short request per connection, no body, no keep-alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec
import structlog
import trio

from protocols.errors import ConfigurationError
from runtime.config import DaemonConfig
from supervisors.child import ChildStatus

HEAD_BYTES_MAX: Final = 4_096
"""A probe sends 200 bytes; more is no probe."""
CONNECTIONS_MAX: Final = 32
"""At once; those beyond it wait in the kernel's queue."""
REQUEST_S_MAX: Final = 5.0
"""For a whole request and its answer: who dawdles is cut off."""
_BACKLOG: Final = 64
_NOT_CONNECTED: Final = "no connection"
_STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}

log = structlog.get_logger()


Told = ChildStatus | trio.TaskStatus[Any]
"""Whom to tell that the server listens."""


class Served(Protocol):
    """What health asks of a daemon."""

    config: DaemonConfig
    state: str

    def problems(self) -> list[str]:
        """Return what a person should look at."""
        ...


async def serve_health(daemon: Served, *, task_status: Told) -> None:
    """Serve the two pages at ``http.address`` until cancelled; without one do nothing.

    Raises ConfigurationError when the address cannot be used.
    """
    address = daemon.config.http.address
    if not address:
        task_status.started()
        await trio.sleep_forever()
    host, port = parse_address(address)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"http.address {address} cannot be used: {error.strerror or error}",
            hint="choose another address, port 0 for a free one, or none: http.address = ''",
        ) from error
    bound = listeners[0].socket.getsockname()
    log.info("health.listening", url=f"http://{bound[0]}:{bound[1]}")
    limit = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def handle(stream: trio.SocketStream) -> None:
        async with limit, stream:
            with trio.move_on_after(REQUEST_S_MAX):
                try:
                    await stream.send_all(answer(await _head(stream), daemon))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # the prober went away

    await trio.serve_listeners(
        handle, listeners, task_status=_Adapter(task_status, f"http://{bound[0]}:{bound[1]}")
    )


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``. Raises ConfigurationError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigurationError(
            f"http.address {text!r} is no address", hint="write host:port, such as 127.0.0.1:8700"
        )
    return host.strip("[]"), int(port)


def answer(head: bytes | None, daemon: Served) -> bytes:
    """Return the response to a request head; None is a head that was too long."""
    if head is None:
        return _response(431, {"error": f"a request has at most {HEAD_BYTES_MAX} bytes"})
    parts = head.partition(b"\r\n")[0].split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):  # noqa: PLR2004 - method, path, version
        return _response(400, {"error": "this is no HTTP request"})
    method, path = parts[0], parts[1].partition(b"?")[0]
    if method not in {b"GET", b"HEAD"}:
        return _response(405, {"error": "only GET"})
    if path == b"/healthz":
        status, body = live(daemon)
    elif path == b"/readyz":
        status, body = ready(daemon)
    else:
        status, body = 404, {"error": "there are /healthz and /readyz"}
    return _response(status, body, with_body=method == b"GET")


def live(daemon: Served) -> tuple[int, dict[str, Any]]:
    """Tell whether the process is worth keeping. That this runs shows that the loop does."""
    return (503 if daemon.state == "stopped" else 200), {"state": daemon.state}


def ready(daemon: Served) -> tuple[int, dict[str, Any]]:
    """Tell whether the daemon takes work, with one entry per check.

    Problems that a person should look at do not take a daemon out of service; only those that
    keep it from working do.
    """
    problems = daemon.problems()
    cut_off = [problem for problem in problems if problem.startswith(_NOT_CONNECTED)]
    checks = {
        "state": "ok" if daemon.state == "ready" else daemon.state,
        "nats": cut_off[0] if cut_off else "ok",
    }
    passed = all(each == "ok" for each in checks.values())
    return (200 if passed else 503), {"ready": passed, "checks": checks, "problems": problems}


def _response(status: int, body: Mapping[str, Any], *, with_body: bool = True) -> bytes:
    payload = msgspec.json.encode(body) + b"\n"
    head = (
        f"HTTP/1.1 {status} {_STATUS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (payload if with_body else b"")


async def _head(stream: trio.SocketStream) -> bytes | None:
    """Return the request head, None when it is too long."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        if len(seen) > HEAD_BYTES_MAX:
            return None
        chunk = await stream.receive_some(HEAD_BYTES_MAX)
        if not chunk:
            break
        seen += chunk
    return seen


class _Adapter:
    """Reports the URL instead of the listeners."""

    def __init__(self, told: Told, url: str) -> None:
        self._told = told
        self._url = url

    def started(self, value: Any = None) -> None:
        del value
        self._told.started(self._url)
