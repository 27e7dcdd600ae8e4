"""PipelineQueries: all active motions of all daemons, without reading a mailbox for each.

    instances in memory ── their state as it is ──.
    the run index: who has not ended              +--> tally -> part --> merged with the others'
    places of those that are dormant ─────────────'
                └─ not known (taken over dormant): folded in the background, once

A daemon tells of the partitions that it owns; who is asked by a client asks the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

import structlog
import trio

from actors.core.slices import WIDE, in_slices
from actors.motions.places import PLACES_MAX, Place, place_of
from actors.owning.workflow import WorkflowActor
from actors.routing.parking import Ticket
from actors.views.pipeline import Part, Tally, merged, row_of
from protocols import subjects
from protocols.api import runs as api
from protocols.errors import MovantError
from runtime.api.peers import Peers
from runtime.api.queries import RunQueries

if TYPE_CHECKING:
    from runtime.daemon import Daemon

SLICE: Final = 5_000
"""Motions counted between two checkpoints, in some 5 ms. Not fewer: each checkpoint of a busy
daemon is a turn of everybody else."""
UPDATE: Final = 25
"""So many looks is one worth at which a motion has moved."""
FOLDS_AT_ONCE: Final = 8
"""Dormant motions read at the same time; the fold itself is done one by one."""
LEARN_S: Final = 0.1
"""How long an answer waits for motions whose place is not known yet."""

log = structlog.get_logger()


class PipelineQueries:
    """Answers about motions. Run ``run`` beside it: it folds what nobody has folded here."""

    def __init__(self, daemon: Daemon, queries: RunQueries, peers: Peers) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._queries = queries
        self._peers = peers
        self._unread: list[str] = []
        self._wake = trio.Event()
        self._learned = trio.Event()

    async def pipeline(self, request: api.Pipeline) -> api.Message:
        """Show the active motions of all daemons."""
        parts = {self._daemon.key: await self.own(request)}
        parts |= await self._peers.ask_all("pipeline", request, Part)
        members = self._parts.leases.members
        silent = [member.name for key, member in members.items() if key not in parts]
        now = self._daemon.clock.now_ns()
        return merged(
            [*parts.values()],
            request,
            now=now,
            ended=await self._ended(request.machine, now),
            silent=silent,
            unread=self._unowned(request.machine, set(parts)),
        )

    async def own(self, request: api.Pipeline) -> Part:
        """Tell of the motions of the partitions that this daemon owns."""
        index, owner = self._queries.index, self._parts.owner
        places = owner.places
        await index.refresh(blocked=False)
        await self._load(index.active)
        unread = await self._unknown()
        if unread:
            await self._learn(unread)
        await in_slices([*owner.live.values()], places.update, looks=WIDE, act=UPDATE)
        now = self._daemon.clock.now_ns()
        tally = Tally(request, now, stuck=await self._stuck(), held=self._held())
        # As of one moment, so that none is counted twice while others move between the slices.
        motions, found = [*places.rows], [*places.rows.values()]
        for at in range(0, len(motions), SLICE):
            await trio.lowlevel.checkpoint()
            tally.take(motions[at : at + SLICE], found[at : at + SLICE])
        tally.unread = len(await self._unknown(request.machine)) if unread else 0
        return tally.part(self._row(motion, place, now) for motion, place in tally.page())

    async def run(self) -> None:
        """Fold the motions that were asked for and are not known, until cancelled."""
        limit = trio.CapacityLimiter(FOLDS_AT_ONCE)
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            async with trio.open_nursery() as nursery:
                for motion in self._unread:
                    await limit.acquire_on_behalf_of(motion)
                    nursery.start_soon(self._fold, motion, limit)
            self._unread = []
            self._learned.set()
            self._learned = trio.Event()

    async def _fold(self, motion: str, limit: trio.CapacityLimiter) -> None:
        owner = self._parts.owner
        try:
            if motion in owner.live or motion in owner.places.rows:
                return
            instance = await self._queries.runs.fold(motion)
            partition = self._partition_of(motion)
            if partition in owner.partitions.owned and motion not in owner.live:
                owner.places.learn(instance, partition)
            instance.close()
        except MovantError:
            return  # it stays unread, and the answer says so
        except Exception:  # a defect in one of them stops no other
            log.exception("api.failed", verb="pipeline", run=motion)
        finally:
            limit.release_on_behalf_of(motion)

    async def _learn(self, unread: list[str]) -> None:
        """Have some motions folded, as far as there is room for them; wait a moment for it."""
        learned = self._learned
        if not self._unread:
            self._unread = unread[: max(0, PLACES_MAX - len(self._parts.owner.places.rows))]
            if not self._unread:
                return
            self._wake.set()
        with trio.move_on_after(LEARN_S):
            await learned.wait()

    def _motions(self, machine: str | None = None) -> list[tuple[str, str]]:
        """Return the machines that have active motions: name and definition."""
        places = self._parts.owner.places
        return [
            key
            for key in self._queries.index.active
            if machine in {None, key[0]} and places.is_motion(*key)
        ]

    async def _unknown(self, machine: str | None = None) -> list[str]:
        """Return the motions of our partitions that are dormant and have no place."""
        owner, index = self._parts.owner, self._queries.index
        rows, live, owned = owner.places.rows, owner.live, owner.partitions.owned
        found: list[str] = []
        for key in self._motions(machine):
            ids = [*index.active.get(key, ())]
            for at in range(0, len(ids), WIDE):
                await trio.lowlevel.checkpoint()
                found += [
                    id_
                    for id_ in filterfalse(
                        rows.__contains__, ids[at : at + WIDE]
                    )  # most are known
                    if (row := index.rows.get(id_)) is not None
                    and row.partition in owned
                    and (id_ not in live or live[id_].activating)
                    and id_ not in owner.tombstones.finished
                ]
        return found

    def _unowned(self, machine: str | None, answered: set[str]) -> int:
        """Return how many motions nobody has answered for: their owner is silent, or changes."""
        owned = self._parts.owner.partitions.owned
        missing = {
            number
            for number in range(self._daemon.config.partitions)
            if number not in owned and self._peers.owner_of(number) not in answered
        }
        if not missing:
            return 0
        return sum(
            row.partition in missing
            for key in self._motions(machine)
            for row in self._queries.index.active[key].values()
        )

    async def _load(self, keys: Iterable[tuple[str, str]]) -> None:
        """Load the definitions by which motions are told from other runs."""
        definitions, places = self._parts.definitions, self._parts.owner.places
        for workflow, definition in list(keys):
            if places.knows(workflow, definition):
                continue
            digest = definition
            try:
                if definition:
                    await definitions.prefetch(definition)
                else:  # a raw start: its owner has pinned it
                    digest, _ = await definitions.latest(workflow)
            except MovantError:
                continue  # nobody here could run it
            places.is_motion(workflow, digest)

    async def _ended(self, machine: str | None, now: int) -> dict[str, int]:
        """Return how many motions ended in the last 24 hours, by status."""
        found: dict[str, int] = {}
        counts = self._queries.index.recent.counts(now)
        await self._load((workflow, "") for workflow, _ in counts)
        for (workflow, status), count in counts.items():
            if machine in {None, workflow} and self._parts.owner.places.is_motion(workflow, ""):
                found[status] = found.get(status, 0) + count
        return found

    # What holds a motion.

    def _held(self) -> set[str]:
        """Return the machines that are paused, or all of them."""
        holds = self._parts.holds.holds
        if not holds.any:
            return set()
        return {name for name in self._parts.owner.places.machines if holds.on("", name)}

    async def _stuck(self) -> set[str]:
        """Return who is paused, has crashed, or waits for a service that is away or ill."""
        parts = self._parts
        found = set(parts.owner.crashes)
        if parts.holds.holds.any:
            holds = parts.holds.holds.active()
            found |= {each.name for each in holds if each.kind == "run" and each.paused}
        rows = parts.owner.places.rows

        def look(ticket: Ticket) -> None:
            if ticket.actor is None:  # out of memory; it may have moved on meanwhile
                place = rows.get(ticket.id)
                if place is None or place.step != ticket.step:
                    return
            if ticket.open:
                found.add(ticket.id)

        stuck = parts.requests.parking.all_stuck(self._daemon.clock.monotonic())
        await in_slices(stuck, look, looks=WIDE)
        return found

    def _issues(self, motion: str, place: Place, actor: WorkflowActor | None) -> list[str]:
        """Return why a motion cannot go on by itself, for people."""
        parts = self._parts
        found = [place.blocked] if place.blocked else []
        if crash := parts.owner.crashes.get(motion):
            found.append(f"daemon: {crash[2]}")
        hold = parts.holds.holds.on(motion, place.machine)
        if hold is not None:
            found.append(hold.text())
        parking = parts.requests.parking
        now = self._daemon.clock.monotonic()
        if actor is None:
            tickets = [parking.waiting(motion, place.step)] if place.step else []
        else:
            tickets = [each.ticket for each in actor.asks.values()]
        for ticket in tickets:
            if ticket is not None and parking.stuck(ticket, now):
                why = parking.why(ticket, now)
                found += [f"{ticket.flow.service}: {why}"] if why else []
        return found

    def _row(self, motion: str, place: Place, now: int) -> api.MotionPipelineState:
        actor = self._parts.owner.live.get(motion)
        if actor is not None and not actor.activating:
            place = place_of(actor.instance, actor.partition, whole=True)
        issues = self._issues(motion, place, actor)
        waiting = place.waiting
        if actor is not None and not issues:
            waiting += self._turn(actor)
        standing = self._queries.index.queues.standing(motion)
        if standing is not None:
            waiting = f"turn {standing.number} of {standing.waiting}"
        return row_of(motion, place, issues=issues, waiting=waiting, now=now)

    def _turn(self, actor: WorkflowActor) -> str:
        """Return what a parked request waits for that only has to wait for its turn."""
        parking = self._parts.requests.parking
        now = self._daemon.clock.monotonic()
        for each in actor.asks.values():
            if each.ticket is not None and (why := parking.why(each.ticket, now)):
                return f": {why}"
        return ""

    def _partition_of(self, motion: str) -> int:
        return subjects.partition_of(motion, self._daemon.config.partitions)
