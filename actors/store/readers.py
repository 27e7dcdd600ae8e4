"""Readers: one for the whole stream while every partition is ours, else one for each.

One consumer with many filters reads 3,300 messages/s, many consumers with one filter each
56,000 in all, and one without a filter 110,000 (reference: hazard S8). So a daemon alone reads
the stream as it is, and one among several reads its partitions side by side.

Only a newer owner can have purged what was not handed on. Whoever finds that missing has lost
the partition and has to look at the claims before he reads on: the marker that tells him so may
be among what is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog
import trio

from actors.owning.letters import Delivery
from actors.owning.partitions import Partition, Partitions
from actors.store.stream_reader import PORTION, StreamReader
from protocols.ports import Entropy, Transport

STREAM: Final = "MAIL"
PORTION_OF_MANY: Final = 256
"""Asked for at once by each of many readers."""
SPREAD_MAX: Final = 100_000
"""Further apart than this, partitions are not read together: too much would be read twice."""


log = structlog.get_logger()


class Readers:
    """Reads the partitions of an owner. ``run`` belongs under a supervisor.

    ``take`` is told the messages of one partition in order, ``take_all`` those of the stream.
    Nothing is read while ``ready()`` is false. ``missing`` is called when what has to be read
    next is gone: nothing is read either until ``follow`` ends the reader, or ``pass_over``.
    """

    def __init__(
        self,
        transport: Transport,
        entropy: Entropy,
        partitions: Partitions,
        *,
        take: Callable[[Sequence[Delivery]], None],
        take_all: Callable[[Sequence[Delivery]], None],
        demand: Callable[[], int],
        ready: Callable[[], bool],
        missing: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._entropy = entropy
        self._partitions = partitions
        self._take = take
        self._take_all = take_all
        self._demand = demand
        self._ready = ready
        self._missing = missing
        self.first = 0
        """The first sequence of the stream, when something below it is missing; else 0."""
        self._all: StreamReader | None = None
        self._each: dict[int, StreamReader] = {}
        self._scopes: dict[StreamReader, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        self._stopped = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the readers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def follow(self) -> None:
        """Read what is owned now: begin what is new, end what is not ours any more."""
        if self._stopped:
            return
        owned = {
            number: each for number, each in self._partitions.owned.items() if not each.leaving
        }
        if len(owned) == self._partitions.count and (self._all or _together(owned.values())):
            if self._all is None:
                self._end(self._each.values())
                self._each.clear()
                after = min(each.handed for each in owned.values())
                self._partitions.everywhere = after
                self._partitions.again_to = max(each.handed for each in owned.values())
                self._all = self._begin(after, "", self._take_all, PORTION)
            return
        if self._all is not None:
            self._end([self._all])
            self._all = None
            self._partitions.settle()
        gone = [number for number in self._each if number not in owned]
        self._end([self._each.pop(number) for number in gone])
        for number, each in owned.items():
            if number not in self._each:
                self._each[number] = self._begin(
                    each.handed, f"movant.mail.{number}.>", self._take, PORTION_OF_MANY
                )

    def leave(self, partition: int) -> None:
        """Take nothing more for a partition; it is about to be handed over."""
        if self._all is not None:
            self._end([self._all])
            self._all = None
            self._partitions.settle()
        found = self._each.pop(partition, None)
        if found is not None:
            self._end([found])

    def pass_over(self) -> None:
        """Do without what is missing: the partitions are ours, so nobody else has it either."""
        first, self.first = self.first, 0
        short = [
            each for each in self._partitions if self._partitions.known_to(each.number) + 1 < first
        ]
        if short:
            log.error("mail.missing", first=first, partitions=[each.number for each in short])
        for each in short:
            each.handed = first - 1
        if self._all is not None:
            self._partitions.everywhere = max(self._partitions.everywhere, first - 1)
        for reader in (self._all, *self._each.values()):
            if reader is not None:
                reader.pass_over(first)

    def stop(self) -> None:
        """Take nothing more at all: a drain begins."""
        self._stopped = True
        if self._all is not None:
            self._partitions.settle()
        for each in self._scopes:
            each.stop()

    def refill(self) -> None:
        """Ask for more where the open portion runs low: room has come back."""
        if self._all is not None:
            self._all.refill()
        else:
            for each in self._each.values():
                each.refill()

    def lag(self, partition: int) -> int:
        """Return how many messages of a partition waited in the stream at the last delivery.

        A reader of the whole stream knows only the number of all.
        """
        found = self._all or self._each.get(partition)
        return 0 if found is None else found.statistics().pending

    def _begin(
        self,
        after: int,
        filter_subject: str,
        take: Callable[[Sequence[Delivery]], None],
        portion: int,
    ) -> StreamReader:
        assert self._nursery is not None, "follow() before run()"
        reader = StreamReader(
            self._transport,
            self._entropy,
            stream=STREAM,
            after=after,
            sink=take,
            demand=self._demand,
            ready=self._ready,
            missing=self._found_missing,
            filter_subject=filter_subject,
            portion=portion,
        )
        scope = self._scopes[reader] = trio.CancelScope()
        self._nursery.start_soon(self._read, reader, scope)
        return reader

    def _found_missing(self, first: int) -> None:
        self.first = max(self.first, first)
        self._missing()

    async def _read(self, reader: StreamReader, scope: trio.CancelScope) -> None:
        with scope:
            await reader.run()

    def _end(self, readers: Iterable[StreamReader]) -> None:
        for each in list(readers):
            each.stop()
            self._scopes.pop(each).cancel()


def _together(partitions: Iterable[Partition]) -> bool:
    """Tell whether partitions stand close enough to be read by one reader."""
    handed = [each.handed for each in partitions]
    return max(handed) - min(handed) <= SPREAD_MAX
