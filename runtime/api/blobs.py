"""BlobQueries: artifacts of a run, and the chunks of its blobs.

run.artifacts   the successes in its mailbox that declare some
run.blob        one chunk, straight from the stream
run.mend        is a blob whole? With its content staged beside it: it is made so
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.owning.inbound import parse
from actors.owning.letters import Letter
from protocols import headers as h
from protocols import subjects
from protocols.api import blobs as api_blobs
from protocols.api.base import Message
from protocols.blobs import Blob, artifacts, check_staged, checked
from protocols.errors import BadValueError, NotFoundError
from protocols.mail import Reply
from runtime.history import path_of
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from runtime.daemon import Daemon

_HEADER = h.ARTIFACTS.encode()


class BlobQueries:
    """Answers about blobs, and makes them whole."""

    def __init__(self, daemon: Daemon, runs: StoredRuns) -> None:
        self._parts = daemon.parts
        self._runs = runs

    async def artifacts(self, request: api_blobs.RunArtifacts) -> Message:
        """List the artifacts of a run: those that a success in its mailbox declares."""
        subjects.check_id(request.id)
        stand = await self._runs.stand(self._runs.partition_of(request.id))
        stored = await self._runs.messages(request.id, stand)
        if not stored:
            raise NotFoundError(f"no instance {request.id!r}", hint="movant run ls")
        found: dict[str, api_blobs.ArtifactRow] = {}
        for each in stored:
            if _HEADER not in each.headers:
                continue
            parsed = parse(each, self._parts.keys)
            if not isinstance(parsed, Letter) or not isinstance(parsed.mail, Reply):
                continue
            mail = parsed.mail
            if mail.failure is not None:
                continue
            try:
                declared = artifacts((h.decode(each.headers) or {}).get(h.ARTIFACTS, "[]"))
            except BadValueError:
                continue  # the answer counts, but nothing that it declares
            for one in declared:
                found[one.name] = api_blobs.ArtifactRow(
                    name=one.name,
                    size=one.size,
                    digest=one.digest,
                    content_type=one.content_type,
                    path=path_of(mail.step),
                    seq=mail.seq,
                    at=mail.at,
                )
        return api_blobs.ArtifactPage(
            id=request.id, artifacts=[found[name] for name in sorted(found)]
        )

    async def chunk(self, request: api_blobs.RunBlob) -> Message:
        """Read one chunk of a blob. Raises NotFoundError."""
        subjects.check_id(request.id)
        checked(Blob(digest=request.digest, size=0))
        blobs = self._parts.values.blobs
        return api_blobs.RunChunk(
            data=await blobs.chunk(request.id, request.digest, request.chunk)
        )

    async def mend(self, request: api_blobs.RunMend) -> Message:
        """Tell whether a blob is whole, or make it so. Raises BadValueError, UnavailableError."""
        subjects.check_id(request.id)
        blob = checked(Blob(digest=request.digest, size=request.size))
        staged = request.staged and check_staged(request.staged)
        blobs = self._parts.values.blobs
        return api_blobs.RunMended(whole=await blobs.mend(request.id, blob, staged))
