"""Checkpoints: kept in a key-value bucket, one key per partition, written when they change.

Each is written against the revision that its owner read after its own marker. So a former
owner that wakes up late cannot put back an older position, from which nobody could read any
more: what is below may be removed from the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import msgspec
import structlog
import trio

from actors.store.checkpoint import Checkpoint
from actors.store.kv import Kv
from actors.store.stream_writer import StreamWriter, Written
from protocols import headers as h
from protocols.errors import AlreadyExistsError, MovantError
from protocols.ports import Outgoing

EVERY_S: Final = 1.0

log = structlog.get_logger()


class Checkpoints:
    """Loads and stores the checkpoints of partitions."""

    def __init__(self, kv: Kv, writer: StreamWriter) -> None:
        self._kv = kv
        self._writer = writer
        self._stored: dict[int, Checkpoint] = {}
        self._revisions: dict[int, int] = {}

    async def claim(self, epochs: Mapping[int, int]) -> dict[int, Checkpoint]:
        """Make checkpoints ours, and return what to begin with for each partition.

        What is read is stored again under our epoch before anybody relies on it: else a former
        owner could still replace it, and have removed what we are about to read. A partition
        that has a newer owner already is left out.
        """
        left = dict(epochs)
        claimed: dict[int, Checkpoint] = {}
        while left:
            found = await self._load_all(left)
            changed: dict[int, Checkpoint] = {}
            for partition, checkpoint in found.items():
                if checkpoint.epoch > left[partition]:
                    del left[partition]
                    continue
                claimed[partition] = msgspec.structs.replace(checkpoint, epoch=left[partition])
                self._write(partition, claimed[partition], changed)
            await self._writer.drained()
            left = {partition: left[partition] for partition in changed}
            for partition in left:
                del claimed[partition]
        # What the store refused is claimed again in the next round.
        return {each: mine for each, mine in claimed.items() if self._stored[each] == mine}

    async def _load_all(self, partitions: Iterable[int]) -> dict[int, Checkpoint]:
        found: dict[int, Checkpoint] = {}
        errors: list[MovantError] = []

        async def one(partition: int) -> None:
            try:
                found[partition] = await self.load(partition)
            except MovantError as error:
                errors.append(error)  # as it is: out of a nursery it would come in a group

        async with trio.open_nursery() as nursery:
            for partition in partitions:
                nursery.start_soon(one, partition)
        if errors:
            raise errors[0]
        return found

    async def load(self, partition: int) -> Checkpoint:
        """Read a partition's checkpoint, and write against what was read from then on."""
        entry = await self._kv.leader(str(partition))
        self._revisions[partition] = entry.revision if entry else 0
        found = msgspec.json.decode(entry.value, type=Checkpoint) if entry else Checkpoint()
        self._stored[partition] = found
        return found

    async def read(self, partition: int) -> Checkpoint:
        """Return a partition's checkpoint as it may have been a moment ago."""
        entry = await self._kv.get(str(partition))
        return msgspec.json.decode(entry.value, type=Checkpoint) if entry else Checkpoint()

    async def all(self) -> dict[int, Checkpoint]:
        """Return what is stored of all partitions, also of those that others own."""
        return {
            int(each.key): msgspec.json.decode(each.value, type=Checkpoint)
            for each in await self._kv.last("*")
            if each.key.isdigit()
        }

    async def run(self, take: Callable[[], Awaitable[Mapping[int, Checkpoint]]]) -> None:
        """Store what ``take`` returns, once a second, until cancelled."""
        while True:
            await trio.sleep(EVERY_S)
            if not self._writer.depth:  # else the last one is still under way
                try:
                    await self.store(await take())
                except MovantError as error:
                    log.warning("checkpoint.waiting", reason=str(error))

    async def store(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Store what has changed and wait until the server has it.

        One that was changed by somebody else meanwhile is left to a newer owner, and written
        over an older one. Raises UnavailableError when that cannot be found out.
        """
        changed: dict[int, Checkpoint] = {}
        for partition, checkpoint in checkpoints.items():
            known = self._stored.get(partition)
            if known is None or (checkpoint != known and checkpoint.epoch >= known.epoch):
                self._write(partition, checkpoint, changed)
        await self._writer.drained()
        for partition, checkpoint in changed.items():
            before = self._stored.get(partition)
            found = await self.load(partition)
            if found.epoch > checkpoint.epoch:
                log.warning("checkpoint.not_ours", partition=partition, epoch=found.epoch)
            elif found != before:
                log.info("checkpoint.changed", partition=partition, epoch=found.epoch)

    def _write(
        self, partition: int, checkpoint: Checkpoint, changed: dict[int, Checkpoint]
    ) -> None:
        revision = self._revisions.get(partition, 0)

        def written(seq: int, error: MovantError | None) -> None:
            if error is None:
                self._stored[partition] = checkpoint
                self._revisions[partition] = seq
            elif isinstance(error, AlreadyExistsError):
                changed[partition] = checkpoint
            else:
                log.error("checkpoint.refused", partition=partition, reason=str(error))

        told: Written = written
        self._writer.write(
            Outgoing(
                self._kv.subject(str(partition)),
                msgspec.json.encode(checkpoint),
                h.encode({h.EXPECTED_SEQUENCE: str(revision)}),
            ),
            told,
        )
