"""RepairCommands: runs that a missing value blocks.

supply    it was put back: a message into the mailbox lets its owner fold it again
discard   nobody has it any more: a message says so, and every fold goes on without it

A value is missing when its blob is not there, or is not what its digest says. Both write only
while it blocks: what was folded with its value stays so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.store.direct_reader import DirectReader
from protocols import subjects
from protocols.api import blobs as api_blobs
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.blobs import Blob, checked
from protocols.errors import AlreadyExistsError, NotFoundError, RefusedError
from protocols.mail import AnyMail, Fork, Lacking, Repair
from runtime.api.queries import RunQueries
from runtime.api.runs import RunCommands

if TYPE_CHECKING:
    from runtime.daemon import Daemon


class RepairCommands:
    """Puts values back and gives them up."""

    def __init__(
        self, daemon: Daemon, commands: RunCommands, queries: RunQueries, mail: DirectReader
    ) -> None:
        self._blobs = daemon.parts.values.blobs
        self._commands = commands
        self._runs = queries.runs
        self._view = queries.view
        self._mail = mail

    async def supply(self, request: api_blobs.RunSupply) -> api.Message:
        """Let a run go on whose value was put back. Raises RefusedError when it cannot."""
        seq = await self._blocked_at(request.id)
        blob = checked(Blob(digest=request.digest, size=request.size))
        if not await self._blobs.mend(request.id, blob):
            raise NotFoundError(f"{request.id} has no value {blob.digest} that is whole")
        left = (await self._runs.fold(request.id)).blocked
        if left is not None and left.seq == seq:
            raise RefusedError(
                f"what was put has the digest {blob.digest}, and {left.message}",
                hint=f"it has to be that value, byte for byte; or movant run discard"
                f" {request.id} {seq}",
            )
        return await self._order(request, Repair(message=seq, how="supplied"))

    async def discard(self, request: api_blobs.RunDiscard) -> api.Message:
        """Let a run go on without a value. Raises RefusedError when it does not block it."""
        newest = await self._mail.newest(
            subjects.mailbox(request.id, self._runs.partition_of(subjects.check_id(request.id)))
        )
        # Folded here, from what is stored: its owner may not have learnt that it is back.
        lost: list[AnyMail | None] = []
        found = await self._runs.folded(
            request.id, least=newest, hear=lambda mail, _: lost.append(mail)
        )
        seq = 0 if isinstance(found, ArchiveRecord) or not found.blocked else found.blocked.seq
        if not seq or seq != request.message:
            raise _not_blocked(request.id, f"message {request.message}", seq)
        if any(type(x) is Lacking and x.seq == seq and type(x.of) is Fork for x in lost):
            raise RefusedError(
                f"message {seq} is what {request.id} takes over: all would be done again",
                hint=f"movant run supply, or movant run cancel {request.id}",
            )
        order = Repair(message=seq, how="discarded")
        try:
            return await self._order(request, order, behind=newest)
        except AlreadyExistsError as error:
            raise RefusedError(
                f"something came for {request.id} meanwhile", hint=f"movant why {request.id}"
            ) from error

    async def _order(
        self, request: api_blobs.RunSupply | api_blobs.RunDiscard, order: Repair, behind: int = 0
    ) -> api.Accepted:
        body = {"message": order.message, "how": order.how}
        seq = await self._commands.order(
            request.id, "repair", body, request.message_id, request.by, behind=behind
        )
        return api.Accepted(id=request.id, seq=seq)

    async def _blocked_at(self, instance: str) -> int:
        seq = (await self._view(instance)).blocked_at
        if not seq:
            raise _not_blocked(instance, "any message", 0)
        return seq


def _not_blocked(instance: str, message: str, seq: int) -> RefusedError:
    instead = f"; it is at message {seq}" if seq else ""
    return RefusedError(
        f"{instance} is not blocked by the value of {message}{instead}",
        hint=f"movant why {instance}",
    )
