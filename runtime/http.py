"""The HTTP edge: health, and the webhooks of triggers.

    GET  /healthz    200 while the daemon's loop answers, also while it drains
    GET  /readyz     200 when it takes work; 503 with the reasons when it does not
    POST <path>      a webhook

It listens at ``http.address``; TLS is for a proxy in front of it. Everything that is read has a
limit, and what is not proven costs nothing but the reading.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from protocols.errors import ConfigurationError
from runtime.health import Served, Told, live, parse_address, ready
from runtime.triggers.webhooks import Answer, Webhooks, told

if TYPE_CHECKING:
    from runtime.daemon import Daemon

HEAD_BYTES_MAX: Final = 16_384
"""Of a request's head; a sender of webhooks needs one or two thousand."""
READ_S_MAX: Final = 10.0
"""For a whole body: who dawdles is cut off."""
IDLE_S_MAX: Final = 15.0
"""Of a connection between two requests."""
REQUESTS_MAX: Final = 100
"""Webhooks that are read and stored at the same time."""
STOP_S: Final = 1.0
"""How long answers may take to leave when the edge stops."""
_BACKLOG: Final = 128

log = structlog.get_logger()

Hooks = Callable[[], Webhooks | None]


async def serve_http(daemon: Served, *, task_status: Told, hooks: Hooks = lambda: None) -> None:
    """Serve at ``http.address`` until cancelled. Reports the URL.

    Raises ConfigurationError when the address cannot be used.
    """
    listener = _listen(daemon.config.http.address)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = Config()
    config.insecure_bind = []
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = STOP_S
    config.keep_alive_timeout = IDLE_S_MAX
    config.read_timeout = None
    config.h11_max_incomplete_size = HEAD_BYTES_MAX
    config.backlog = _BACKLOG
    config.include_server_header = False
    config.websocket_max_message_size = 0
    async with trio.open_nursery() as nursery:
        app: Any = application(daemon, hooks)
        await nursery.start(_until_served, app, config)
        log.info("http.listening", url=url)
        task_status.started(url)


async def _until_served(app: Any, config: Config, *, task_status: trio.TaskStatus[Any]) -> None:
    await serve(app, config, shutdown_trigger=trio.sleep_forever, task_status=task_status)


def application(daemon: Served, hooks: Hooks) -> Starlette:
    """Return the application."""

    async def healthz(_: Request) -> Response:
        return _json(*live(daemon))

    async def readyz(_: Request) -> Response:
        return _json(*ready(daemon))

    limit = trio.CapacityLimiter(REQUESTS_MAX)

    async def posted(request: Request) -> Response:
        found = hooks()
        armed = None if found is None else found.find(request.url.path)
        if found is None or armed is None:
            return _unread(told(404, "not found", "nothing listens at this path"))
        if request.method != "POST":
            refused = told(405, "method", "a webhook takes POST")
            return _unread(refused._replace(headers={**refused.headers, "Allow": "POST"}))
        refused_now = found.admit(armed)
        if refused_now is not None:
            return _unread(refused_now)
        if limit.available_tokens < 1:
            busy = told(503, "busy", f"{REQUESTS_MAX} requests are under way", again_s=1)
            return _unread(busy)
        async with limit:
            hook = armed.trigger.hook
            assert hook is not None, "found by its path"
            body = await _body(request, hook.body_max)
            if not isinstance(body, bytes):
                return _unread(body)
            headers = {name.lower(): text for name, text in request.headers.items()}
            return _answer(await found.take(armed, headers, request.url.query, body))

    return Starlette(
        routes=[
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/{path:path}", posted, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )


async def _body(request: Request, most: int) -> bytes | Answer:
    """Return the body of a request, or why it is not read to its end."""
    too_large = told(413, "too large", f"a body has at most {most} bytes")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > most:
        return too_large
    seen = bytearray()
    with trio.move_on_after(READ_S_MAX):
        try:
            async for chunk in request.stream():
                seen += chunk
                if len(seen) > most:
                    return too_large
        except ClientDisconnect:
            return told(400, "gone", "the body did not come to its end")
        return bytes(seen)
    return told(408, "too slow", f"a body has to come within {READ_S_MAX:g} s")


def _listen(address: str) -> socket.socket:
    host, port = parse_address(address)
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host or "127.0.0.1", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"http.address {address} cannot be used: {error.strerror or error}",
            hint="choose another address, port 0 for a free one, or none: http.address = ''",
        ) from error
    return listener


def _json(status: int, body: Any) -> Response:
    payload = msgspec.json.encode(body) + b"\n"
    headers = {"Cache-Control": "no-store"}
    return Response(payload, status, headers, media_type="application/json")


def _answer(answer: Answer) -> Response:
    payload = msgspec.json.encode(answer.body) + b"\n"
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **answer.headers}
    return Response(payload, answer.status, headers)


def _unread(answer: Answer) -> Response:
    """Answer a request whose body was not read: the connection takes no other one."""
    return _answer(answer._replace(headers={**answer.headers, "Connection": "close"}))


async def serve_edge(daemon: Daemon, *, task_status: Told) -> None:
    """Serve health and webhooks of a daemon until cancelled."""

    def hooks() -> Webhooks | None:
        triggers = getattr(daemon.parts, "triggers", None)
        return None if triggers is None else triggers.webhooks

    await serve_http(daemon, task_status=task_status, hooks=hooks)
