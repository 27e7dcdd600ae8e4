"""Membership: which daemons live, and who of them should own which partition. Pure.

Everybody sees the same records and comes to nearly the same answer; where they differ, the
compare-and-set of a claim decides. Ownership is about wasted work, never about correctness:
that is what the epoch markers in the partitions are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Final, Literal

import msgspec

LEASE_S: Final = 2.0
"""A daemon that did not renew for so long is taken for dead, also by itself."""
RENEW_S: Final = 0.4
"""Five renewals in a lease: four may be lost or late."""

MemberState = Literal["starting", "up", "draining", "gone"]
"""Only who is up gets partitions; what the others own stays theirs as long as they live."""


class Member(msgspec.Struct, frozen=True, omit_defaults=True):
    """One daemon, as its record tells. ``boot`` names the boot and the process namespace.

    ``behind``: it has not folded yet what it took over.
    """

    name: str
    host: str
    pid: int
    boot: str = ""
    state: MemberState = "up"
    version: str = ""
    behind: bool = False


class Claim(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who owns a partition; nobody when ``member`` is empty. The revision is the epoch."""

    member: str = ""
    daemon: str = ""


class Plan(msgspec.Struct, frozen=True):
    """What one daemon should do now: claim these partitions, hand those over."""

    take: tuple[int, ...] = ()
    give: tuple[int, ...] = ()


def weight(partition: int, member: str) -> int:
    """Return how well a member and a partition fit: rendezvous hashing."""
    return int.from_bytes(hashlib.sha256(f"{partition}|{member}".encode()).digest()[:8])


def plan(me: str, members: Mapping[str, MemberState], owners: Sequence[str]) -> Plan:
    """Return what ``me`` should take and give.

    ``members`` are those that live, ``owners`` has a member's key or nothing per partition.
    Nobody owns more than the even share, rounded up; what is owned within it stays where it
    is, so that a newcomer moves no more than its own share.
    """
    up = sorted(key for key, state in members.items() if state == "up")
    mine = [number for number, owner in enumerate(owners) if owner == me]
    if me not in up:
        return Plan(give=tuple(mine) if me in members else ())
    share = -(-len(owners) // len(up))
    mine.sort(key=lambda number: weight(number, me))
    give = tuple(sorted(mine[: max(0, len(mine) - share)]))
    loads = {key: min(share, owners.count(key)) for key in up}
    take = []
    for number, owner in enumerate(owners):
        if owner in members:
            continue
        fitting = [key for key in up if loads[key] < share]
        winner = max(fitting, key=lambda key: weight(number, key), default="")
        if winner:
            loads[winner] += 1
        if winner == me:
            take.append(number)
    return Plan(tuple(take), give)


def is_calm(members: Mapping[str, Member], owners: Sequence[str]) -> bool:
    """Tell whether partitions may move for no other reason than to be shared evenly.

    Each has an owner who lives, and nobody is behind: what moves waits for its next owner, and
    who has just taken over would read for nothing what he is about to give away.
    """
    return all(owner in members for owner in owners) and not any(
        each.behind for each in members.values()
    )


class Sightings:
    """Which members live: those whose record changed within the lease, by our own clock.

    Records carry no time that two machines could read differently.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._dead: set[str] = set()
        """Whose lease was over at a look: so it stays until the record changes."""

    def living(
        self,
        revisions: Mapping[str, int],
        asked: float,
        told: float,
        *,
        surely_gone: Collection[str] = (),
    ) -> set[str]:
        """Return the keys of those that live.

        ``revisions`` are those of their records as they were somewhen from ``asked`` to
        ``told``: what is new may have come as late as that, what is old says no more than that
        it was as early as this.
        """
        for key, revision in revisions.items():
            known = self._seen.get(key)
            if known is None or known[0] != revision:
                self._seen[key] = (revision, told)
                self._dead.discard(key)
        for key in self._seen.keys() - revisions.keys():
            del self._seen[key]
        self._dead &= self._seen.keys()
        self._dead |= {key for key, (_, at) in self._seen.items() if asked - at > LEASE_S}
        return self._seen.keys() - self._dead - set(surely_gone)

    def lapses_at(self, keys: Collection[str]) -> float:
        """Return when the first of some that live will be dead if it is not heard before."""
        return min(
            (at + LEASE_S for key, (_, at) in self._seen.items() if key in keys), default=inf
        )

    def silent_for(self, key: str, now: float) -> float:
        """Return for how many seconds a record has not changed; 0 for one that is not known."""
        return now - self._seen[key][1] if key in self._seen else 0.0

    def excuse(self, now: float) -> None:
        """Count no silence up to now: we could not hear anybody ourselves.

        Who was dead before is: else his partitions would be handed over to him.
        """
        for key in self._seen.keys() - self._dead:
            self._seen[key] = (self._seen[key][0], now)
