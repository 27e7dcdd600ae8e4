"""Where a fold begins: which record of a generation counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from actors.owning.generations import generation_start, replaced_by
from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery, Letter
from protocols.mail import AnyMail, Continued, Migrate, Signal, Snapshot, Start
from protocols.tokens import KeyRing

KEYS = KeyRing("k1", {"k1": b"secret"})


def _start() -> Start:
    return Start(seq=1, at=1, workflow="w", body=b"1", definition="old")


def _signal(seq: int) -> Signal:
    return Signal(seq=seq, at=seq, name="go", body=b"")


def _snapshot(generation: int, through: int, definition: str = "old") -> Snapshot:
    return Snapshot(
        generation=generation,
        through=through,
        now=through,
        definition=definition,
        start=_start(),
        started_at=1,
        signals=(_signal(2),),
        state={"a": b"1"},
        seen=b"12345678",
        decided=(("s", 1),),
    )


def _record(seq: int, generation: int, through: int, definition: str = "old") -> Continued:
    return Continued(
        seq=seq,
        at=seq,
        epoch=1,
        generation=generation,
        through=through,
        snapshot=_snapshot(generation, through, definition),
    )


def _migrate(seq: int, definition: str = "new") -> Migrate:
    return Migrate(seq=seq, at=seq, definition=definition)


def _told(mails: Sequence[AnyMail]) -> tuple[int, list[int]]:
    snapshot, tail = generation_start(mails)
    return (snapshot.generation if snapshot else 1), [mail.seq for mail in tail]


def test_without_a_record_all_is_folded() -> None:
    """From the start, and with every message."""
    mails: list[AnyMail] = [_start(), _signal(2)]

    assert _told(mails) == (1, [1, 2])
    assert _told([]) == (1, [])


def test_the_newest_generation_counts() -> None:
    """With everything above the message that ended the one before it."""
    mails: list[AnyMail] = [
        _start(),
        _signal(2),
        _record(4, 2, 2),
        _signal(5),
        _record(7, 3, 5),
        _signal(8),
    ]

    assert _told(mails) == (3, [7, 8])
    assert _told(mails[2:]) == (3, [7, 8])


def test_a_record_that_comes_again_or_late_changes_nothing() -> None:
    """The first one of the newest generation stands; all others of it say the same."""
    mails: list[AnyMail] = [
        _start(),
        _signal(2),
        _record(4, 3, 2),
        _record(5, 3, 2),
        _record(6, 2, 1),
    ]

    assert _told(mails) == (3, [4, 5, 6])


@pytest.mark.parametrize(
    ("mails", "generation"),
    [
        ([_migrate(3), _record(4, 2, 2)], 1),
        ([_migrate(3), _record(4, 2, 2, "new")], 2),
        ([_migrate(3), _migrate(4, "old"), _record(5, 2, 2)], 2),
        ([_record(3, 2, 2), _migrate(4)], 2),
        ([_migrate(2), _record(4, 2, 3)], 2),
    ],
)
def test_a_migration_in_between_decides(mails: list[AnyMail], generation: int) -> None:
    """Code that is not used any more has not continued, unless that was recorded before."""
    assert _told([_start(), *mails])[0] == generation


def test_the_last_migration_counts() -> None:
    """Whatever stands around it."""
    assert replaced_by([_start(), _migrate(2, "a"), _signal(3), _migrate(4, "b")]) == {0: "b"}
    assert replaced_by([_start()]) == {}


def _delivery(body: object, seq: int = 9) -> Delivery:
    return Delivery(seq, 5, "movant.mail.3.a.owner.continued", b"", msgspec.json.encode(body))


def test_a_record_survives_the_wire() -> None:
    """Every byte of a signal, of the state and of the ids seen."""
    snapshot = _snapshot(2, 7)
    body = {"epoch": 4, "generation": 2, "through": 7, "snapshot": snapshot}

    parsed = parse(_delivery(body), KEYS)

    assert isinstance(parsed, Letter)
    assert parsed.mail == Continued(
        seq=9,
        at=5,
        leaf=parsed.mail.leaf,
        epoch=4,
        generation=2,
        through=7,
        snapshot=snapshot,
    )


@pytest.mark.parametrize(
    ("generation", "through", "seq"), [(3, 7, 9), (2, 6, 9), (1, 7, 9), (2, 7, 7)]
)
def test_a_record_that_contradicts_itself_is_dead(generation: int, through: int, seq: int) -> None:
    """Nobody folds from it."""
    body = {
        "epoch": 4,
        "generation": generation,
        "through": through,
        "snapshot": _snapshot(1 if generation == 1 else 2, 7),
    }

    assert isinstance(parse(_delivery(body, seq), KEYS), DeadLetter)


def test_a_record_without_a_snapshot_is_dead() -> None:
    """A fold could not begin there."""
    assert isinstance(
        parse(_delivery({"epoch": 1, "generation": 2, "through": 3}), KEYS), DeadLetter
    )
