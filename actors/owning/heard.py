"""Heard: bring a run back to memory that a service works for and tells so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.subjects import partition_of

if TYPE_CHECKING:
    from actors.owning.owner import Owner
    from actors.owning.workflow import WorkflowActor


def hear(owner: Owner, instance: str, *, bring: bool) -> WorkflowActor | None:
    """Return an instance in memory; ``bring``: it is brought there, if it is the owner's.

    Nothing that it asked for is asked for again by that: what a wake covers stays covered.
    """
    number = partition_of(instance, owner.partitions.count)
    if bring and instance not in owner.live and owner.acts_in(number):
        owner.rouse(instance, number, owner.partitions.known_to(number) + 1, set())
    return owner.live.get(instance)
