"""Fates: what becomes of each instance that a chunk met, by its record and by what is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from actors.owning.letters import Delivery
from actors.owning.outbox import is_first
from actors.retention import collection, packs
from actors.retention.collection import Fate
from actors.retention.scan import Chunk
from actors.store.archive import Archive
from actors.store.direct_reader import DirectReader
from protocols import subjects
from protocols.archive import ArchiveRecord

LOOKED_AT: Final = 500
"""Instances between two pauses."""
ASKED: Final = 100
"""Mailboxes in one request for their packs."""
STORED_MAX: Final = 50_000

Key = tuple[int, str]
"""Partition and instance."""


class Fates:
    """Decides, and reads what else belongs to a history. ``pause`` is awaited now and then."""

    def __init__(
        self,
        mailboxes: DirectReader,
        archive: Archive,
        pause: Callable[[], Awaitable[None]],
        partitions: int,
    ) -> None:
        self._mailboxes = mailboxes
        self._archive = archive
        self._pause = pause
        self._partitions = partitions
        self._stored: dict[Key, int] = {}
        """Whose whole history we have put into a bundle though packs of it stand above the
        chunk, and where the last one stands: those packs are not needed any more."""

    async def decide(self, chunk: Chunk) -> dict[Key, Fate]:
        """Return the fate of each instance."""
        records = await self._records(list(chunk.raw))
        fates = {}
        for number, (key, raw) in enumerate(chunk.raw.items(), 1):
            if number % LOOKED_AT == 0:
                await self._pause()
            found = [each for each in raw if packs.is_pack(each.subject)]
            for pattern in packs.missing_slices(found):
                # The rest of a sliced pack stands above the chunk's end.
                raw.extend(await self._mailboxes.subject(pattern))
            record = records.get(key)
            at = None if record is None else record.at
            fate = collection.fate(at, chunk.due[key[0]].mark, chunk.end)
            if (
                fate is Fate.DROP
                and found
                and at is not None
                and self._holds_history(key, raw, at)
            ):
                fate = Fate.BUNDLE
            fates[key] = fate
            if self._stored.get(key, chunk.end) < chunk.end:
                del self._stored[key]
        return fates

    async def _records(self, keys: Sequence[Key]) -> dict[Key, ArchiveRecord]:
        horizon = await self._archive.horizon()
        found: dict[Key, ArchiveRecord] = {}
        for start in range(0, len(keys), LOOKED_AT):
            names = {subjects.done(*key): key for key in keys[start : start + LOOKED_AT]}
            records = await self._archive.records(list(names), horizon)
            found |= {names[subject]: record for subject, record in records.items()}
            await self._pause()
        return found

    def _holds_history(self, key: Key, raw: Iterable[Delivery], at: int) -> bool:
        """Tell whether packs hold a history that no bundle may have.

        The position of a record alone does not tell: it may have been written late, and it may
        lie in a chunk in which nothing of the instance stood.
        """
        if key in self._stored:
            return False
        opened, _ = packs.open_packs(each for each in raw if packs.is_pack(each.subject))
        return any(copies and copies[0].seq <= at for _, _, copies in opened)

    async def complete(self, chunk: Chunk, fates: Mapping[Key, Fate], head: int) -> None:
        """Add to what is to be bundled the packs that stand above the chunk.

        An earlier chunk made them, when the instance had not ended or its record was too new.
        None has a mailbox of which the chunk has the beginning, with the server's proof.
        """
        wanted: dict[str, list[Delivery]] = {}
        for number, ((partition, instance), raw) in enumerate(chunk.raw.items(), 1):
            if number % LOOKED_AT == 0:
                await self._pause()
            if fates[partition, instance] is Fate.BUNDLE and not is_first(
                raw[0].headers, instance, self._partitions
            ):
                wanted[subjects.packs(instance, partition)] = raw
        filters = list(wanted)
        for start in range(0, len(filters), ASKED):
            part = filters[start : start + ASKED]
            found = await self._mailboxes.whole(part, head)
            if found is None:
                for each in part:
                    wanted[each] += await self._mailboxes.mailbox(each)
            else:
                for pack in found:
                    wanted[pack.subject.rpartition(".pack.")[0] + ".pack.>"].append(pack)
            await self._pause()

    def stored(self, chunk: Chunk, partition: int, instances: Iterable[str]) -> None:
        """Take the news that whole histories are in ARCHIVE."""
        for instance in instances:
            key = (partition, instance)
            last = max(each.seq for each in chunk.raw[key])
            if last >= chunk.end:
                self._stored[key] = last
        while len(self._stored) > STORED_MAX:
            del self._stored[next(iter(self._stored))]
