"""Blobs: puts large values into the stream BLOBS, and fetches them whole or not at all.

    put:  chunks -> movant.put.<id>.<digest>.<n>, each once (the server refuses a second one)
    get:  chunks <- a direct read, then the leader -> size and digest are checked

Nothing tells that a blob is whole but the message that names it, and that is written last: a
put that was cut off leaves chunks that nobody can see, and the next one goes on with them. For
daemons, service processes and clients alike; the bytes that are under way at once are bounded.

Whoever may put may put wrong bytes under a name first. Only who holds the right ones can tell,
and may replace them: a daemon does, on its own put or on one that a client or a service has
laid beside it (``mend``). A reading that finds a blob altered proves nothing: the size in its
reference may be the lie.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from actors.retention.purging import Purging
from protocols import blobs, subjects
from protocols import headers as h
from protocols.api.blobs import RunMend, RunMended
from protocols.api.errors import ErrorReply, to_error
from protocols.blobs import BLOB_BYTES_MAX, STAGED_CHARS, Blob
from protocols.errors import (
    BadValueError,
    MovantError,
    NotFoundError,
    OverloadedError,
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
MENDS_MAX: Final = 3
"""How often a wrong chunk is replaced in one put, before somebody is told who stores them."""
MEND_S: Final = 10.0
"""For a daemon to read a whole blob and to store it again."""
ERR_WRONG_SEQUENCE: Final = 10071
ERR_FULL: Final = frozenset({10023, 10047, 10077})
"""A limit of the stream, of the account or of the server is reached."""
ROOM_S: Final = 2.0
"""So long what was told of the room is taken for true."""
SCARCE: Final = 0.9
"""The part of the room behind which no run begins with a large input: those that have begun
need the rest, for results above all."""
NOT_FOUND: Final = 404
_MIB: Final = 1024**2
ROOM: Final = (
    "it goes on when there is room: `nats stream edit BLOBS --max-bytes`, or a shorter"
    " retention.finished_s or retention.blobs_s"
)
_ONCE: Final = h.encode({h.EXPECTED_SEQUENCE: "0"})

log = structlog.get_logger()


class BlobMissingError(NotFoundError):
    """A blob is not there, or is not what its digest says; the message tells which."""


class BlobForgedError(RefusedError):
    """Somebody stores wrong bytes under a digest, again each time they are replaced."""


class _Ack(msgspec.Struct):
    class Error(msgspec.Struct):
        code: int = 0
        err_code: int = 0
        description: str = ""

    seq: int = 0
    error: Error | None = None


class _Stored(msgspec.Struct):
    class Message(msgspec.Struct):
        seq: int = 0
        data: bytes = b""

    message: Message | None = None
    error: _Ack.Error | None = None


class _Info(msgspec.Struct):
    class State(msgspec.Struct):
        bytes: int = 0

    class Config(msgspec.Struct):
        max_bytes: int = -1

    state: State = msgspec.field(default_factory=State)
    config: Config = msgspec.field(default_factory=Config)


class Room(msgspec.Struct, frozen=True):
    """How much is stored in bytes, and how much may be; 0: there is no limit."""

    used: int = 0
    most: int = 0

    def __str__(self) -> str:
        used = f"{self.used / _MIB:,.0f} MiB"
        return f"{used} of {self.most / _MIB:,.0f} MiB" if self.most else f"{used}, no limit"

    @property
    def is_scarce(self) -> bool:
        """Whether what is left is kept for runs that have begun."""
        return bool(self.most) and self.used >= self.most * SCARCE


_ack_decoder: Final = msgspec.json.Decoder(_Ack)
_stored_decoder: Final = msgspec.json.Decoder(_Stored)
_info_decoder: Final = msgspec.json.Decoder(_Info)
_mended_decoder: Final = msgspec.json.Decoder(RunMended)


class Blobs:
    """Puts and gets the blobs of runs. ``bytes_max`` is what this process puts at most.

    ``alone``: a service or a client, which may read by whole subjects alone. It gets only what a
    request refers to, and a daemon looks for it at what stands there already when it puts.
    """

    def __init__(
        self, transport: Transport, *, bytes_max: int = BLOB_BYTES_MAX, alone: bool = False
    ) -> None:
        self._transport = transport
        self._purging = Purging(transport)
        self._alone = alone
        self._bytes_max = min(bytes_max, BLOB_BYTES_MAX)
        self._chunks = trio.CapacityLimiter(CHUNKS_AT_ONCE)
        self._gets = trio.CapacityLimiter(BLOBS_AT_ONCE)
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.puts = self.gets = self.lacking = 0
        """How many were stored and fetched since the start, and how many were not there."""
        self.full = ""
        """Why nothing could be stored when that was tried last; empty: it could."""
        self._room = (-KNOWN_S, Room())

    async def put(
        self, instance: str, content: bytes, content_type: str = "", *, limited: bool = True
    ) -> Blob:
        """Store a content for a run, unless it stands there, and return the reference to it.

        Raises OversizedError above the limit, or with ``limited`` false above that of all blobs;
        BlobForgedError when somebody keeps on storing something else there; OverloadedError when
        there is no room, and UnavailableError when the server cannot take it now.
        """
        limit = self._bytes_max if limited else BLOB_BYTES_MAX
        if len(content) > limit:
            raise OversizedError(
                f"a value of {len(content)} bytes is above the limit of {limit}",
                hint="keep it elsewhere and pass its name",
            )
        blob = await _digested(content, content_type)
        key = (instance, blob.digest)
        now = trio.current_time()
        if now - self._known.get(key, -KNOWN_S) >= KNOWN_S:
            stood = await self._lay(instance, blob.digest, content)
            if stood and self._alone:
                await self._ensure(instance, blob, content)
            self.puts += 1
            self._known[key] = now
            self._known.move_to_end(key)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return blob

    def forget(self, instance: str, blob: Blob) -> None:
        """Look at what is stored when a blob is put the next time, whatever was put before."""
        self._known.pop((instance, blob.digest), None)

    async def get(self, instance: str, blob: Blob) -> bytes:
        """Return the content of a blob of a run.

        Raises BlobMissingError when a chunk is not there or the whole has another digest, and
        UnavailableError when that cannot be told now.
        """
        partition = blobs.partition_in(blob, instance) if self._alone else -1
        if self._alone and partition < 0:
            raise BlobMissingError(f"the reference to {blob.digest} has no subject of {instance}")
        content = await self._gather(instance, blob, partition)
        if not await trio.to_thread.run_sync(blobs.is_whole, blob, content):
            self.lacking += 1
            self.forget(instance, blob)
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

    async def room(self) -> Room:
        """Return how much is stored, as it was a moment ago, and how much may be.

        Raises UnavailableError.
        """
        at, found = self._room
        now = trio.current_time()
        if now - at >= ROOM_S:
            frame = await self._ask(Outgoing(f"$JS.API.STREAM.INFO.{STREAM}", b""))
            try:
                told = _info_decoder.decode(frame.payload)
            except msgspec.DecodeError as error:
                raise UnavailableError(f"{STREAM} answers something else: {error}") from error
            found = Room(told.state.bytes, max(0, told.config.max_bytes))
            self._room = now, found
        return found

    async def check_room(self) -> None:
        """Raise OverloadedError when what is left is kept for runs that have begun."""
        room = await self.room()
        if room.is_scarce:
            raise OverloadedError(f"{STREAM} is nearly full: {room}", hint=ROOM)

    async def mend(self, instance: str, blob: Blob, staged: str = "") -> bool:
        """Tell whether a blob stands whole; make it so out of what is staged, for daemons alone.

        ``staged`` names chunks of the run that are its content. What they prove to be is put,
        which replaces what is wrong, and they go. Raises BadValueError when they prove nothing,
        BlobMissingError when one is missing, and as ``put`` does.
        """
        self.forget(instance, blob)
        if not staged:
            try:
                await self.get(instance, blob)
            except BlobMissingError:
                return False
            return True
        content = await self._gather(instance, msgspec.structs.replace(blob, digest=staged))
        if not await trio.to_thread.run_sync(blobs.is_whole, blob, content):
            raise BadValueError(f"what is staged for {blob.digest} has another digest")
        await self.put(instance, content, limited=False)
        staged_at = f"movant.blob.*.{instance}.{staged}.>"
        await self._purging.purge(STREAM, {"filter": staged_at})
        return True

    async def stage(self, instance: str, content: bytes) -> str:
        """Store a content under a name that nobody can have guessed; return that name."""
        staged = secrets.token_hex(STAGED_CHARS // 2)
        await self._lay(instance, staged, content)
        return staged

    async def _ensure(self, instance: str, blob: Blob, content: bytes) -> None:
        """Have a daemon look at what stood there already, and replace what is wrong.

        Where none answers it is left at that: whoever reads it looks.
        """
        request = RunMend(id=instance, digest=blob.digest, size=blob.size)
        try:
            whole = await self._mended(request)
        except MovantError:
            return
        if not whole:
            staged = await self.stage(instance, content)
            await self._mended(msgspec.structs.replace(request, staged=staged))

    async def _mended(self, request: RunMend) -> bool:
        """Ask a daemon to mend. Raises what it answers, and UnavailableError."""
        message = Outgoing(subjects.api("run.mend"), msgspec.json.encode(request))
        try:
            frame = await self._transport.request(message, MEND_S)
            if (h.decode(frame.headers) or {}).get(h.SERVICE_ERROR):
                raise to_error(msgspec.json.decode(frame.payload, type=ErrorReply))
            return _mended_decoder.decode(frame.payload).whole
        except (UnknownOutcomeError, msgspec.DecodeError) as error:
            raise UnavailableError(f"no daemon mends {request.digest}: {error}") from error

    async def _gather(self, instance: str, blob: Blob, partition: int = -1) -> bytes:
        """Return the chunks of a blob, put together; whether they are its content is not said."""
        async with self._gets:
            found: list[bytes] = [b""] * blob.chunks

            async def fetch(number: int) -> None:
                found[number] = await self.chunk(instance, blob.digest, number, partition)

            await self._each([partial(fetch, number) for number in range(blob.chunks)])
            return b"".join(found)

    async def _lay(self, instance: str, name: str, content: bytes) -> bool:
        """Store the chunks of a content under a name; True: some stood there already."""
        stood: list[int] = []

        async def put(number: int, chunk: bytes) -> None:
            if not await self._put(instance, name, number, chunk):
                stood.append(number)

        await self._each(
            [partial(put, number, chunk) for number, chunk in enumerate(blobs.chunks(content))]
        )
        return bool(stood)

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

    async def _put(self, instance: str, name: str, number: int, chunk: bytes) -> bool:
        """Store a chunk; False: one stands there, and for a daemon it is this one."""
        message = Outgoing(blobs.put_subject(instance, name, number), chunk, _ONCE)
        for _ in range(MENDS_MAX + 1):
            error = _ack_decoder.decode((await self._ask(message)).payload).error
            if error is None:
                self.full = ""
                return True
            if error.err_code in ERR_FULL:
                self.full = f"{STREAM} is full: {error.description}"
                raise OverloadedError(self.full, hint=ROOM)
            if error.err_code != ERR_WRONG_SEQUENCE:
                raise UnavailableError(f"{STREAM}: {error.description} ({error.err_code})")
            # It stands there: an earlier put, or one whose acknowledgement was lost.
            if self._alone or await self._read(instance, name, number) == chunk:
                return False
            stands = await self._stands(instance, name, number)
            if stands is None:
                continue
            if stands.data == chunk:
                return False
            # That very message and no later one: another daemon may have put the right one.
            subject = blobs.stored_subject(instance, name, number)
            await self._purging.purge(STREAM, {"filter": subject, "seq": stands.seq + 1})
            log.error("blob.mended", run=instance, digest=name, chunk=number)
        raise BlobForgedError(
            f"chunk {number} of blob {name} of {instance} is another one, again and again",
            hint="somebody stores wrong bytes there: see docs/payloads.md",
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
        stands = await self._stands(instance, digest, number)
        return None if stands is None else stands.data

    async def _stands(self, instance: str, digest: str, number: int) -> _Stored.Message | None:
        """Return the message of a chunk, as the leader says."""
        subject = blobs.stored_subject(instance, digest, number)
        body = msgspec.json.encode({"last_by_subj": subject})
        frame = await self._ask(Outgoing(f"$JS.API.STREAM.MSG.GET.{STREAM}", body))
        try:
            answer = _stored_decoder.decode(frame.payload)
        except msgspec.DecodeError as error:
            raise UnavailableError(f"{STREAM} answers something else: {error}") from error
        if answer.message is None and (answer.error is None or answer.error.code != NOT_FOUND):
            raise UnavailableError(f"{STREAM} does not answer: {answer.error}")
        return answer.message

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
