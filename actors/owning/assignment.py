"""Assignment: keeps what this daemon owns in line with who lives.

    look -> lapsed? verify -> give what is too much -> take what is free -> mark -> read -> act

A partition is taken by compare-and-set on its claim; the new revision is its epoch. It is
handed over in order: nothing is sent any more, what was read is folded, the checkpoint is
stored, the claim is released, and whoever should have it takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from actors.core.together import together
from actors.owning.membership import is_calm, plan
from actors.owning.owner import Owner
from actors.store.checkpoint import Checkpoint
from actors.store.leases import Leases, Sight
from actors.store.readers import Readers
from protocols.errors import AlreadyExistsError, MovantError

LOOK_S: Final = 0.25
"""A silence begins up to one look late; its end is looked for when it has come."""
FOLD_S: Final = 10.0
"""How long a hand-over waits for what was read to be folded; the checkpoint tells the rest."""
HOLD_S: Final = 60.0
"""So long nothing is handed over for evenness while somebody is behind: he may stay so."""
MOVED_MAX: Final = 1_000
"""Instances in memory that move at once for evenness: each waits until all are folded again."""

log = structlog.get_logger()


class CheckpointStore(Protocol):
    """Where the checkpoints of partitions are kept."""

    async def claim(self, epochs: Mapping[int, int]) -> Mapping[int, Checkpoint]:
        """Make checkpoints ours, and return what to begin with for each partition."""
        ...

    async def store(self, checkpoints: dict[int, Checkpoint]) -> None:
        """Store checkpoints and wait until the server has them."""
        ...


class Assignment:
    """Takes and gives partitions. ``run`` belongs under a supervisor."""

    def __init__(
        self,
        leases: Leases,
        owner: Owner,
        readers: Readers,
        checkpoints: CheckpointStore,
        mark: Callable[[dict[int, int]], Awaitable[None]],
    ) -> None:
        self._leases = leases
        self._owner = owner
        self._readers = readers
        self._checkpoints = checkpoints
        self._mark = mark
        self._lock = trio.Lock()
        self._again = trio.Event()
        self._moved_at = 0.0
        """When something was handed over for evenness, or there was nothing to hand over."""
        self.owners: list[str] = []
        """The member that claimed each partition, as of the last look."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look four times a second until cancelled. Reports started after the first round."""
        try:
            await self._look(task_status)
        finally:
            self._leases.be_starting()

    async def _look(self, task_status: trio.TaskStatus[None]) -> None:
        started = False
        while True:
            try:
                await self._leases.be_up()
                await self.round()
            except MovantError as error:
                log.warning("assignment.waiting", reason=str(error))
            else:
                if not started:
                    started = True
                    task_status.started()
            with trio.move_on_after(self._leases.next_look_s(LOOK_S)):
                await self._again.wait()
            self._again = trio.Event()

    def again(self) -> None:
        """Look at once: a marker of somebody else was read, or what was to be read is gone."""
        self._again.set()

    async def round(self) -> None:
        """Look once, and do what there is to do."""
        async with self._lock:
            self._readers.follow()
            await self._leases.be_behind(
                behind=any(each.behind for each in self._owner.partitions)
            )
            sight = await self._leases.look()
            missing = bool(self._readers.first)
            await self._compare(sight, surely=missing)
            self._leases.trust()
            if missing:
                self._readers.pass_over()
            owned = self._owner.partitions.owned
            me = self._leases.key
            owners = [claim.member for claim, _ in sight.claims]
            wanted = plan(me, {key: each.state for key, each in sight.members.items()}, owners)
            # Claims of an earlier life, or whose release was lost: while they stand, nobody else
            # takes these partitions, whatever the plan says.
            orphans = {n for n, owner in enumerate(owners) if owner == me and n not in owned}
            self.owners = ["" if n in orphans else owner for n, owner in enumerate(owners)]
            # A hand-over that has failed is finished, also when nobody wants it any more: what
            # is leaving is not read.
            leaving = {each.number for each in self._owner.partitions if each.leaving}
            giving = [each for each in wanted.give if each not in orphans]
            give = leaving | set(self._in_turn(giving, calm=is_calm(sight.members, owners)))
            if give:
                await self._give(tuple(sorted(give)))
            if unwanted := orphans & set(wanted.give):
                await self._release_all({each: sight.claims[each][1] for each in unwanted})
            if take := set(wanted.take) | orphans - set(wanted.give):
                await self._take({each: sight.claims[each][1] for each in sorted(take)})

    async def give_all(self) -> None:
        """Hand everything over: a drain ends."""
        async with self._lock:
            await self._give(tuple(self._owner.partitions.owned))

    def _in_turn(self, wanted: Sequence[int], *, calm: bool) -> Sequence[int]:
        """Return what to hand over now: all when we leave, else a part, when all is calm."""
        now = trio.current_time()
        if not wanted or self._leases.state != "up":
            self._moved_at = now
            return wanted
        if not calm and now - self._moved_at < HOLD_S:
            return ()
        self._moved_at = now
        crowd = Counter(each.partition for each in self._owner.live.values())
        left = MOVED_MAX - crowd[wanted[0]]
        count = 1
        while count < len(wanted) and crowd[wanted[count]] <= left:
            left -= crowd[wanted[count]]
            count += 1
        return wanted[:count]

    async def _compare(self, sight: Sight, *, surely: bool) -> None:
        """Drop what somebody else has claimed.

        After a lapse, and when what was to be read is gone, only the leader's word counts.
        """
        owned = dict(self._owner.partitions.owned)
        revisions = {number: sight.claims[number][1] for number in owned}

        async def ask(number: int) -> None:
            revisions[number] = await self._leases.revision(number)

        if surely or not sight.trusted:
            await together(*(partial(ask, number) for number in owned))
        lost = [number for number, each in owned.items() if revisions[number] > each.epoch]
        if lost:
            log.warning("partition.lost", partitions=lost, lapsed=not sight.trusted)
            for number in lost:
                self._owner.forget(number)
            self._readers.follow()

    async def _give(self, partitions: tuple[int, ...]) -> None:
        for number in partitions:
            self._owner.leave(number)
            self._readers.leave(number)
        self._readers.follow()
        with trio.move_on_after(FOLD_S):
            for number in partitions:
                await self._owner.drained(number)
        found = await self._owner.checkpoint()
        await self._checkpoints.store({each: found[each] for each in partitions if each in found})
        epochs = {each: self._owner.epoch_of(each) for each in partitions}
        for number in partitions:
            self._owner.forget(number)
        await self._release_all({number: epoch for number, epoch in epochs.items() if epoch})
        log.info("partition.given", partitions=len(partitions))

    async def _release_all(self, epochs: Mapping[int, int]) -> None:
        async with trio.open_nursery() as nursery:
            for number, epoch in epochs.items():
                nursery.start_soon(self._release, number, epoch)

    async def _release(self, partition: int, epoch: int) -> None:
        try:
            await self._leases.release(partition, epoch)
        except MovantError as error:
            # Our record tells that we are gone, or the next round finds a claim of no use.
            log.warning("partition.not_released", partition=partition, reason=str(error))

    async def _take(self, revisions: dict[int, int]) -> None:
        await self._leases.be_behind(behind=True)  # before anybody sees the claims
        epochs: dict[int, int] = {}

        async def claim(number: int, revision: int) -> None:
            try:
                epochs[number] = await self._leases.claim(number, revision)
            except AlreadyExistsError:
                return  # somebody else was quicker
            except MovantError as error:
                log.warning("partition.not_claimed", partition=number, reason=str(error))

        async with trio.open_nursery() as nursery:
            for number, revision in revisions.items():
                nursery.start_soon(claim, number, revision)
        if not epochs:
            return
        await self._mark(epochs)
        stored = await self._checkpoints.claim(epochs)
        # One may have been lost meanwhile, in the middle of a batch: a reader of the whole
        # stream that goes on without it must not be taken for one that reads it again.
        self._readers.follow()
        for number in sorted(stored):
            self._owner.begin(number, epochs[number], stored[number])
            await trio.lowlevel.checkpoint()  # it may list thousands, and is read at once
        self._readers.follow()
        log.info("partition.taken", partitions=len(epochs), epoch=max(epochs.values()))
