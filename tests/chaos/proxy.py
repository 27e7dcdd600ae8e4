"""A small TCP proxy between daemon and server, with faults on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

CHUNK_BYTES: Final = 65_536


class Proxy:
    """Forwards connections to a port on 127.0.0.1. Made by ``proxied``."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._links: set[trio.CancelScope] = set()
        self._passing = trio.Event()
        self._passing.set()
        self._delay_s = 0.0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Close all connections; new ones are taken at once."""
        for link in list(self._links):
            link.cancel()

    async def half_open(self, seconds: float) -> None:
        """Forward nothing for a while, with all connections open; then cut them.

        What was written meanwhile is lost, as when a cable is pulled.
        """
        self._passing = trio.Event()
        await trio.sleep(seconds)
        self.cut()
        self._passing.set()

    async def delay(self, delay_s: float, seconds: float) -> None:
        """Hold each chunk up for a while."""
        self._delay_s = delay_s
        await trio.sleep(seconds)
        self._delay_s = 0.0

    async def _serve(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as link, suppress(OSError, trio.BrokenResourceError):
            self._links.add(link)
            try:
                server = await trio.open_tcp_stream("127.0.0.1", self.target)
                async with client, server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, client, server, link)
                    nursery.start_soon(self._pump, server, client, link)
            finally:
                self._links.discard(link)
                await trio.aclose_forcefully(client)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, link: trio.CancelScope
    ) -> None:
        try:
            while chunk := await source.receive_some(CHUNK_BYTES):
                if self._delay_s:
                    await trio.sleep(self._delay_s)
                await self._passing.wait()
                await sink.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        link.cancel()


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port."""
    proxy = Proxy(target)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy._serve, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
