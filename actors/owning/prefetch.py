"""Prefetch: read the mailboxes of many instances of one partition together, and fold them in turn.

A daemon that takes a partition over has to fold each instance that was at something: those that
its checkpoint lists, and those that its tail brings. Read one by one that is two requests each;
read together it is one for fifty of them, and one for the counts of the whole partition. That
begins when our own marker was read, and those that are listed come into memory only then: what
is done before delays the first step of all.

(Reading the partition's messages in order is no way: the server held up everybody for seconds
while it looked for them among those of the other partitions.)

They are folded by a few tasks, one instance in each turn of the loop. With a task for each and
pauses inside of a fold, a daemon that was busy besides came to 600 of them in a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from actors.owning.partitions import Partition
from actors.owning.workflow import WorkflowActor
from actors.store.direct_reader import DirectReader
from protocols.errors import MovantError

LEAST: Final = 32
"""Fewer instances than this are read one by one: they do not pay for the partition's counts."""

PARTITIONS: Final = 6
"""Partitions that are read beside each other: a busy daemon waits long for an answer, and the
first of many that are asked for at once comes with the last."""
RECALLS: Final = 50
"""Instances that come into memory between two checkpoints of the loop, some 5 ms."""
HELD_MAX: Final = 5_000
"""Mailboxes that were read, or are about to be, and are not folded; above it the next partition
waits."""
HELD_LOOK_S: Final = 0.02
FOLDS_AT_ONCE: Final = 64
"""Mailboxes that are folded beside each other: all at once they would keep the loop from
everything else."""

log = structlog.get_logger()


class Prefetched(msgspec.Struct, frozen=True):
    """One mailbox as it is stored, and the partition's mark when the reading began."""

    stored: list[Delivery]
    mark: int


class Prefetch:
    """The instances of partitions that have been taken and have not settled.

    When one has, ``recall`` makes an actor of an instance that it lists, and ``fold`` is called
    for each actor; with None it has to be read by itself.
    """

    def __init__(
        self,
        mailboxes: DirectReader,
        start_soon: Callable[..., Any],
        recall: Callable[[Partition, str], None],
        fold: Callable[[WorkflowActor, Partition, Prefetched | None], Awaitable[None]],
    ) -> None:
        self._mailboxes = mailboxes
        self._start_soon = start_soon
        self._recall = recall
        self._fold = fold
        self._crowds: dict[Partition, list[WorkflowActor]] = {}
        self._limit = trio.CapacityLimiter(PARTITIONS)
        self._ready: deque[tuple[WorkflowActor, Partition, Prefetched | None]] = deque()
        self._folding = self._reading = 0

    def open(self, partition: Partition) -> None:
        """Begin to gather the instances of a partition that was taken."""
        self._crowds[partition] = []
        self._start_soon(self._together, partition)

    def join(self, actor: WorkflowActor, partition: Partition) -> bool:
        """Read and fold an actor's mailbox with others of its partition; False: too late."""
        crowd = self._crowds.get(partition)
        if crowd is None:
            return False
        crowd.append(actor)
        return True

    async def _together(self, partition: Partition) -> None:
        await partition.settled.wait()
        async with self._limit:
            while self._reading + len(self._ready) >= HELD_MAX:  # noqa: ASYNC110  # seldom
                await trio.sleep(HELD_LOOK_S)
            held = len(partition.listed) + len(self._crowds[partition])
            self._reading += held
            for number, instance in enumerate(list(partition.listed), 1):
                self._recall(partition, instance)
                if number % RECALLS == 0:
                    await trio.lowlevel.checkpoint()
            crowd = self._crowds.pop(partition)
            mark = partition.mark
            found = await self._read(partition, crowd)
            self._reading -= held
        crowd.sort(key=lambda actor: not actor.needed)  # who was answered meanwhile goes on first
        for actor in crowd:
            stored = found.get(actor.id)
            prefetched = None if stored is None else Prefetched(stored, mark)
            self._ready.append((actor, partition, prefetched))
        while self._folding < min(FOLDS_AT_ONCE, len(self._ready)):
            self._folding += 1
            self._start_soon(self._work)

    async def _work(self) -> None:
        while self._ready:
            actor, partition, found = self._ready.popleft()
            if not actor.gone:
                await self._fold(actor, partition, found)
                await trio.lowlevel.checkpoint()
        self._folding -= 1

    async def _read(
        self, partition: Partition, crowd: list[WorkflowActor]
    ) -> dict[str, list[Delivery]]:
        if len(crowd) < LEAST or partition.leaving or not partition.begun:  # it is ours no more
            return {}
        try:
            return await self._mailboxes.many(partition.number, {each.id for each in crowd})
        except MovantError as error:
            log.warning("prefetch.failed", partition=partition.number, reason=str(error))
            return {}
