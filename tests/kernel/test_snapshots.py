"""Random programs of several generations: with the model, and folded from each snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from hypothesis import given, settings

from actors.kernel.instance import Instance
from protocols.effects import AnyEffect, Continue
from protocols.mail import Continued, Mail, Snapshot
from protocols.rng import Rng
from tests.kernel.programs import CONTINUING, GENERATIONS, Catch, Go, Node, Seq, grown
from tests.kernel.test_properties import ACTIONS, CHECKED, SCHEDULES, Duel

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEDS_PER_BLOCK: Final = 100


@settings(CHECKED, max_examples=400)
@given(CONTINUING, SCHEDULES)
def test_every_generation_can_be_folded_from_its_snapshot(
    programs: list[Node], schedule: list[tuple[str, int, int]]
) -> None:
    """The same states and effects as those of the fold of the whole mailbox."""
    duel = Duel(*programs)

    duel.play(schedule)

    _check(duel)
    duel.box.instance.close()


@pytest.mark.parametrize("block", range(3))
def test_every_generation_of_large_programs_can_be_folded_from_its_snapshot(block: int) -> None:
    """Seeded programs of up to four levels; the seed is the number."""
    passed = 0
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        rng = Rng(f"generations/{seed}")
        programs = [
            Seq((Catch(grown(rng, rng.integer(0, 4), goes=True)), Go()))
            for _ in range(GENERATIONS)
        ]
        schedule = [
            (ACTIONS[rng.integer(0, len(ACTIONS) - 1)], rng.integer(0, 30), rng.integer(0, 3))
            for _ in range(60)
        ]
        duel = Duel(*programs)

        duel.play(schedule)

        _check(duel)
        passed += duel.box.instance.generation > 1
        duel.box.instance.close()

    assert passed > SEEDS_PER_BLOCK / 4


def _check(duel: Duel) -> None:
    box = duel.box
    box.refold()
    for at, effect in enumerate(box.effects):
        if isinstance(effect, Continue):
            _fold_from(effect.snapshot, box.effects[at + 1 :], duel)
    _fold_with_records(duel)


def _fold_from(snapshot: Snapshot, expected: Sequence[AnyEffect], duel: Duel) -> None:
    """Fold what is above a snapshot, as it comes over the wire; compare after every mail."""
    stored = msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot)
    instance = Instance.from_snapshot("i-1", stored, duel.box.load)
    tail = duel.box.mails[stored.through :]

    effects = instance.begin()
    hashes = [instance.state_hash()]
    for mail in tail:
        effects += instance.fold(mail)
        hashes.append(instance.state_hash())

    assert hashes == duel.hashes[stored.through - 1 :]
    assert effects == list(expected)
    whole = duel.box.instance
    assert (instance.status, instance.generation) == (whole.status, whole.generation)
    assert (instance.messages, instance.state) == (whole.messages, whole.state)
    assert instance.waiting() == whole.waiting()
    assert instance.late_successes == whole.late_successes
    assert instance.counters.late == whole.counters.late
    instance.close()


def _fold_with_records(duel: Duel) -> None:
    """See that a record changes nothing, wherever it stands behind its generation's beginning."""
    due: dict[int, list[Snapshot]] = {}
    for effect in duel.box.effects:
        if isinstance(effect, Continue):
            place = min(effect.cause + effect.snapshot.generation, len(duel.box.mails))
            due.setdefault(place, []).append(effect.snapshot)
    instance = Instance("i-1", duel.box.load)

    seq = 0
    for place, mail in enumerate(duel.box.mails, 1):
        seq += 1
        instance.fold(_at(mail, seq))
        for snapshot in due.get(place, ()):
            seq += 1
            record = Continued(
                seq=seq,
                at=mail.at,
                epoch=1,
                generation=snapshot.generation,
                through=snapshot.through,
                snapshot=snapshot,
            )
            assert instance.fold(record) == []
    assert instance.messages == duel.box.instance.messages
    assert instance.state_hash() == duel.hashes[-1]
    if instance.status == "running":
        assert instance.recorded == instance.generation
    instance.close()


def _at(mail: Mail, seq: int) -> Mail:
    fields = {name: getattr(mail, name) for name in mail.__struct_fields__}
    return type(mail)(**{**fields, "seq": seq})
