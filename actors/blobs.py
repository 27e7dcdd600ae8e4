"""Blobs: puts large values into the stream BLOBS, and fetches them whole or not at all.

    put:  chunks -> movant.put.<id>.<digest>.<n>, each once (the server refuses a second one)
    get:  chunks <- a direct read, then the leader -> size and digest are checked

Nothing tells that a blob is whole but the message that names it, and that is written last: a
put that was cut off leaves chunks that nobody can see, and the next one goes on with them. For
daemons, service processes and clients alike; the bytes that are under way at once are bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import trio

from protocols import blobs
from protocols import headers as h
from protocols.blobs import BLOB_BYTES_MAX, Blob
from protocols.errors import (
    MovantError,
    NotFoundError,
    OversizedError,
    RefusedError,
    UnavailableError,
    UnknownOutcomeError,
)
from protocols.ports import Frame, Outgoing, Transport

STREAM: Final = "BLOBS"
ANSWER_S: Final = 3.0
PATIENCE_S: Final = 20.0
"""A server that restarts, or elects a leader, takes less; then whoever asked tries again."""
PAUSE_S: Final = (0.02, 0.1, 0.3, 1.0)
CHUNKS_AT_ONCE: Final = 16
"""Chunks under way at once, 4 MB: more would only wait in the connection's buffers."""
BLOBS_AT_ONCE: Final = 4
"""Blobs that are put together at once while they are fetched."""
KNOWN_MAX: Final = 10_000
"""Blobs known to be stored: what is asked again is not sent again."""
KNOWN_S: Final = 600.0
"""After this it is looked at again: a blob of a run that never began is swept some day."""
ERR_WRONG_SEQUENCE: Final = 10071
NOT_FOUND: Final = 404
_ONCE: Final = h.encode({h.EXPECTED_SEQUENCE: "0"})


class BlobMissingError(NotFoundError):
    """A blob is not there, or is not what its digest says; the message tells which."""


class _Ack(msgspec.Struct):
    class Error(msgspec.Struct):
        code: int = 0
        err_code: int = 0
        description: str = ""

    seq: int = 0
    error: Error | None = None


class _Stored(msgspec.Struct):
    class Message(msgspec.Struct):
        data: bytes = b""

    message: Message | None = None
    error: _Ack.Error | None = None


_ack_decoder: Final = msgspec.json.Decoder(_Ack)
_stored_decoder: Final = msgspec.json.Decoder(_Stored)


class Blobs:
    """Puts and gets the blobs of runs. ``bytes_max`` is what this process puts at most.

    ``alone``: a service or a client, which may read by whole subjects alone. It gets only what a
    request refers to, and does not look at what stands there already when it puts.
    """

    def __init__(
        self, transport: Transport, *, bytes_max: int = BLOB_BYTES_MAX, alone: bool = False
    ) -> None:
        self._transport = transport
        self._alone = alone
        self._bytes_max = min(bytes_max, BLOB_BYTES_MAX)
        self._chunks = trio.CapacityLimiter(CHUNKS_AT_ONCE)
        self._gets = trio.CapacityLimiter(BLOBS_AT_ONCE)
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.puts = self.gets = self.lacking = 0
        """How many were stored and fetched since the start, and how many were not there."""

    async def put(self, instance: str, content: bytes, content_type: str = "") -> Blob:
        """Store a content for a run, unless it stands there, and return the reference to it.

        Raises OversizedError above the limit, RefusedError when something else stands there,
        and UnavailableError when the server cannot take it now, or has no room.
        """
        if len(content) > self._bytes_max:
            raise OversizedError(
                f"a value of {len(content)} bytes is above the limit of {self._bytes_max}",
                hint="keep it elsewhere and pass its name",
            )
        blob = await _digested(content, content_type)
        key = (instance, blob.digest)
        now = trio.current_time()
        if now - self._known.get(key, -KNOWN_S) >= KNOWN_S:
            await self._each(
                [
                    partial(self._put, instance, blob, number, chunk)
                    for number, chunk in enumerate(blobs.chunks(content))
                ]
            )
            self.puts += 1
            self._known[key] = now
            self._known.move_to_end(key)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return blob

    async def get(self, instance: str, blob: Blob) -> bytes:
        """Return the content of a blob of a run.

        Raises BlobMissingError when a chunk is not there or the whole has another digest, and
        UnavailableError when that cannot be told now.
        """
        partition = blobs.partition_in(blob, instance) if self._alone else -1
        if self._alone and partition < 0:
            raise BlobMissingError(f"the reference to {blob.digest} has no subject of {instance}")
        async with self._gets:
            found: list[bytes] = [b""] * blob.chunks

            async def fetch(number: int) -> None:
                found[number] = await self.chunk(instance, blob.digest, number, partition)

            await self._each([partial(fetch, number) for number in range(blob.chunks)])
            content = b"".join(found)
        if not await trio.to_thread.run_sync(blobs.is_whole, blob, content):
            self.lacking += 1
            self._known.pop((instance, blob.digest), None)
            raise BlobMissingError(f"blob {blob.digest} of {instance} is not what it was")
        self.gets += 1
        return content

    async def chunk(self, instance: str, digest: str, number: int, partition: int = -1) -> bytes:
        """Return one chunk. Raises BlobMissingError and UnavailableError."""
        found = await self._read(instance, digest, number, partition)
        if found is None:
            self.lacking += 1
            self._known.pop((instance, digest), None)
            raise BlobMissingError(f"chunk {number} of blob {digest} of {instance} is missing")
        return found

    async def _each(self, works: list[Callable[[], object]]) -> None:
        """Do all of it, as far as chunks may be under way; raise the first error of ours."""
        failed: list[MovantError] = []

        async def one(work: Callable[[], object]) -> None:
            async with self._chunks:
                if failed:
                    return
                try:
                    await work()  # type: ignore[misc]  # a partial of a coroutine function
                except MovantError as error:
                    failed.append(error)

        if len(works) == 1:
            await one(works[0])
        else:
            async with trio.open_nursery() as nursery:
                for work in works:
                    nursery.start_soon(one, work)
        if failed:
            raise failed[0]

    # One chunk

    async def _put(self, instance: str, blob: Blob, number: int, chunk: bytes) -> None:
        message = Outgoing(blobs.put_subject(instance, blob.digest, number), chunk, _ONCE)
        error = _ack_decoder.decode((await self._ask(message)).payload).error
        if error is None:
            return
        if error.err_code != ERR_WRONG_SEQUENCE:
            raise UnavailableError(f"{STREAM}: {error.description} ({error.err_code})")
        # It stands there: an earlier put, or one whose acknowledgement was lost.
        if not self._alone and await self._read(instance, blob.digest, number) != chunk:
            raise RefusedError(
                f"chunk {number} of blob {blob.digest} of {instance} is another one",
                hint="somebody stored it under a wrong digest: see docs/payloads.md",
            )

    async def _read(
        self, instance: str, digest: str, number: int, partition: int = -1
    ) -> bytes | None:
        """Return a chunk; None when the leader, too, says that there is none."""
        if self._alone:
            subject = blobs.stored_subject(instance, digest, number, partition)
            frame = await self._ask(Outgoing(f"$JS.API.DIRECT.GET.{STREAM}.{subject}", b""))
            return None if h.status(frame.headers) else frame.payload
        subject = blobs.stored_subject(instance, digest, number)
        body = msgspec.json.encode({"last_by_subj": subject})
        frame = await self._ask(Outgoing(f"$JS.API.DIRECT.GET.{STREAM}", body))
        if not h.status(frame.headers):
            return frame.payload
        # A replica may be behind (hazard S6): only the leader can say that there is nothing.
        frame = await self._ask(Outgoing(f"$JS.API.STREAM.MSG.GET.{STREAM}", body))
        try:
            answer = _stored_decoder.decode(frame.payload)
        except msgspec.DecodeError as error:
            raise UnavailableError(f"{STREAM} answers something else: {error}") from error
        if answer.message is not None:
            return answer.message.data
        if answer.error is None or answer.error.code != NOT_FOUND:
            raise UnavailableError(f"{STREAM} does not answer: {answer.error}")
        return None

    async def _ask(self, message: Outgoing) -> Frame:
        """Ask until there is an answer: a chunk that is sent twice is stored once."""
        deadline = trio.current_time() + PATIENCE_S
        tries = 0
        while True:
            try:
                return await self._transport.request(message, ANSWER_S)
            except (UnavailableError, UnknownOutcomeError) as error:
                if trio.current_time() > deadline:
                    raise UnavailableError(f"{STREAM} does not answer: {error.message}") from error
            await trio.sleep(PAUSE_S[min(tries, len(PAUSE_S) - 1)])
            tries += 1


async def _digested(content: bytes, content_type: str) -> Blob:
    """Return the reference to a content; off this thread, as 64 MB take 40 ms."""
    return await trio.to_thread.run_sync(blobs.blob_of, content, content_type)
