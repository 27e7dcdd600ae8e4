"""Link: a session with an MCP server that is made anew when it ends.

    keeper (one task) ── opens the session, lists the tools, waits until it is broken, closes it
    calls             ── wait for a session, as long as they have time

The library wants a session to be closed by the task that has opened it: hence the keeper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import mcp
import structlog
import trio
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import MCP_DEFAULT_SSE_READ_TIMEOUT, MCP_DEFAULT_TIMEOUT

from protocols.connectors.mcp import McpConnector
from protocols.error_kinds import NETWORK, SYSTEM
from protocols.errors import ConfigurationError
from protocols.service import Failed, Refused
from runtime.connectors import peer
from runtime.connectors.mcp_program import TOO_LONG, program, too_long
from runtime.connectors.secrets import Secrets
from runtime.connectors.wire import read
from supervisors.backoff import Backoff

AGAIN: Final = Backoff(delay_s=0.2, max_delay_s=30.0)
PAGES_MAX: Final = 100
"""Pages of a list of tools: one that never ends must not hold the connector."""
NOT_SENT: Final = -32_090
"""Code of our own: the request did not reach the server. The error's data says why."""
BROKEN: Final = -32_091
"""Code of our own: the request was sent, and the line broke."""
STATUS: Final = -32_092
"""Code of our own: the server answered with a status, which is the error's data."""
SPARE: Final = 4
"""Connections beside those of calls: for what the server tells by itself, and for the end."""
_OF_THE_LINE: Final = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that tell how a body was sent."""
_STATUSES: Final = frozenset({401, 403, 407, 429})
_SERVER_ERRORS: Final = 500

log = structlog.get_logger()


class Link:
    """The session of a connector, and the tools that its server has."""

    def __init__(self, name: str, settings: McpConnector, secrets: Secrets) -> None:
        self.client: mcp.Client | None = None
        self.tools: dict[str, mcp.Tool] = {}
        self._name = name
        self._settings = settings
        self._secrets = secrets
        self._ready = trio.Event()
        self._broken = trio.Event()
        self._reason = "it does not answer"

    async def session(self, until: float) -> mcp.Client:
        """Return a session that stands, as far as anybody knows. Raises Failed."""
        with trio.move_on_at(until):
            while True:
                await self._ready.wait()
                if self.client is not None:
                    return self.client
        raise Failed(NETWORK, f"no session with the server: {self._reason}")

    def lost(self) -> None:
        """Let the session be made anew."""
        self._broken.set()
        if self._ready.is_set():  # else somebody waits for this one
            self._ready = trio.Event()
        self.client = None

    async def keep(self) -> None:
        """Open sessions, one after the other, for ever."""
        failures = 0
        while True:
            self._broken = trio.Event()
            try:
                await self._one()
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever the library raises: it is tried again
                failures += 1
                self._reason = self._secrets.hidden(_reason(error))
            self.lost()
            delay_s = AGAIN.before(max(1, failures), self._name)
            log.warning(
                "connector.session_lost",
                connector=self._name,
                reason=self._reason,
                delay_s=round(delay_s, 3),
            )
            await trio.sleep(delay_s)

    async def _one(self) -> None:
        """Open a session, and close it when it is broken."""
        async with self._transport() as transport, mcp.Client(transport) as client:
            with trio.fail_after(float(self._settings.connect_timeout)):
                self.tools = await _listed(client)
            self.client = client
            self._reason = "it was lost"
            self._ready.set()
            await self._broken.wait()

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        settings, secrets = self._settings, self._secrets
        if settings.command:
            yield program(settings, secrets, self.lost)
            return
        headers = {name: secrets.reveal(text).reveal() for name, text in settings.headers.items()}
        url = secrets.reveal(settings.url).reveal()
        inner = await peer.transport(
            settings, secrets, concurrency_max=settings.concurrency_max + SPARE
        )
        # Not the library's own factory: that takes a proxy and logins from the environment.
        timeout = httpx2.Timeout(MCP_DEFAULT_TIMEOUT, read=MCP_DEFAULT_SSE_READ_TIMEOUT)
        limit = settings.response_bytes_max
        async with httpx2.AsyncClient(
            headers=headers, timeout=timeout, transport=_Told(inner, limit), trust_env=False
        ) as client:
            yield streamable_http_client(url, http_client=client, max_sse_event_size=limit)


class _Told(httpx2.AsyncBaseTransport):
    """Says what happened to a request in words that the session hands on to who has called.

    Without it the library ends the session for a broken line, hides the status of an answer, and
    reads one however long it is.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, bytes_max: int) -> None:
        self._inner = inner
        self._bytes_max = bytes_max

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        try:
            response = await self._inner.handle_async_request(request)
            if response.status_code in _STATUSES or response.status_code >= _SERVER_ERRORS:
                await response.aclose()
                retry = response.headers.get("retry-after", "")
                data = {"status": response.status_code, "retry_after": retry}
                return _said(request, STATUS, f"HTTP status {response.status_code}", data)
            if response.headers.get("content-type", "").lower().startswith("application/json"):
                return await self._whole(request, response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            message = f"the server cannot be reached: {error}"
            return _said(request, NOT_SENT, message, {"kind": NETWORK})
        except (Failed, Refused) as error:  # there is no token
            data = {
                "kind": error.kind,
                "refused": isinstance(error, Refused),
                "after_s": getattr(error, "retry_after_s", None),
            }
            return _said(request, NOT_SENT, error.message, data)
        except ConfigurationError as error:
            return _said(request, NOT_SENT, error.message, {"kind": SYSTEM})
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return _said(request, BROKEN, f"{type(error).__name__} {error}", None)
        return response

    async def _whole(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return a response whose body has been read, and is not too long."""
        response.request = request
        body = await read(response, self._bytes_max)
        await response.aclose()
        if body is None:
            return _said(request, TOO_LONG, too_long(self._bytes_max), None)
        headers = [pair for pair in response.headers.items() if pair[0] not in _OF_THE_LINE]
        return httpx2.Response(
            response.status_code, headers=headers, content=body, request=request
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()


def _said(request: httpx2.Request, code: int, message: str, data: Any) -> httpx2.Response:
    error = {"code": code, "message": message, "data": data}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx2.Response(500, json=body, request=request)


async def _listed(client: mcp.Client) -> dict[str, mcp.Tool]:
    """Return all tools of a server by name."""
    found: dict[str, mcp.Tool] = {}
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = await client.list_tools(cursor=cursor)
        found |= {each.name: each for each in page.tools}
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ConfigurationError(f"the server lists more than {PAGES_MAX} pages of tools")


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_reason(each) for each in error.exceptions)
    if isinstance(error, trio.TooSlowError):
        return "it is not ready in time"
    return str(error) or type(error).__name__
