"""Leases: this daemon's record among the members, and its claims on partitions.

    member.<key>      renewed all the time; who does not renew is taken for dead
    partition.<p>     who owns it; the revision of the claim is the partition's epoch

A lease that has lapsed is not trusted again by renewing it: somebody may have taken partitions
over meanwhile. First the claims are looked at, then ``trust`` lets the daemon act again. The
clock is the one that goes on while the machine is suspended.

Renewals are sent by the thread of the connection, which asks ``beat`` for them. They go on while
this thread has much to do, but not while it is stuck: see ``STUCK_S``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

import msgspec
import structlog
import trio

from actors.owning.membership import RENEW_S, Claim, Member, MemberState, Sightings
from actors.owning.term import UNHEARD_S, Term
from actors.store.kv import Entry, Kv, acknowledged
from protocols.errors import AlreadyExistsError
from protocols.ports import Beat, Beating, Clock, Outgoing

FORGET_S: Final = 3_600.0
"""Records of daemons that have been silent for so long are removed."""
STUCK_S: Final = 5.0
"""Who does nothing for so long on its trio thread does not renew either: it serves nobody."""
LATE_S: Final = 0.01
"""Somebody is looked at so long after his lease is over."""
MEMBER: Final = "member."
PARTITION: Final = "partition."

log = structlog.get_logger()


class Sight(msgspec.Struct, frozen=True):
    """What the bucket says: who lives, and per partition who claims it, with the revision."""

    members: dict[str, Member]
    claims: list[tuple[Claim, int]]
    trusted: bool
    """Whether our own lease held all the time until this look began."""


class Leases:
    """The record and the claims of one daemon."""

    def __init__(
        self,
        kv: Kv,
        clock: Clock,
        key: str,
        me: Member,
        is_dead: Callable[[str, Member], bool],
        *,
        partitions: int,
    ) -> None:
        self.key = key
        self._kv = kv
        self._clock = clock
        self._me = me
        self._is_dead = is_dead
        self._partitions = partitions
        self._sightings = Sightings()
        self._term = Term(clock)
        self._busy_at = float("-inf")
        self._lapses_at = inf
        self._unread: set[str] = set()
        self._seen: set[str] = set()
        self.members: dict[str, Member] = {}
        """Who lived at the last look."""
        self.silent: dict[str, Member] = {}
        """Who did not say good-bye, is silent, and has not come back under the same name."""

    @property
    def held(self) -> bool:
        """Whether this daemon may act for its partitions now."""
        return self._term.held

    @property
    def state(self) -> MemberState:
        """Our own state, as others see it."""
        return self._me.state

    async def join(self) -> None:
        """Write our record for the first time. Raises UnavailableError, UnknownOutcomeError."""
        await self._renew()

    async def run(self, beating: Beating) -> None:
        """Renew until cancelled: as long as this task gets its turns."""
        stop = beating(RENEW_S, self.beat)
        told = False
        try:
            while True:
                now = self._busy_at = self._clock.boottime()
                unheard_s = self._term.unheard_s(now)
                if unheard_s <= UNHEARD_S:
                    told = False
                elif not (told or self._term.over):
                    told = True
                    log.warning("lease.not_renewed", unheard_s=round(unheard_s, 1))
                await trio.sleep(RENEW_S)
        finally:
            stop()

    def beat(self) -> Beat | None:
        """Return the next renewal, or None. Called on the thread of the connection."""
        began = self._clock.boottime()
        if self._term.over or began - self._busy_at > STUCK_S:
            return None
        message = Outgoing(self._kv.subject(MEMBER + self.key), msgspec.json.encode(self._me))
        return Beat(message, partial(self._answered, began))

    def _answered(self, began: float, payload: bytes) -> None:
        if acknowledged(payload):
            self._term.renewed(began)

    async def be_up(self) -> None:
        """Tell the others that we take partitions from now on. Nothing once a drain began."""
        if self.state == "starting":
            self._me = msgspec.structs.replace(self._me, state="up")
            await self._renew()

    async def be_behind(self, *, behind: bool) -> None:
        """Tell the others whether we fold what we took over: meanwhile nothing moves to us."""
        if behind != self._me.behind:
            self._me = msgspec.structs.replace(self._me, behind=behind)
            await self._renew()

    def be_starting(self) -> None:
        """Tell the others, with the next renewal, that we take none for the time being."""
        if self.state == "up":
            self._me = msgspec.structs.replace(self._me, state="starting")

    async def drain(self) -> None:
        """Tell the others that they get our partitions."""
        self._me = msgspec.structs.replace(self._me, state="draining")
        await self._renew()

    async def leave(self) -> None:
        """Tell the others that we are gone: they need not wait for the lease to lapse."""
        self._term.end()
        self._me = msgspec.structs.replace(self._me, state="gone")
        await self._renew()

    async def look(self) -> Sight:
        """Read all records. Raises UnavailableError when they cannot be read."""
        began = self._clock.boottime()
        trusted = self._term.held
        if self._term.was_silent(began):
            self._sightings.excuse(began)
        self._lapses_at = inf  # should this fail
        found = await self._kv.last(f"{MEMBER}*", f"{PARTITION}*")
        now = self._clock.boottime()
        members: dict[str, Member] = {}
        revisions: dict[str, int] = {}
        claims = [(Claim(), 0)] * self._partitions
        for each in found:
            kind, _, key = each.key.partition(".")
            if kind == "member":
                members[key] = self._member(each)
                revisions[key] = each.revision
            elif key.isdigit() and int(key) < self._partitions:
                claims[int(key)] = (_claim(each), each.revision)
        self._seen = set(members)
        gone = {
            key
            for key, member in members.items()
            if key != self.key and (member.state == "gone" or self._is_dead(key, member))
        }
        living = self._sightings.living(revisions, began, now, surely_gone=gone)
        self._lapses_at = self._sightings.lapses_at(living - {self.key})
        self.members = {key: members[key] for key in living if key in members}
        self.members[self.key] = self._me
        names = {each.name for each in self.members.values()}
        self.silent = {
            key: each
            for key, each in members.items()
            if key not in gone and key not in self.members and each.name not in names
        }
        await self._forget(members, living, now)
        return Sight(dict(self.members), claims, trusted)

    async def newcomers(self) -> list[str]:
        """Return the keys of daemons that joined since the last look. Raises UnavailableError."""
        found = await self._kv.last(f"{MEMBER}*")
        return [
            key
            for key in (each.key.removeprefix(MEMBER) for each in found)
            if key not in self._seen
        ]

    def trust(self) -> None:
        """Act under the latest renewal: the claims were looked at after the lease had lapsed."""
        self._term.trust()

    def next_look_s(self, most_s: float) -> float:
        """Return how long to wait for the next look: somebody may be dead by then."""
        left_s = self._lapses_at - self._clock.boottime()
        return min(most_s, max(left_s, 0.0) + LATE_S)

    async def claim(self, partition: int, revision: int) -> int:
        """Take a partition whose claim still has a revision; return the new epoch.

        Raises AlreadyExistsError when somebody else was quicker.
        """
        value = msgspec.json.encode(Claim(self.key, self._me.name))
        return await self._kv.put(f"{PARTITION}{partition}", value, revision=revision)

    async def revision(self, partition: int) -> int:
        """Return the revision of a claim as the leader has it; 0 when nobody claimed it yet."""
        entry = await self._kv.leader(f"{PARTITION}{partition}")
        return entry.revision if entry else 0

    async def release(self, partition: int, epoch: int) -> None:
        """Give a partition up. Somebody else's newer claim is left as it is."""
        try:
            await self._kv.put(
                f"{PARTITION}{partition}", msgspec.json.encode(Claim()), revision=epoch
            )
        except AlreadyExistsError:
            log.info("lease.taken_meanwhile", partition=partition)

    def _member(self, entry: Entry) -> Member:
        """Return a member's record. One that cannot be read stands for a daemon that lives.

        It may be newer than we are: it keeps what it owns, and gets nothing from us.
        """
        try:
            return msgspec.json.decode(entry.value, type=Member)
        except msgspec.DecodeError as error:
            if entry.key not in self._unread:
                self._unread.add(entry.key)
                log.warning("lease.unreadable", key=entry.key, reason=str(error))
            return Member(entry.key.removeprefix(MEMBER), "", 0, state="starting")

    async def _renew(self) -> None:
        began = self._clock.boottime()
        await self._kv.put(MEMBER + self.key, msgspec.json.encode(self._me))
        self._term.renewed(began)

    async def _forget(self, members: dict[str, Member], living: set[str], now: float) -> None:
        """Remove the records of those that went long ago; one of us is enough to do it."""
        if self.key != min(living, default=""):
            return
        for key in members.keys() - living:
            if self._sightings.silent_for(key, now) > FORGET_S:
                await self._kv.purge(MEMBER + key)


def _claim(entry: Entry) -> Claim:
    """Return a claim; one that cannot be read is nobody's."""
    try:
        return msgspec.json.decode(entry.value, type=Claim)
    except msgspec.DecodeError:
        return Claim()
