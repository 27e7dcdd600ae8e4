"""Link: a session with an MCP server that is made anew when it ends.

    keeper (one task) ── opens the session, lists the tools, waits until it is broken, closes it
    calls             ── wait for a session, as long as they have time

The library wants a session to be closed by the task that has opened it: hence the keeper.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio
import httpx2
import mcp
import structlog
import trio
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import MCP_DEFAULT_SSE_READ_TIMEOUT, MCP_DEFAULT_TIMEOUT

from protocols.connectors.mcp import McpConnector
from protocols.error_kinds import NETWORK
from protocols.errors import ConfigurationError
from protocols.service import Failed
from runtime.connectors.secrets import Secrets
from supervisors.backoff import Backoff

AGAIN: Final = Backoff(delay_s=0.2, max_delay_s=30.0)
PAGES_MAX: Final = 100
"""Pages of a list of tools: one that never ends must not hold the connector."""
NOT_SENT: Final = -32_090
"""Code of our own: the request did not reach the server."""
BROKEN: Final = -32_091
"""Code of our own: the request was sent, and the line broke."""
STATUS: Final = -32_092
"""Code of our own: the server answered with a status, which is the error's data."""
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
            yield self._watched(stdio_client(self._program(), errlog=sys.__stderr__ or sys.stderr))
            return
        headers = {name: secrets.reveal(text).reveal() for name, text in settings.headers.items()}
        url = secrets.reveal(settings.url).reveal()
        # Not the library's own factory: that takes a proxy and logins from the environment.
        timeout = httpx2.Timeout(MCP_DEFAULT_TIMEOUT, read=MCP_DEFAULT_SSE_READ_TIMEOUT)
        transport = _Told(httpx2.AsyncHTTPTransport(trust_env=False))
        async with httpx2.AsyncClient(
            headers=headers, timeout=timeout, transport=transport, trust_env=False
        ) as client:
            yield streamable_http_client(url, http_client=client)

    def _program(self) -> mcp.StdioServerParameters:
        settings, secrets = self._settings, self._secrets
        passed = {name: os.environ[name] for name in settings.environment if name in os.environ}
        given = {name: secrets.reveal(text).reveal() for name, text in settings.variables.items()}
        return mcp.StdioServerParameters(
            command=settings.command[0],
            args=list(settings.command[1:]),
            env={**passed, **given},
            cwd=secrets.base / settings.directory,
        )

    @asynccontextmanager
    async def _watched(self, transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        """Pass on what a program says, and see its end also while nobody asks anything."""
        async with transport as (read, write):
            send, receive = anyio.create_memory_object_stream[Any](0)

            async def pass_on() -> None:
                async with send:
                    async for message in read:
                        await send.send(message)
                self.lost()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on)
                try:
                    yield receive, write
                finally:
                    nursery.cancel_scope.cancel()
                    receive.close()


class _Told(httpx2.AsyncBaseTransport):
    """Says what happened to a request in words that the session hands on to who has called.

    Without it the library ends the session for a broken line, and hides the status of an answer.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _said(request, NOT_SENT, str(error), None)
        except (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException) as error:
            return _said(request, BROKEN, f"{type(error).__name__} {error}", None)
        if response.status_code in _STATUSES or response.status_code >= _SERVER_ERRORS:
            await response.aclose()
            retry = response.headers.get("retry-after", "")
            data = {"status": response.status_code, "retry_after": retry}
            return _said(request, STATUS, f"HTTP status {response.status_code}", data)
        return response

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
