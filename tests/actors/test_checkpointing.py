"""A checkpoint that is taken in slices holds though instances change while it is taken."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import pytest
import trio

from actors.core import slices
from actors.kernel.instance import Instance
from actors.owning.checkpointing import Checkpointing
from actors.owning.partitions import Partition, Partitions
from actors.owning.workflow import WorkflowActor
from actors.store.checkpoint import Checkpoint
from protocols.effects import Emit

INSTANCES: Final = 4
LISTED: Final = (("i0", 1), ("i1", 2))
"""What a former owner left to be done."""
NOTHING: Final[Any] = None


class World:
    """Some instances of one partition: what was handed to them, is folded, and is settled.

    Every message asks for one effect when it is folded.
    """

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.partitions = Partitions(1)
        self.partition = self.partitions.add(0, 1, Checkpoint(position=2, entries=LISTED))
        self.partition.begun = True
        self.live: dict[str, WorkflowActor] = {}
        self.crashes: dict[str, tuple[int, int, str]] = {}
        self.handed: dict[str, list[int]] = {f"i{n}": [] for n in range(INSTANCES)}
        """Messages by instance."""
        self.unfolded: dict[str, set[int]] = {each: set() for each in self.handed}
        """Messages that no fold of a living actor has taken."""
        self.open: dict[str, set[int]] = {each: set() for each in self.handed}
        """Causes of effects that are not acknowledged."""
        for name, cause in LISTED:
            self.handed[name].append(cause)
            self.unfolded[name].add(cause)

    def change(self) -> None:
        """Let something happen to one of the instances."""
        name = self.chance.choice([*self.handed])
        self.chance.choice(
            [self.hand, self.hand, self.fold, self.settle, self.crash, self.refold, self.recall]
        )(name)

    def recall(self, name: str) -> None:
        """Bring an instance into memory that a former owner listed."""
        if name in self.partition.listed:
            self.make(name, self.partition.listed.pop(name)).activating = True

    def hand(self, name: str) -> None:
        """Hand a message on, to an actor that is made for it if need be."""
        seq = self.partition.handed + 1
        self.partition.handed = seq
        self.handed[name].append(seq)
        self.unfolded[name].add(seq)
        actor = self.live.get(name)
        if actor is None:
            listed = self.partition.listed.pop(name, seq)
            actor = self.make(name, min(listed, self.crashes.get(name, (0, seq, ""))[1]))
            actor.activating = name in self.crashes or listed < seq
        if not actor.unfolded:
            actor.unfolded = seq

    def make(self, name: str, threshold: int) -> WorkflowActor:
        """Make an actor; behind all others."""
        actor = WorkflowActor(NOTHING, Instance(name, NOTHING), 0)
        actor.threshold = threshold
        self.live[name] = actor
        return actor

    def fold(self, name: str) -> None:
        """Fold the next message, or finish what an activation has to read."""
        actor = self.live.get(name)
        if actor is None or not self.unfolded[name]:
            return
        if actor.activating:
            actor.activating = False
            self.crashes.pop(name, None)
            self.open[name] |= self.unfolded[name]
            self.unfolded[name].clear()
        else:
            seq = min(self.unfolded[name])
            self.unfolded[name].remove(seq)
            self.open[name].add(seq)
        actor.unfolded = min(self.unfolded[name], default=0)
        self.show(actor)

    def show(self, actor: WorkflowActor) -> None:
        """Let the actor hold what is open."""
        actor.unsettled = {
            cause: Emit(cause=cause, event="e", data={}, id=str(cause))
            for cause in self.open[actor.id]
        }

    def settle(self, name: str) -> None:
        """Acknowledge one effect."""
        actor = self.live.get(name)
        if actor is not None and not actor.activating and self.open[name]:
            self.open[name].discard(self.chance.choice([*self.open[name]]))
            self.show(actor)

    def crash(self, name: str) -> None:
        """Drop an actor whose fold raised."""
        actor = self.live.get(name)
        if actor is not None and actor.unfolded:
            lowest = actor.lowest_cause()
            causes = [actor.unfolded, *([] if lowest is None else [lowest])]
            causes += [actor.threshold] if actor.activating else []
            self.crashes[name] = (0, min(causes), "")
            self.drop(actor)

    def refold(self, name: str) -> None:
        """Drop an actor that is folded anew from its mailbox."""
        actor = self.live.get(name)
        if actor is not None and actor.unfolded and not actor.activating:
            lowest = actor.lowest_cause()
            self.drop(actor)
            fresh = self.make(name, actor.unfolded if lowest is None else lowest)
            fresh.activating = True
            fresh.unfolded = max(self.handed[name])

    def drop(self, actor: WorkflowActor) -> None:
        """Let an actor leave memory."""
        actor.gone = True
        actor.unsettled = {}
        del self.live[actor.id]

    def lost(self, taken: Checkpoint) -> list[tuple[str, int]]:
        """Return what whoever takes over from a checkpoint would never do."""
        listed = dict(taken.entries)
        return [
            (name, cause)
            for name in self.handed
            for cause in self.unfolded[name] | self.open[name]
            if cause <= taken.position and listed.get(name, cause + 1) > cause
        ]


@pytest.mark.parametrize("part", range(4))
async def test_nothing_is_lost_whatever_happens_between_two_looks(
    monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Messages, settlements, crashes and refolds at every moment: all of it is found again."""
    monkeypatch.setattr(slices, "LOOKS", 1)
    positions = 0
    for seed in range(part * 100, part * 100 + 100):
        world = World(Random(seed))  # noqa: S311  # the same in every run
        checkpointing = Checkpointing(world.partitions, world.live, world.crashes, lambda _: False)
        for _ in range(world.chance.randrange(12)):
            world.change()
        for _ in range(3):
            taken: dict[int, Checkpoint] = {}

            async def take(
                taken: dict[int, Checkpoint] = taken, of: Checkpointing = checkpointing
            ) -> None:
                taken |= await of.take()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                while not taken:
                    for _ in range(world.chance.randrange(3)):
                        world.change()
                    await trio.lowlevel.checkpoint()
            # What came behind the look is unsettled as well; the position does not cover it.
            assert world.lost(taken[0]) == [], seed
            positions += taken[0].position > 0

    assert positions > 100


async def test_a_partition_that_is_begun_anew_meanwhile_is_left_to_its_new_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its position and its instances are not those that were looked at."""
    monkeypatch.setattr(slices, "LOOKS", 1)
    world = World(Random(1))  # noqa: S311  # the same in every run
    for name in world.handed:
        world.hand(name)
        world.hand(name)
    checkpointing = Checkpointing(world.partitions, world.live, world.crashes, lambda _: False)
    taken: list[dict[int, Checkpoint]] = []

    async def take() -> None:
        taken.append(await checkpointing.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        while not any(each.looked_at for each in world.live.values()):
            await trio.lowlevel.checkpoint()
        found: Partition = world.partitions.add(0, 2, Checkpoint(position=7))
        found.begun = True

    assert taken == [{}]
    assert (await checkpointing.take())[0].epoch == 2
