"""PipelineQueries: all active motions of all daemons, without reading a mailbox for each.

    instances in memory ── their state as it is ──.
    the run index: who has not ended              +--> tally -> part --> merged with the others'
    places of those that are dormant ─────────────'
                └─ not known (taken over dormant): folded in the background, once

A daemon tells of the partitions that it owns; who is asked by a client asks the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import structlog
import trio

from actors.motions.places import Place, place_of
from actors.owning.workflow import WorkflowActor
from actors.views.pipeline import Part, Tally, merged, row_of
from protocols import subjects
from protocols.api import runs as api
from protocols.errors import MovantError
from runtime.api.peers import Peers
from runtime.api.queries import RunQueries

if TYPE_CHECKING:
    from runtime.daemon import Daemon

SLICE: Final = 5_000
"""Motions looked at between two checkpoints: 10 ms, or 50 when all of them have moved. Not fewer:
each checkpoint of a busy daemon is a turn of everybody else."""
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
        await index.refresh(blocked=False)
        await self._load(index.active)
        unread = self._unknown()
        if unread:
            await self._learn(unread)
        now = self._daemon.clock.now_ns()
        tally = Tally(request, now)
        seen: set[str] = set()
        for number, motion in enumerate([*owner.live, *owner.places.rows], 1):
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
            if motion in seen:
                continue
            seen.add(motion)
            actor = owner.live.get(motion)
            if actor is None:
                place = owner.places.rows.get(motion)
            else:
                place = None if actor.final else owner.places.of(actor)
            if place is not None:
                tally.add(motion, place, blocked=self._is_blocked(motion, place, actor))
        tally.unread = len(self._unknown(request.machine))
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
        except MovantError:
            return  # it stays unread, and the answer says so
        except Exception:  # a defect in one of them stops no other
            log.exception("api.failed", verb="pipeline", run=motion)
        finally:
            limit.release_on_behalf_of(motion)

    async def _learn(self, unread: list[str]) -> None:
        """Have some motions folded, and wait a moment for it."""
        learned = self._learned
        if not self._unread:
            self._unread = unread
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

    def _unknown(self, machine: str | None = None) -> list[str]:
        """Return the motions of our partitions that are dormant and have no place."""
        owner = self._parts.owner
        rows, live, owned = owner.places.rows, owner.live, owner.partitions.owned
        finished = owner.tombstones.finished
        return [
            id_
            for key in self._motions(machine)
            for id_ in self._queries.index.active[key]
            if id_ not in rows
            and (id_ not in live or live[id_].activating)
            and id_ not in finished
            and self._partition_of(id_) in owned
        ]

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
            self._partition_of(id_) in missing
            for key in self._motions(machine)
            for id_ in self._queries.index.active[key]
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

    def _is_blocked(self, motion: str, place: Place, actor: WorkflowActor | None) -> bool:
        parts = self._parts
        if place.blocked or motion in parts.owner.crashes:
            return True
        if parts.holds.holds.any and parts.holds.holds.on(motion, place.machine) is not None:
            return True
        parking = parts.requests.parking
        now = self._daemon.clock.monotonic()
        if actor is None:
            ticket = parking.waiting(motion, place.step) if place.step else None
            return ticket is not None and parking.stuck(ticket, now)
        return any(
            each.ticket is not None and parking.stuck(each.ticket, now)
            for each in actor.asks.values()
        )

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
