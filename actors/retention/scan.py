"""Scan: reads the prefix of MAIL for a collector, once and in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import trio

from actors.owning.letters import Delivery
from actors.owning.partitions import Partition
from actors.retention import collection
from actors.retention.collection import Settings
from actors.retention.territory import Territory
from actors.store.direct_reader import DirectReader
from protocols import subjects

READ: Final = 2_048
"""Messages in one read. Beside a busy daemon an answer takes some 80 ms, whatever its size."""
SORTED: Final = 256
"""Messages between two pauses: a millisecond of this thread's time."""
BEHIND_S: Final = 0.1
_MAIL_TOKENS: Final = 6


class Chunk(msgspec.Struct):
    """What was read below ``end``: by partition and instance the messages, in order."""

    end: int
    due: dict[int, Partition]
    newest_at: int = 0
    """Time of the newest message, in nanoseconds since 1970."""
    raw: dict[tuple[int, str], list[Delivery]] = {}
    imported: int = 0
    """The highest sequence of TIMERS among imported firings."""
    scanned: int = 0


class Scan:
    """Reads chunks. ``pause`` is awaited after each read."""

    def __init__(
        self,
        mailboxes: DirectReader,
        territory: Territory,
        settings: Settings,
        pause: Callable[[], Awaitable[None]],
        partitions: int,
    ) -> None:
        self._mailboxes = mailboxes
        self._territory = territory
        self._settings = settings
        self._pause = pause
        self._partitions = partitions

    async def read(self, mark: int, end: int, due: Sequence[Partition]) -> Chunk:
        """Read [mark, end) of the partitions that are due, or less when it is very large.

        Of one that is ours no more it may read less.
        """
        chunk = Chunk(end, {each.number: each for each in due})
        # One reader for all is far cheaper for the server than many filters (hazard S8).
        if len(due) * 2 > self._partitions:
            # All that MAIL holds; ">" costs the server a quarter of what a prefix does.
            await self._follow(">", mark, chunk, due)
        else:
            for each in due:
                if self._territory.holds(each):
                    await self._follow(f"movant.mail.{each.number}.>", each.mark, chunk, [each])
        if chunk.end < end:  # what other partitions were read for beyond it comes again
            for key, raw in list(chunk.raw.items()):
                chunk.raw[key] = [each for each in raw if each.seq < chunk.end]
                if not chunk.raw[key]:
                    del chunk.raw[key]
        return chunk

    async def _follow(
        self, pattern: str, mark: int, chunk: Chunk, partitions: Sequence[Partition]
    ) -> None:
        """Read until a message at or above the end proves that nothing below it is missing.

        A replica may be behind, and then its answer just ends. Where nothing comes for good,
        a marker of a partition does.
        """
        after = max(mark - 1, 0)
        size = 0
        ticked = False
        while after < chunk.end - 1:
            batch = await self._mailboxes.batch(pattern, after, READ)
            if not batch:
                held = [each for each in partitions if self._territory.holds(each)]
                if not held:
                    return  # nobody waits for it
                if not ticked:
                    await self._territory.tick(held[:1])
                    ticked = True
                await trio.sleep(BEHIND_S)
                continue
            for start in range(0, len(batch), SORTED):
                part = batch[start : start + SORTED]
                size += sum(self._sort(chunk, each) for each in part if each.seq < chunk.end)
                after = part[-1].seq
                if after < chunk.end and size > self._settings.chunk_bytes_max:
                    chunk.end = after + 1
                await self._pause()

    def _sort(self, chunk: Chunk, delivery: Delivery) -> int:
        """Put a message to its mailbox; return its size. What names no mailbox is left out."""
        chunk.scanned += 1
        chunk.newest_at = max(chunk.newest_at, delivery.at)
        tokens = delivery.subject.split(".", _MAIL_TOKENS - 1)
        if len(tokens) < _MAIL_TOKENS or not tokens[2].isdigit() or not subjects.is_id(tokens[3]):
            return 0
        if tokens[4] == "timer":
            chunk.imported = max(chunk.imported, collection.imported((delivery,)))
        partition = int(tokens[2])
        owned = chunk.due.get(partition)
        if owned is None or owned.mark > delivery.seq:
            return 0
        chunk.raw.setdefault((partition, tokens[3]), []).append(delivery)
        return len(delivery.payload) + len(delivery.headers)
