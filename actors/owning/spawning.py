"""Spawning: a child's start is written once, and a taken id is the parent's failure.

    first in its mailbox? -> stored | something stands there -> first of the starts? -> stored
                                                             | ours: a repeat after a crash
                                                             | another's: the parent is told

The first start in a mailbox is the one that counts and never changes, so whoever looks finds
the same answer, in any epoch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.owning.detours import Reference
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.retention.packs import expand
from actors.store.direct_reader import DirectReader
from actors.store.stream_writer import StreamWriter, Written
from protocols import headers as h
from protocols import subjects
from protocols.blobs import BLOB
from protocols.effects import Spawn
from protocols.errors import AlreadyExistsError, MovantError
from protocols.failure import Failure
from protocols.mail import Parent, Start
from protocols.ports import Outgoing
from protocols.tokens import KeyRing

EXISTS: Final = "exists"
"""Failure kind of a child whose id another run has."""
RETRY_S: Final = 1.0

log = structlog.get_logger()

StartSoon = Callable[..., Any]


class Spawning:
    """Starts children. ``start_soon`` runs what has to look into the store."""

    def __init__(
        self,
        mail: StreamWriter,
        mailboxes: DirectReader,
        keys: KeyRing,
        partitions: int,
        start_soon: StartSoon,
    ) -> None:
        self._mail = mail
        self._mailboxes = mailboxes
        self._keys = keys
        self._partitions = partitions
        self._start_soon = start_soon

    def start(self, effect: Spawn, written: Written) -> None:
        """Write a child's start; ``written`` is told when the spawn is settled."""

        def told(seq: int, error: MovantError | None) -> None:
            if isinstance(error, AlreadyExistsError):
                self._start_soon(self._behind, effect, written)
            else:
                written(seq, error)

        mailbox = subjects.mailbox(effect.child, self._partition(effect))
        self._mail.write(self._message(effect, mailbox), told)

    async def _behind(self, effect: Spawn, written: Written) -> None:
        """Start a child whose mailbox is not empty: signals may come before the start."""
        # Looked at first: a start that stands in a pack is none to the server.
        if await self._found(effect, written):
            return
        starts = f"movant.mail.{self._partition(effect)}.{effect.child}.start.>"

        def told(seq: int, error: MovantError | None) -> None:
            if isinstance(error, AlreadyExistsError):
                self._start_soon(self._look, effect, written)
            else:
                written(seq, error)

        await self._patiently(self._write, self._message(effect, starts), told)

    async def _look(self, effect: Spawn, written: Written) -> None:
        """See whose start came first."""
        if not await self._found(effect, written):
            # Only starts that no fold can take: one without the proof goes behind them.
            await self._patiently(self._write, self._message(effect, ""), written)

    async def _found(self, effect: Spawn, written: Written) -> bool:
        """Tell whether there is a start, and settle the spawn by whose it is."""
        mailbox = subjects.mailbox(effect.child, self._partition(effect))
        start = first_start(await self._patiently(self._mailboxes.mailbox, mailbox), self._keys)
        if start is None:
            return False
        if start.message_id == effect.id:
            written(start.seq, None)
        else:
            log.warning("child.exists", run=effect.parent.instance, child=effect.child)
            await self._patiently(self._write, taken(effect.parent, effect.child), written)
        return True

    async def _write(self, message: Outgoing, written: Written) -> None:
        self._mail.write(message, written)

    async def _patiently(self, act: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Do something until the store can: the spawn stays unsettled meanwhile."""
        while True:
            try:
                return await act(*args)
            except MovantError as error:
                log.warning("child.waiting", reason=str(error))
                await trio.sleep(RETRY_S)

    def _partition(self, effect: Spawn) -> int:
        return subjects.partition_of(effect.child, self._partitions)

    def _message(self, effect: Spawn, nothing_in: str) -> Outgoing:
        """Return the start; the server stores it only while ``nothing_in`` matches nothing."""
        parent = f"{effect.parent.instance}|{effect.parent.path}"
        lines = {
            h.PARENT: parent,
            h.PARENT_TOKEN: self._keys.sign_child(effect.child, parent),
            h.MESSAGE_ID: effect.id,
        }
        if effect.priority:
            lines[h.PRIORITY] = str(effect.priority)
        if h.is_traceparent(effect.traceparent):
            lines[h.TRACEPARENT] = effect.traceparent
        if type(effect.body) is Reference:
            lines[h.CONTENT_TYPE] = BLOB
        if nothing_in:
            lines |= {h.EXPECTED_SEQUENCE: "0", h.EXPECTED_SUBJECT: nothing_in}
        subject = subjects.to_start(effect.child, effect.workflow)
        return Outgoing(subject, effect.body, h.encode(lines))


def first_start(stored: Iterable[Delivery], keys: KeyRing) -> Start | None:
    """Return the start that counts in a mailbox, or None."""
    for each in expand(stored).messages:
        if ".start." in each.subject:
            parsed = parse(each, keys)
            if type(parsed) is Letter and type(parsed.mail) is Start:
                return parsed.mail
    return None


def taken(parent: Parent, child: str) -> Outgoing:
    """Return the message that tells a parent that the id of its child is another run's."""
    failure = Failure(
        kind=EXISTS, message=f"the id {child!r} belongs to another run", retryable=False
    )
    body = {
        "step": subjects.step_token(parent.path),
        "child": child,
        "status": "failed",
        "failure": failure,
    }
    return Outgoing(subjects.to_owner(parent.instance, "child"), msgspec.json.encode(body))


__all__ = ["EXISTS", "Spawning", "first_start", "taken"]
