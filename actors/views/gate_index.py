"""GateIndex: which gates are open, kept up to date by reading what is new of their events.

    gate_opened, gate_escalated, gate_delegated -> a row      gate_voted -> one more approval
    gate_decided, gate_withdrawn, the end of the run -> no row

It is a projection for showing: a decision looks at the run itself. Runs that were started before
the oldest event that EVENTS has are folded, once: their gates may be older, too. It can be dropped
at any time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from sys import maxsize
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from actors.core.together import together
from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from actors.views.run_index import Row, RunIndex
from protocols.codec import encode
from protocols.events import (
    GATE_DECIDED,
    GATE_DELEGATED,
    GATE_ESCALATED,
    GATE_OPENED,
    GATE_VOTED,
    GATE_WITHDRAWN,
)
from protocols.gates.absences import Absence, line

GATES_MAX: Final = 200_000
"""Rows, and as many that are remembered as closed: some 500 B each. The oldest are forgotten."""
OPENING: Final = (GATE_OPENED, GATE_ESCALATED, GATE_DELEGATED)
CLOSING: Final = (GATE_DECIDED, GATE_WITHDRAWN)

if TYPE_CHECKING:
    from protocols.gates.words import GateState

Key = tuple[str, str]
"""The run and the path of a gate in it: no path is used twice."""


class GateFacts(msgspec.Struct, gc=False):
    """What a list shows of a gate. Times in nanoseconds since 1970; 0: none."""

    gate: str
    name: str = ""
    title: str = ""
    opened_at: int = 0
    due: int = 0
    on_expiry: str = ""
    decisions: dict[str, str] = {}
    quorum: int = 1
    approvers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    escalated: bool = False
    level: int = 0
    mode: str = ""
    delegations: tuple[msgspec.Raw, ...] = ()
    votes: tuple[msgspec.Raw, ...] = ()
    approved: int = 0

    @property
    def age(self) -> tuple[int, int]:
        """What grows with each event that has the whole gate."""
        return max(self.level, int(self.escalated)), len(self.delegations)


_decoder: Final = msgspec.json.Decoder(GateFacts)


class GateRows:
    """Open gates by run and path, made of events in any order of their kinds. Pure."""

    def __init__(self) -> None:
        self._closed: dict[Key, None] = {}
        """An event may be published again after those that followed it."""
        self.rows: dict[Key, GateFacts] = {}
        self._order: list[tuple[str, GateFacts]] = []
        """The same with their runs, the oldest first; kept in order, so that no list is sorted."""
        self._ends = 0

    def take(self, event: Delivery, kind: str) -> None:
        """Take one event; what is none of a gate's changes nothing."""
        try:
            facts = _decoder.decode(event.payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        key = (event.subject.split(".")[3], facts.gate)
        if kind in CLOSING:
            self._drop(key)
            self._closed[key] = None
            while len(self._closed) > GATES_MAX:
                del self._closed[next(iter(self._closed))]
        elif key in self._closed:
            return
        elif kind == GATE_VOTED:
            row = self.rows.get(key)
            if row is not None:
                row.approved = max(row.approved, facts.approved)
        else:
            row = self.rows.get(key)
            facts.approved = max(len(facts.votes), 0 if row is None else row.approved)
            facts.votes = ()
            if row is None or facts.age > row.age:
                self._put(key, facts)

    def learn(self, run: str, gates: Iterable[GateState]) -> None:
        """Take the open gates of a run that was folded."""
        for each in gates:
            if (run, each.path) not in self._closed and (run, each.path) not in self.rows:
                facts = _decoder.decode(encode(each.facts()))
                facts.approved, facts.votes = len(facts.votes), ()
                self._put((run, each.path), facts)

    def open(self, runs: Mapping[str, Row], ends: int) -> Sequence[tuple[str, GateFacts]]:
        """Return the open gates with their runs, the oldest first; forget those of ended runs.

        ``ends`` changes whenever one of the runs has ended: only then, and when a gate has come,
        it is looked who has.
        """
        if ends != self._ends:
            self._ends = ends
            for key in [key for key in self.rows if (row := runs.get(key[0])) and row.status]:
                self._drop(key)
        return self._order

    def _put(self, key: Key, facts: GateFacts) -> None:
        self._drop(key)
        self._ends = -1  # its run may have ended long ago: an event may come twice
        self.rows[key] = facts
        insort(self._order, (key[0], facts), key=_place)
        if len(self.rows) > GATES_MAX:
            self._drop(next(iter(self.rows)))

    def _drop(self, key: Key) -> None:
        row = self.rows.pop(key, None)
        if row is not None:
            del self._order[bisect_left(self._order, _place((key[0], row)), key=_place)]


def _place(each: tuple[str, GateFacts]) -> tuple[int, str, str]:
    return each[1].opened_at, each[0], each[1].gate


class Inbox:
    """Which open gates somebody may decide; without a name all. Pure.

    As the events tell: what a gate says to a decision itself is asked of the run.
    """

    def __init__(self, who: str, role: str, away: Mapping[str, Absence]) -> None:
        self._who, self._role = who, role
        lines = {absent: line(away, absent) for absent in sorted(away)}
        self._places = [
            (away[absent], {absent, *each[: each.index(who)]})
            for absent, each in lines.items()
            if who in each
        ]

    def has(self, gate: GateFacts) -> bool:
        """Tell whether the person may decide, in the own name or in another's place."""
        return self._alone(gate) or bool(self.instead_of(gate))

    def instead_of(self, gate: GateFacts) -> list[str]:
        """Return in whose place; nobody's where the own name is enough."""
        if self._alone(gate) or self._who in gate.excluded:
            return []
        return [
            each.who
            for each, through in self._places
            if each.has_a_say(gate.approvers, gate.roles) and through.isdisjoint(gate.excluded)
        ]

    def _alone(self, gate: GateFacts) -> bool:
        if not self._who:
            return True
        named = self._who in gate.approvers or self._role in gate.roles
        anybody = not (gate.approvers or gate.roles)
        return (named or anybody) and self._who not in gate.excluded


class GateIndex(GateRows):
    """The same, read from EVENTS. ``refresh`` before reading."""

    def __init__(self, events: DirectReader) -> None:
        super().__init__()
        self._events = events
        self._lock = trio.Lock()
        self._read = dict.fromkeys((*CLOSING, *OPENING, GATE_VOTED), 0)
        """How far the events of each kind were read: replicas may lag behind each other."""
        self._horizon = 0
        """Runs that were started before may have gates in no event: ns since 1970."""
        self._old: dict[str, None] | None = None
        """Such runs that were not folded yet; None: who they are was not looked up."""

    async def refresh(self) -> None:
        """Read what has come since the last time."""
        async with self._lock:
            first, last = await self._events.extent()
            if first > max(self._read.values()) + 1:
                oldest = await self._events.batch("movant.event.>", first - 1, 1)
                self._horizon = oldest[0].at if oldest else maxsize
                self._old = None
            if last and last == min(self._read.values()):
                return
            await together(*(partial(self._follow, kind) for kind in (*CLOSING, *OPENING)))
            await self._follow(GATE_VOTED)  # behind the gate that it is about
            for kind, seq in self._read.items():
                self._read[kind] = last or max(seq, first - 1)
            # What is ahead of the openings that were seen is read once more.
            self._read[GATE_VOTED] = min(self._read[GATE_VOTED], self._read[GATE_OPENED])

    async def _follow(self, kind: str) -> None:
        async for batch in self._events.follow(f"movant.event.*.*.{kind}", self._read[kind]):
            for each in batch:
                self.take(each, kind)
            self._read[kind] = batch[-1].seq

    def unread(self, runs: RunIndex) -> list[str]:
        """Return the runs that have to be folded to know their gates, the oldest first."""
        if self._old is None:
            old = [
                row
                for rows in (runs.active.values() if self._horizon else ())
                for row in rows.values()
                if row.started_at < self._horizon
            ]
            old.sort(key=lambda row: row.started_at)
            self._old = {row.id: None for row in old}
        return [*self._old]

    def is_unread(self, run: str) -> bool:
        """Tell whether a run still has to be folded."""
        return self._old is not None and run in self._old

    def learn(self, run: str, gates: Iterable[GateState]) -> None:
        """Take the open gates of a run that was folded; it is not folded again."""
        super().learn(run, gates)
        if self._old is not None:
            self._old.pop(run, None)
