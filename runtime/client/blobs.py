"""What a client does with values that are too large for a message, and with artifacts.

in:   BLOBS, then a request with the reference
out:  an answer with the reference, then its chunks through the API
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
import trio

from actors.store.blobs import BLOBS_AT_ONCE, BlobMissingError, Blobs
from protocols import codec
from protocols.api import blobs as api_blobs
from protocols.api import runs as api
from protocols.blobs import BLOB_BYTES_MAX, INLINE_BYTES_MAX, LARGE, Blob, blob_of, is_whole
from protocols.errors import NotFoundError
from protocols.headers import JSON
from protocols.subjects import check_id
from protocols.witness import Operator
from runtime.client.calls import Calls, new_message_id

CHUNKS_AT_ONCE: Final = 4
LOOKS_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)
"""A run tells of its end a moment before its result is stored."""

Told = TypeVar("Told", api.RunStarted, api.RunView, api.RunOutcome)


class LargeValues:
    """Stores what a client gives, and fetches what it is told."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._blobs = Blobs(calls.transport, alone=True)
        self._gets = trio.CapacityLimiter(BLOBS_AT_ONCE)

    async def given(self, id: str, value: Any) -> tuple[Any, Blob | None]:  # noqa: A002 - as the API says
        """Return what goes into a request: the value, or the reference to it.

        Raises OversizedError for one that is too large for a blob, too.
        """
        body = codec.encode(value, limit=BLOB_BYTES_MAX)
        if len(body) <= INLINE_BYTES_MAX:
            return value, None
        return None, await self._blobs.put(check_id(id), body)

    async def told(self, answer: Told) -> Told:
        """Return an answer with the result that it refers to."""
        blob = answer.result_blob
        if blob is None:
            return answer
        content = await self.content(answer.id, blob)
        value = codec.decode(content, (blob.content_type or JSON) + LARGE)
        return msgspec.structs.replace(answer, result=value)

    async def content(self, id: str, blob: Blob) -> bytes:  # noqa: A002 - as the API says
        """Return the content of a blob. Raises BlobMissingError."""
        for pause_s in LOOKS_S:
            try:
                return await self._content(id, blob)
            except NotFoundError:
                await trio.sleep(pause_s)
        return await self._content(id, blob)

    async def _content(self, id: str, blob: Blob) -> bytes:  # noqa: A002 - as the API says
        chunks: list[bytes] = [b""] * blob.chunks
        missing: list[NotFoundError] = []
        limit = trio.CapacityLimiter(CHUNKS_AT_ONCE)

        async def fetch(number: int) -> None:
            request = api_blobs.RunBlob(id=id, digest=blob.digest, chunk=number)
            async with limit:
                if missing:
                    return
                try:
                    found = await self._calls.call("run.blob", request, api_blobs.RunChunk)
                    chunks[number] = found.data
                except NotFoundError as error:
                    missing.append(error)

        async with self._gets, trio.open_nursery() as nursery:
            for number in range(blob.chunks):
                nursery.start_soon(fetch, number)
        if missing:
            raise missing[0]
        content = b"".join(chunks)
        if not await trio.to_thread.run_sync(is_whole, blob, content):
            raise BlobMissingError(f"blob {blob.digest} of {id} is not what it was")
        return content

    async def supply(
        self,
        id: str,  # noqa: A002 - as the API says
        content: bytes,
        *,
        message_id: str = "",
        by: Operator | None = None,
    ) -> api.Accepted:
        """Put back the value that blocks a run, byte for byte, and let it go on.

        Raises RefusedError when it is another one, or the run does not wait for one.
        """
        self._blobs.forget(check_id(id), blob_of(content))
        blob = await self._blobs.put(id, content)
        request = api_blobs.RunSupply(
            id=id,
            digest=blob.digest,
            size=blob.size,
            message_id=message_id or new_message_id(),
            by=by,
        )
        return await self._calls.call("run.supply", request, api.Accepted)

    async def artifacts(self, id: str) -> list[api_blobs.ArtifactRow]:  # noqa: A002 - as the API says
        """Return the artifacts of a run, by name. Raises NotFoundError."""
        request = api_blobs.RunArtifacts(id=check_id(id))
        return (await self._calls.call("run.artifacts", request, api_blobs.ArtifactPage)).artifacts

    async def artifact(self, id: str, name: str) -> bytes:  # noqa: A002 - as the API says
        """Return the content of an artifact. Raises NotFoundError."""
        for row in await self.artifacts(id):
            if row.name == name:
                return await self.content(id, Blob(digest=row.digest, size=row.size))
        raise NotFoundError(f"{id} has no artifact {name!r}", hint=f"movant run artifacts {id}")
