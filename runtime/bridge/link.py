"""One connection from its handshake to its loss, as a protocol on the asyncio thread.

The socket calls ``data_received`` and frames go straight into the hand-over: no stream
reader, no task and no queue per subscription in between. Flow control is the event loop's
own: ``pause_reading`` while trio is behind (the kernel's buffers fill, then the server
waits), ``paused`` while the socket does not take more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import msgspec

from runtime.bridge.client import GuardedClient, drop
from runtime.bridge.wire import PING, PONG, Chunk, Reader, WireError

WRITE_BYTES_HIGH: Final = 1_048_576
"""Bytes in the socket's own buffer above which we stop handing it more. What lies there
cannot be called back, so it is small against the outgoing queue."""


class Link(asyncio.Protocol):
    """Bytes in and out of one connection; ``lost`` is done when it is over."""

    def __init__(
        self,
        client: GuardedClient,
        received: Callable[[Chunk], None],
        writable: Callable[[], None],
        refused: Callable[[str], None],
    ) -> None:
        self.info = client.server_info
        self.paused = False
        self.reading = True
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._client = client  # its stream writer closes the socket when it is collected
        self._received = received
        self._writable = writable
        self._refused = refused
        self._reader = Reader()
        self._pongs: deque[Callable[[], None]] = deque()
        assert client.streams is not None, "a connected client has a socket"
        self._stream, writer = client.streams
        self._transport = writer.transport

    async def adopt(self) -> None:
        """Take the socket over from nats-py, with what was read ahead."""
        self._transport.set_write_buffer_limits(high=WRITE_BYTES_HIGH)
        self._transport.set_protocol(self)
        self._stream.feed_eof()
        # At its end of file the stream gives its buffer without a turn of the event loop,
        # so nothing can be received between these two lines.
        ahead = await self._stream.read(-1)
        if self._transport.is_closing():
            self._end("closed by the server")
        elif ahead:
            self.data_received(ahead)
        self._read_transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send bytes; the caller stops while ``paused``."""
        self._transport.write(data)

    def ping(self, answered: Callable[[], None]) -> None:
        """Ask the server whether it has read all that was written before."""
        self._pongs.append(answered)
        self.write(PING)

    def pause_reading(self) -> None:
        """Leave further frames to the kernel and the server."""
        if self.reading and not self.lost.done():
            self.reading = False
            self._read_transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self.reading and not self.lost.done():
            self.reading = True
            self._read_transport.resume_reading()

    def abort(self, reason: str) -> None:
        """Cut the connection at once: a frozen server never takes what is buffered."""
        self._end(reason)
        drop(self._client)

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        """Split what came and hand it on."""
        if self.lost.done():
            return
        try:
            chunk = self._reader.feed(data)
        except WireError as error:
            self.abort(f"protocol error: {error}")
            return
        if chunk is not None:
            for line in chunk.controls:
                self._control(line)
            if chunk.frames:
                self._received(chunk)

    def pause_writing(self) -> None:
        """Stop: the socket does not take more."""
        self.paused = True

    def resume_writing(self) -> None:
        """Go on with what waits."""
        self.paused = False
        self._writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._end(f"connection lost: {exc}" if exc else "closed by the server")

    @property
    def _read_transport(self) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self._transport)

    def _end(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def _control(self, line: bytes) -> None:
        if line == b"PING":
            self.write(PONG)
        elif line == b"PONG":
            if self._pongs:  # a PONG that nobody waits for is no event
                self._pongs.popleft()()
        elif line.startswith(b"INFO "):
            try:
                self.info |= msgspec.json.decode(line[5:], type=dict[str, object])
            except (msgspec.DecodeError, UnicodeDecodeError):
                self._refused("an INFO line cannot be read")
        elif line.startswith(b"-ERR"):
            self._refused(line[4:].strip(b" '").decode("utf-8", "backslashreplace"))
        elif not line.startswith(b"+OK"):
            self.abort("protocol error: an unknown control line")
