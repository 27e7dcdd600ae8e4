"""Large answers: what a service is asked with, or answers, that is too large for a message.

request with a reference -> the value, for the handler
value, files -> BLOBS, for the run that asked -> a reference, and names in a header
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog
import trio

from actors.services.answers import Answer, Large
from actors.store.blobs import Blobs
from protocols import headers as h
from protocols.blobs import (
    ARTIFACTS_MAX,
    BLOB,
    INLINE_BYTES_MAX,
    LARGE,
    Artifact,
    File,
    check_artifact_name,
    encoded,
    reference,
)
from protocols.errors import BadValueError, OversizedError, UnavailableError
from protocols.headers import JSON
from protocols.subjects import TO

AGAIN_S: Final = 0.5

log = structlog.get_logger()


class Asked(Protocol):
    """A request as it came."""

    body: bytes
    content_type: str
    replies: list[str]


class LargeAnswers:
    """Fetches and stores for handlers. One per process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def fetch(self, asked: Asked) -> None:
        """Put the value in the place of its reference.

        Raises BlobMissingError, UnavailableError and, for what is no reference, BadValueError.
        """
        blob = reference(asked.body)
        asked.body = await self._blobs.get(_run(asked.replies), blob)
        asked.content_type = (blob.content_type or JSON) + LARGE

    async def stored(self, replies: Sequence[str], large: Large) -> Answer:
        """Return the answer for what is stored now, however long that takes.

        Raises OversizedError for what is over the limit, BadValueError for a name that cannot
        be one.
        """
        run = _run(replies)
        found = [await self._file(run, each) for each in _named(large.files)]
        lines = b""
        if found:
            lines = h.encode({h.ARTIFACTS: msgspec.json.encode(found).decode()})
        if len(large.body) <= INLINE_BYTES_MAX:
            return large.body, lines
        digest, size = await self._put(run, large.body)
        blob = encoded(Artifact(name="", digest=digest, size=size, content_type="").blob)
        return blob, lines + h.encode({h.CONTENT_TYPE: BLOB})

    async def _file(self, run: str, file: File) -> Artifact:
        digest, size = await self._put(run, file.content)
        return Artifact(name=file.name, digest=digest, size=size, content_type=file.content_type)

    async def _put(self, run: str, content: bytes) -> tuple[str, int]:
        """Store: the handler has done its work, so nothing but a size may keep its answer back."""
        while True:
            try:
                blob = await self._blobs.put(run, content)
            except UnavailableError as error:
                log.warning("blob.waiting", run=run, reason=error.message)
                await trio.sleep(AGAIN_S)
            else:
                return blob.digest, blob.size


def _run(replies: Sequence[str]) -> str:
    """Return the run that asked. Raises OversizedError for a request of nobody's run."""
    for each in replies:
        if each.startswith(TO):
            return each.split(".", 3)[2]
    raise OversizedError("only a run has blobs: a plain request is answered with a message")


def _named(files: Sequence[File]) -> Sequence[File]:
    """Check names before anything is stored."""
    if len(files) > ARTIFACTS_MAX:
        raise OversizedError(f"an answer has at most {ARTIFACTS_MAX} artifacts")
    for each in files:
        check_artifact_name(each.name)
        if not each.content_type.isascii() or not each.content_type.isprintable():
            raise BadValueError(f"{each.content_type[:60]!r} is no content type")
    return files
