"""Generations: what a workflow takes along when it continues as new.

    generation 1 ── continue_as ──> Boundary ──> generation 2, whose paths begin with /@2
                                       └── Snapshot, when the code waits again

Nothing of the code survives the end of a generation: no task, scope, step or timer. What stays
is in the Snapshot, so that a fold may begin there. A fold may pass several boundaries; only the
last one becomes a Snapshot.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from actors.kernel.answers import Updates, give_up
from actors.kernel.blocked import Blocked
from protocols.blobs import BLOB
from protocols.mail import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.kernel.ledger import Ledger
    from actors.kernel.view import View
    from protocols.mail import Signal
    from protocols.updates import Answer
    from protocols.witness import Head

SEEN_MAX: Final = 10_000
"""Message ids that are remembered across generations: repeats come within minutes."""
SEEN_BYTES: Final = 8
"""Of a digest: two of 10,000 ids are alike once in 10**11 boundaries."""
DECIDED_MAX: Final = 500
"""Decided steps that are remembered across generations, to tell a repeat from a late success."""
LATE_MAX: Final = 500
SNAPSHOT_BYTES_MAX: Final = 512 * 1024
"""Encoded: it has to fit a message, and a pack beside others."""
ENTRIES_PER_GENERATION: Final = 10
"""What the beginning of a generation counts for among the operations of one fold."""


class Boundary(msgspec.Struct, frozen=True):
    """State at the end of a generation, in containers of its own."""

    signals: list[list[Signal]]
    state: dict[str, bytes]
    decided: tuple[tuple[str, int], ...]
    late_successes: tuple[tuple[str, int], ...]
    witness: Head
    answered: tuple[Answer, ...]


class Seen:
    """Message ids seen before: all of this generation, and the latest of former ones."""

    __slots__ = ("former", "own")

    def __init__(self, former: bytes = b"") -> None:
        self.own: dict[tuple[str, str], None] = {}
        self.former = dict.fromkeys(
            former[at : at + SEEN_BYTES] for at in range(0, len(former), SEEN_BYTES)
        )

    def repeated(self, kind: str, message_id: str) -> bool:
        """Remember an id; tell whether it was there before."""
        key = (kind, message_id)
        if key in self.own or (self.former and _digest(key) in self.former):
            return True
        self.own[key] = None
        return False

    def knows(self, kind: str, message_id: str) -> bool:
        """Tell whether an id was there before."""
        key = (kind, message_id)
        return key in self.own or _digest(key) in self.former

    def age(self) -> None:
        """Let a generation end: its ids become digests, and the oldest are forgotten."""
        if not self.own:
            return
        for key in self.own:
            self.former[_digest(key)] = None
        self.own = {}
        surplus = len(self.former) - SEEN_MAX
        if surplus > 0:
            self.former = dict.fromkeys(list(self.former)[surplus:])

    def facts(self) -> list[list[str]]:
        """Return what is remembered, sorted, for the digest of the fold."""
        return [sorted("\n".join(key) for key in self.own), sorted(map(bytes.hex, self.former))]


def leave(ledger: Ledger, seen: Seen) -> Boundary:
    """End the generation of a ledger and empty it for the next one; return what goes along."""
    give_up(ledger, "the workflow has continued as new and has not answered")
    boundary = Boundary(
        signals=[list(queue) for queue in ledger.signals.values()],
        state=ledger.shown(),
        decided=_latest(ledger.decided.items(), DECIDED_MAX),
        late_successes=_latest(ledger.late_successes, LATE_MAX),
        witness=ledger.chain.standing(ledger.instance_id),
        answered=() if ledger.updates is None else ledger.updates.latest(),
    )
    seen.age()
    ledger.chain.continued()
    ledger.next_generation()
    ledger.decided = dict(boundary.decided)
    ledger.late_successes = list(boundary.late_successes)
    ledger.updates = Updates(boundary.answered) if boundary.answered else None
    return boundary


def snapshot_of(boundary: Boundary, instance: View, seen: Seen) -> Snapshot | Blocked:
    """Return the state behind a boundary, in the fold that passed it; Blocked if too large.

    ``instance`` is the one that the fold has come to, wherever that is in its generation.
    """
    start = instance.start
    assert start is not None
    signals = sorted(map(stored, (each for queue in boundary.signals for each in queue)), key=_seq)
    counters = instance.counters
    snapshot = Snapshot(
        generation=instance.generation,
        through=instance.folded,
        now=instance.now,
        definition=instance.definition,
        start=start,
        started_at=instance.started_at,
        signals=tuple(signals),
        state=boundary.state,
        seen=b"".join(seen.former),
        decided=boundary.decided,
        late_successes=boundary.late_successes,
        counters={name: getattr(counters, name) for name in counters.__slots__},
        witness=boundary.witness,
        answered=boundary.answered,
    )
    size = len(msgspec.json.encode(snapshot))
    if size <= SNAPSHOT_BYTES_MAX:
        return snapshot
    kept = sum(len(each.body) for each in signals)
    shown = sum(map(len, boundary.state.values()))
    return Blocked(
        reason="snapshot_too_large",
        message=f"what continues takes {size} bytes, the limit is {SNAPSHOT_BYTES_MAX}: "
        f"{len(signals)} signals that nobody has taken ({kept} bytes), an input of "
        f"{len(start.body)} and a state of {shown} bytes; take the signals before "
        "ctx.continue_as, store large values elsewhere and pass a reference, and migrate the run",
    )


def restore(ledger: Ledger, snapshot: Snapshot) -> None:
    """Fill an empty ledger with what a snapshot holds."""
    ledger.now = snapshot.now
    ledger.cause = snapshot.through
    for signal in snapshot.signals:
        ledger.signals.setdefault(signal.name, deque()).append(signal)
    ledger.state = dict(snapshot.state)
    ledger.decided = dict(snapshot.decided)
    ledger.late_successes = list(snapshot.late_successes)
    if snapshot.answered:
        ledger.updates = Updates(snapshot.answered)
    if snapshot.witness is not None:
        ledger.chain.restore(snapshot.witness)
    for name in ledger.counters.__slots__:
        setattr(ledger.counters, name, snapshot.counters.get(name, 0))


def stored(signal: Signal) -> Signal:
    """Return a signal as it stands in the mailbox: with a reference, if it has a blob."""
    if not signal.reference:
        return signal
    body = signal.reference
    return msgspec.structs.replace(signal, body=body, content_type=BLOB, reference=b"")


def _latest(pairs: Iterable[tuple[str, int]], most: int) -> tuple[tuple[str, int], ...]:
    return tuple(pairs)[-most:]


def _digest(key: tuple[str, str]) -> bytes:
    return blake2b("\n".join(key).encode(), digest_size=SEEN_BYTES).digest()


def _seq(signal: Signal) -> int:
    return signal.seq
