"""Checkpointing: what to store of each partition, though it is never looked at in one go.

    handed positions -> look at each instance (others run in between) -> the newcomers, the crashes

An instance is looked at once: what it has not folded bounds its partition's position, what it
has not settled is listed. Each look is at one moment, and later than the positions were read:
so what was handed on is folded when an instance says so, and what that asked for is settled, or
on the list. What an instance does behind its look has causes above the position, which whoever
takes over folds anyway. Instances that came meanwhile may stand for one that was refolded, that
had crashed, or that a former owner listed: they are looked at in the end, together with the
crashes and what is left of his lists, without a pause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import trio

from actors.core.slices import in_slices
from actors.owning.partitions import Partition, Partitions
from actors.owning.workflow import WorkflowActor
from actors.store.checkpoint import Checkpoint, entries, position, surplus

MADE: Final = 250
"""So many looks at an instance are worth one checkpoint that is made: it is sorted."""


class Checkpointing:
    """Takes the checkpoints of an owner's partitions, one after the other.

    ``crashes`` has partition and lowest cause by instance, ``cover`` arms the wake of an
    instance for which a checkpoint has no room.
    """

    def __init__(
        self,
        partitions: Partitions,
        live: dict[str, WorkflowActor],
        crashes: Mapping[str, tuple[int, int, str]],
        cover: Callable[[WorkflowActor], bool],
    ) -> None:
        self._partitions = partitions
        self._live = live
        self._crashes = crashes
        self._cover = cover
        self._lock = trio.Lock()
        self._round = 0

    async def take(self) -> dict[int, Checkpoint]:
        """Return what to store for each partition that acts.

        The next one begins when this one is taken: who queues at once what he gets writes them
        in that order. A partition whose marker was not read is left as it is.
        """
        async with self._lock:
            self._round += 1
            found = _Found(self._round)
            handed = {
                each: self._partitions.known_to(each.number)
                for each in self._partitions
                if each.begun
            }
            await in_slices(list(self._live.values()), found.look)
            # An instance that comes stands behind all that were there before.
            for actor in reversed(self._live.values()):
                if actor.looked_at == self._round:
                    break
                found.look(actor)
            for instance, (partition, cause, _) in self._crashes.items():
                found.list(partition, instance, cause)
            for each in handed:
                for instance, cause in each.listed.items():
                    found.list(each.number, instance, cause)
            taken: dict[Partition, Checkpoint] = {}

            def make(each: Partition) -> bool:
                taken[each] = found.checkpoint(each, handed[each])
                return True

            await in_slices(handed, make, act=MADE)
            for checkpoint in taken.values():
                await in_slices(surplus(checkpoint.entries), self._make_room)
            owned = self._partitions.owned
            return {
                each.number: checkpoint
                for each, checkpoint in taken.items()
                if owned.get(each.number) is each
            }

    def _make_room(self, entry: tuple[str, int]) -> bool:
        actor = self._live.get(entry[0])
        return actor is not None and self._cover(actor)


class _Found:
    """What a look at all instances has found so far, by partition."""

    def __init__(self, number: int) -> None:
        self._round = number
        self._unfolded: defaultdict[int, list[int]] = defaultdict(list)
        self._unsettled: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)

    def look(self, actor: WorkflowActor) -> None:
        """Take what an instance has not folded and not settled, as of now."""
        actor.looked_at = self._round
        if actor.gone:
            return
        if actor.unfolded:
            self._unfolded[actor.partition].append(actor.unfolded)
        cause = actor.lowest_cause()
        if actor.activating:  # what it has not folded yet may have effects as well
            cause = actor.threshold if cause is None else min(cause, actor.threshold)
        if cause is not None:
            self._unsettled[actor.partition].append((actor.id, cause))

    def list(self, partition: int, instance: str, cause: int) -> None:
        """Take an instance with effects that are not settled."""
        self._unsettled[partition].append((instance, cause))

    def checkpoint(self, partition: Partition, handed: int) -> Checkpoint:
        """Return the checkpoint of a partition that was handed on up to a position."""
        number = partition.number
        at = max(position(handed, self._unfolded.get(number, ())), partition.start)
        return Checkpoint(
            position=at,
            epoch=partition.epoch,
            entries=entries(self._unsettled.get(number, ()), at),
            markers=partition.epochs.markers(),
            mark=partition.mark,
            marked_at=partition.marked_at,
            kept=partition.kept,
        )
