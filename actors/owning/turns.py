"""Turns: says when a run may begin whose workflow limits how many are active.

    fold asks for a turn --> a place free, and nobody first? --> claim --> "granted" to its mailbox
                                    '--> "queued" to its mailbox, and again when a run has ended

All daemons read who is active and who waits (``actors.views.queues``), each decides for its own
runs, and what it decides it claims first, by compare-and-set of one value per workflow: whoever
claims has seen every claim before, in that value or as a word in MAIL. So there are never more
than the limit, however far behind a daemon has read. A claim that nobody spoke out, because its
daemon died, counts until the next owner of that run does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
import structlog
import trio

from actors.owning.workflow import WorkflowActor
from actors.store.kv import Kv
from actors.store.stream_writer import Written
from actors.views.queues import InLine, Key, next_ones
from actors.views.run_index import RunIndex
from protocols.effects import Enqueue
from protocols.errors import AlreadyExistsError, MovantError, UnavailableError

BUCKET: Final = "movant_turns"
LOOK_S: Final = 0.25
"""How often it is looked whether a run of another daemon has ended, while ours wait."""
IDLE_S: Final = 5.0
"""The same while none is known to wait: a partition that came to us may have some."""
AGAIN_S: Final = 1.0
TRIES: Final = 20
CLAIMED_AT_ONCE: Final = 500

log = structlog.get_logger()


class Claims(msgspec.Struct):
    """The value of one workflow: who has got a place, as long as MAIL may not say it to all."""

    pending: dict[str, tuple[str, int]] = {}
    """Group and sequence of the start, by run."""
    read: int = 0
    """Up to here whoever claimed last had read MAIL: a grant that stands there is not pending."""


_decoder: Final = msgspec.json.Decoder(Claims)


class Home(Protocol):
    """What is needed of the owner."""

    live: dict[str, WorkflowActor]
    crashes: dict[str, tuple[int, int, str]]

    def acts_in(self, partition: int) -> bool:
        """Tell whether effects may be done for a partition."""
        ...

    def epoch_of(self, partition: int) -> int:
        """Return the epoch under which a partition is owned."""
        ...

    def rouse(self, instance: str, partition: int, cause: int, steps: set[str]) -> None:
        """Bring an instance back that left memory."""
        ...


class _Asked(msgspec.Struct):
    """A run of ours that asks for its turn, and of which MAIL does not say that it waits."""

    key: Key
    seat: InLine
    refuse: bool
    passed: bool = False
    """It had to wait when it was looked at: another look tells whether that is so."""


class Turns:
    """The turns of one daemon's runs. Run ``run``."""

    def __init__(
        self,
        kv: Kv,
        index: RunIndex,
        home: Home,
        partition_of: Callable[[str], int],
        decide: Callable[[WorkflowActor, str, Mapping[str, Any], Written], None],
    ) -> None:
        """Take ``decide``, which writes an owner's message."""
        self._kv = kv
        self._index = index
        self._home = home
        self._partition_of = partition_of
        self._decide = decide
        self._asked: dict[str, _Asked] = {}
        self._saying: set[str] = set()
        """To whom something is being written."""
        self._names: set[str] = set()
        """Workflows of which somebody waits."""
        self._limited = False
        """Somebody has claimed a place once: some may wait of whom we know nothing yet."""
        self._wake = trio.Event()

    def ask(self, actor: WorkflowActor, effect: Enqueue) -> None:
        """Let a run wait for its turn. A repeat changes nothing."""
        self._asked[actor.id] = _Asked(
            (effect.workflow, effect.group),
            InLine(-effect.priority, effect.place, actor.id, effect.limit),
            effect.refuse,
        )
        self._names.add(effect.workflow)
        self._wake.set()

    def ended(self, workflow: str) -> None:
        """Take the news that a run of a workflow has ended here."""
        if workflow in self._names:
            self._wake.set()

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            with trio.move_on_after(LOOK_S if self._names else IDLE_S):
                await self._wake.wait()
            self._wake = trio.Event()
            try:
                await self.look()
            except MovantError as error:
                log.warning("turns.waiting", reason=str(error))
                await trio.sleep(AGAIN_S)

    async def look(self) -> None:
        """Give the turns that can be given now. Raises what the streams raise."""
        if not (self._names or self._limited):
            self._limited = bool(await self._kv.last(">"))
            if not self._limited:
                return
        await self._index.refresh(blocked=False)
        queues, rows = self._index.queues, self._index.rows
        for run in list(self._asked):
            row = rows.get(run)
            actor = self._home.live.get(run)
            if (
                run in queues.waiting
                or (row is not None and row.status)
                or not self._is_ours(run)
                or (actor is not None and not _waits(actor))
            ):
                del self._asked[run]
        self._names = queues.workflows | {each.key[0] for each in self._asked.values()}
        for name in sorted(self._names):
            await self._give(name)

    async def _give(self, workflow: str) -> None:
        """Give the places of one workflow that are free to those of ours whose turn it is."""
        for _ in range(TRIES):
            entry = await self._kv.leader(workflow)
            claims = Claims() if entry is None else _decoder.decode(entry.value)
            if self._index.turns_read < claims.read:
                await self._index.refresh(blocked=False)
                if self._index.turns_read < claims.read:
                    return  # a replica is behind: with the next look it may not be
            pending = self._pending(claims)
            chosen = self._choose(workflow, pending)
            new = {
                each.id: (key[1], each.place)
                for key, each in chosen
                if self._is_new(each, pending)
            }
            if new:
                value = msgspec.json.encode(Claims(pending | new, self._index.turns_read))
                try:
                    await self._kv.put(
                        workflow, value, revision=0 if entry is None else entry.revision
                    )
                except AlreadyExistsError:
                    await self._index.refresh(blocked=False)
                    continue
                self._limited = True
            for key, each in chosen:
                self._grant(key, each)
            self._hold(workflow, {each.id for _, each in chosen})
            return
        raise UnavailableError(f"others claim places of {workflow} all the time")

    def _pending(self, claims: Claims) -> dict[str, tuple[str, int]]:
        """Return the claims of which MAIL does not say yet that they were granted."""
        found = {}
        for run, (group, place) in claims.pending.items():
            row = self._index.rows.get(run)
            gone = place <= self._index.starts_read if row is None else bool(row.status)
            if not (gone or run in self._index.queues.granted):
                found[run] = (group, place)
        return found

    def _is_new(self, seat: InLine, pending: Mapping[str, Any]) -> bool:
        return seat.id not in pending and seat.id not in self._index.queues.granted

    def _choose(
        self, workflow: str, pending: Mapping[str, tuple[str, int]]
    ) -> list[tuple[Key, InLine]]:
        """Return those of ours that may begin: they have a place, or get one that is free."""
        queues = self._index.queues
        asked = [each for each in self._asked.values() if each.key[0] == workflow]
        has = pending.keys() | queues.granted
        chosen = [(each.key, each.seat) for each in asked if each.seat.id in has]
        chosen += [queues.waiting[run] for run in pending if run in queues.waiting]
        for key in {each.key for each in asked} | queues.keys(workflow):
            fresh = [each.seat for each in asked if each.key == key and each.seat.id not in has]
            active = queues.active[key]
            active -= sum(self._is_counted(each.id, key) for each in fresh)
            active += sum(
                group == key[1] and not self._is_counted(run, key)
                for run, (group, _) in pending.items()
            )
            line = (each for each in queues.line(key) if each.id not in pending)
            chosen += ((key, each) for each in next_ones(line, fresh, active))
        return [each for each in chosen if self._is_ours(each[1].id)][:CLAIMED_AT_ONCE]

    def _is_counted(self, run: str, key: Key) -> bool:
        """Tell whether a run is among the active ones that were read."""
        row = self._index.rows.get(run)
        return (
            row is not None
            and not row.status
            and (row.workflow, row.group) == key
            and run not in self._index.queues.waiting
        )

    def _is_ours(self, run: str) -> bool:
        return self._home.acts_in(self._partition_of(run))

    def _grant(self, key: Key, seat: InLine) -> None:
        """Say that a run may begin; one that has left memory comes back first, and asks."""
        actor = self._home.live.get(seat.id)
        if actor is None and seat.id in self._home.crashes:
            return  # its next message, or a restart, tries again
        if actor is None:
            self._home.rouse(seat.id, self._partition_of(seat.id), seat.place, set())
        elif not (actor.activating or actor.holding):
            # One that waits no more, as it was given other code, has its place as well.
            self._say(actor, "granted", key, seat)

    def _hold(self, workflow: str, but: set[str]) -> None:
        """Tell those that have to wait, or may not, when they had to at two looks.

        With the first one, some that have come with them may not have asked yet: these are
        taken for active.
        """
        for run, asked in self._asked.items():
            actor = self._home.live.get(run)
            if asked.key[0] != workflow or run in but or actor is None or actor.activating:
                continue
            if asked.passed:
                self._say(actor, "refused" if asked.refuse else "queued", asked.key, asked.seat)
            asked.passed = True

    def _say(self, actor: WorkflowActor, said: str, key: Key, seat: InLine) -> None:
        run = seat.id
        if run in self._saying:
            return
        self._saying.add(run)
        word = {
            "said": said,
            "group": key[1],
            "limit": seat.limit,
            "priority": -seat.rank,
            "place": seat.place,
        }

        def written(_: int, error: MovantError | None) -> None:
            self._saying.discard(run)
            if error is not None:
                log.warning("turn.refused", run=run, reason=str(error))

        epoch = self._home.epoch_of(actor.partition)
        self._decide(actor, "turn", {"epoch": epoch, "word": word}, written)


def _waits(actor: WorkflowActor) -> bool:
    return actor.activating or actor.holding or actor.instance.status == "queued"
