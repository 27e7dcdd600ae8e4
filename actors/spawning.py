"""Spawning: a child's start is written once, and a taken id is the parent's failure.

    first in its mailbox? -> stored | something stands there -> first of the starts? -> stored
                                                             | ours: a repeat after a crash
                                                             | another's: the parent is told

The first start in a mailbox is the one that counts and never changes, so whoever looks finds
the same answer, in any epoch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.direct_reader import DirectReader
from actors.inbound import Letter, parse
from actors.stream_writer import StreamWriter, Written
from protocols import headers as h
from protocols import subjects
from protocols.effects import Spawn
from protocols.errors import AlreadyExistsError, MovantError
from protocols.failure import Failure
from protocols.mail import Start
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
        starts = f"movant.mail.{self._partition(effect)}.{effect.child}.start.>"

        def told(seq: int, error: MovantError | None) -> None:
            if isinstance(error, AlreadyExistsError):
                self._start_soon(self._look, effect, starts, written)
            else:
                written(seq, error)

        await self._patiently(self._write, self._message(effect, starts), told)

    async def _look(self, effect: Spawn, starts: str, written: Written) -> None:
        """See whose start stands there."""
        stored = await self._patiently(self._mailboxes.subject, starts)
        for each in stored:
            parsed = parse(each, self._keys)
            if type(parsed) is Letter and type(parsed.mail) is Start:
                if parsed.mail.message_id == effect.id:
                    written(each.seq, None)
                else:
                    await self._tell_parent(effect, written)
                return
        # Only starts that no fold can take: one without the proof goes behind them.
        await self._patiently(self._write, self._message(effect, ""), written)

    async def _tell_parent(self, effect: Spawn, written: Written) -> None:
        log.warning("child.exists", run=effect.parent.instance, child=effect.child)
        failure = Failure(
            kind=EXISTS,
            message=f"the id {effect.child!r} belongs to another run",
            retryable=False,
        )
        body = {
            "step": subjects.step_token(effect.parent.path),
            "child": effect.child,
            "status": "failed",
            "failure": failure,
        }
        subject = subjects.to_owner(effect.parent.instance, "child")
        await self._patiently(self._write, Outgoing(subject, msgspec.json.encode(body)), written)

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
        if nothing_in:
            lines |= {h.EXPECTED_SEQUENCE: "0", h.EXPECTED_SUBJECT: nothing_in}
        subject = subjects.to_start(effect.child, effect.workflow)
        return Outgoing(subject, effect.body, h.encode(lines))


__all__ = ["EXISTS", "Spawning"]
