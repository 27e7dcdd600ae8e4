"""Strays: what MAIL stores outside of every partition, kept as dead letters.

MAIL captures ``movant.to.>`` and moves ``movant.to.<id>.…`` to a partition. What the transform
does not take (too few tokens, a literal wildcard as a token) stays where it was, and no reader
of a partition sees it. One consumer on ``movant.to.>``, as it is stored, reads just these; it
belongs to the owner of one agreed partition, so that there is one in the whole account.

The position is stored behind the letters: a crash repeats some and loses none, and the letters
of one message carry one id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog
import trio

from actors.owning.letters import DeadLetter, Delivery
from actors.store.dead_letters import DeadLetters
from actors.store.kv import Kv
from actors.store.stream_reader import StreamReader
from protocols.errors import MovantError
from protocols.ports import Entropy, Transport

KEY: Final = "strays"
"""In the bucket of the checkpoints, beside the partitions' numbers."""
FILTER: Final = "movant.to.>"
LOOK_S: Final = 1.0
"""How often ownership is looked at and the position stored."""

log = structlog.get_logger()


class Strays:
    """Reads strays while ``is_mine`` says so. Run ``run``."""

    def __init__(
        self,
        transport: Transport,
        entropy: Entropy,
        kv: Kv,
        dead: DeadLetters,
        is_mine: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._entropy = entropy
        self._kv = kv
        self._dead = dead
        self._is_mine = is_mine
        self._read = self._stored = 0
        self._open: dict[int, None] = {}
        """Letters that are not acknowledged yet, by their sequence in MAIL, in order."""

    @property
    def position(self) -> int:
        """Every stray up to here is a dead letter."""
        return next(iter(self._open), self._read + 1) - 1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Read whenever they are ours, until cancelled."""
        task_status.started()
        while True:
            if self._is_mine():
                try:
                    await self._serve()
                except MovantError as error:
                    log.warning("strays.waiting", reason=str(error))
            await trio.sleep(LOOK_S)

    async def _serve(self) -> None:
        """Read until they are no longer ours."""
        entry = await self._kv.get(KEY)
        self._read = self._stored = int(entry.value) if entry else 0
        self._open.clear()
        reader = StreamReader(
            self._transport,
            self._entropy,
            stream="MAIL",
            after=self._read,
            sink=self._take,
            filter_subject=FILTER,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(reader.run)
            while self._is_mine():
                await trio.sleep(LOOK_S)
                await self._store()
            nursery.cancel_scope.cancel()

    async def _store(self) -> None:
        position = self.position
        if position == self._stored:
            return
        try:
            await self._kv.put(KEY, str(position).encode())
        except MovantError as error:  # the next look tries again
            log.warning("strays.waiting", reason=str(error))
        else:
            self._stored = position

    def _take(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self._read = delivery.seq
            self._open[delivery.seq] = None
            self._dead.keep(stray(delivery), self._kept)

    def _kept(self, seq: int) -> None:
        self._open.pop(seq, None)


def stray(delivery: Delivery) -> DeadLetter:
    """Say why a message is in no mailbox."""
    tokens = delivery.subject.split(".")
    if {"*", ">", ""} & set(tokens):
        return DeadLetter(delivery, "stray", "the subject has a wildcard or an empty token")
    return DeadLetter(delivery, "stray", "the subject names no mailbox")
