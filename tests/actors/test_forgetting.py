"""When a record may be forgotten."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actors.owning.letters import Delivery
from actors.retention.collection import CLOCK_MARGIN_NS
from actors.retention.forgetting import Forgetting, Sweeps
from actors.retention.purging import State
from protocols.events import to_time

S = 1_000_000_000


def state(first: int, last: int, at: int) -> State:
    """Return what MAIL says whose first message was stored at a time."""
    return State(last - first + 1, first, last, to_time(at))


def test_records_are_needed_until_what_stood_there_is_purged() -> None:
    """A pack of an instance that ended may stand anywhere up to the head of that moment."""
    sweeps = Sweeps()

    sweeps.note(state(100, 500, 10 * S), 0)
    first = sweeps.at
    sweeps.note(state(500, 900, 20 * S), 0)
    at_the_head = sweeps.at
    sweeps.note(state(501, 950, 21 * S), 0)

    assert first == at_the_head == 0
    assert sweeps.at == 10 * S - CLOCK_MARGIN_NS


def test_what_was_not_purged_tells_nothing() -> None:
    """Only a first sequence that rises is news."""
    sweeps = Sweeps()

    for last in range(500, 600):
        sweeps.note(state(100, last, 10 * S), 0)
    sweeps.note(state(550, 700, 20 * S), 0)

    assert sweeps.at == 10 * S - CLOCK_MARGIN_NS


def test_an_empty_mail_needs_nothing_from_before() -> None:
    """It has no first message: all that ended has done so by now."""
    sweeps = Sweeps()

    sweeps.note(State(0, 501, 500, "0001-01-01T00:00:00Z"), 30 * S)
    sweeps.note(state(502, 502, 60 * S), 60 * S)

    assert sweeps.at == 30 * S - CLOCK_MARGIN_NS


class Leader:
    """Says how EVENTS stands, and remembers below what it was purged."""

    def __init__(self, found: State) -> None:
        self.found = found
        self.purged: list[int] = []

    async def state(self, _stream: str) -> State:
        """Return the state."""
        return self.found

    async def purge(self, _stream: str, request: dict[str, int]) -> int:
        """Purge."""
        self.purged.append(request["seq"])
        return 1


class Replica:
    """Knows one message at a time or later, or none."""

    def __init__(self, seq: int) -> None:
        self.seq = seq

    async def since(self, moment: int) -> Delivery | None:
        """Return what it knows."""
        return Delivery(self.seq, moment, "movant.event.a.b.c", b"", b"") if self.seq else None


class Clock:
    """Stands still."""

    def now_ns(self) -> int:
        """Return the hundredth second."""
        return 100 * S


async def forgotten(known: int, last_at: int) -> list[int]:
    """Return what is purged of ten events, the first of second 10, when 50 s are kept."""
    found = State(10, 1, 10, to_time(10 * S), to_time(last_at))
    leader: Any = Leader(found)
    readers: Any = {"EVENTS": Replica(known)}
    clock: Any = Clock()
    await Forgetting(leader, clock, Sweeps(), readers, {"EVENTS": 50}).look()
    purged: list[int] = leader.purged
    return purged


async def test_a_replica_that_is_behind_makes_nobody_forget_what_is_new() -> None:
    """It knows nothing of the last 50 s; the leader has a message of second 90."""
    behind = await forgotten(known=0, last_at=90 * S)
    knows = await forgotten(known=8, last_at=90 * S)
    all_old = await forgotten(known=0, last_at=40 * S)

    assert behind == []
    assert knows == [8]
    assert all_old == [11]


class Records:
    """ARCHIVE: ten records of the tenth second and later, of which some are kept for longer."""

    def __init__(self, **kept_s: float) -> None:
        self.kept_s = kept_s

    async def since(self, moment: int) -> Delivery | None:
        """Return the first one that is young."""
        return Delivery(9, moment, "movant.done.0.r9", b"", b"")

    async def batch(self, _filter: str, after: int, _limit: int) -> list[Delivery]:
        """Return three of them."""
        return [
            Delivery(
                seq,
                10 * S,
                f"movant.done.0.r{seq}",
                b"",
                msgspec.json.encode(
                    {"id": "r", "finished_at": 10 * S, "kept_s": self.kept_s.get(f"r{seq}", 0)}
                ),
            )
            for seq in range(after + 1, min(after + 4, 11))
        ]


@pytest.mark.parametrize(
    ("kept_s", "purged"), [({}, [9]), ({"r6": 95.0, "r4": 89.0}, [6]), ({"r1": 91.0}, [])]
)
async def test_a_run_that_its_definition_keeps_for_longer_stays_and_what_is_behind_it(
    kept_s: dict[str, float], purged: list[int]
) -> None:
    """It ended 90 s ago; the daemon keeps records for 50 s."""
    found = State(10, 1, 10, to_time(10 * S), to_time(95 * S))
    leader: Any = Leader(found)
    readers: Any = {"ARCHIVE": Records(**kept_s)}
    clock: Any = Clock()
    sweeps = Sweeps()
    sweeps.at = 60 * S
    await Forgetting(leader, clock, sweeps, readers, {"ARCHIVE": 50}).look()

    assert leader.purged == purged
