"""The chain of statements: each transition once, with all that was folded, the same every time."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from protocols.effects import Continue, Emit
from protocols.mail import Cancel, Migrate, Signal, Snapshot
from protocols.witness import (
    LEAVES_MAX,
    Operator,
    Statement,
    genesis,
    leaf,
    leaves,
)
from tests.kernel.mailbox import DEFINITION, Mailbox

ANN = Operator(who="ann", where="desk 7", why="too late")


async def listen(ctx: Context, count: int) -> int:
    """Take so many signals."""
    for _ in range(count):
        await ctx.signal("go")
    return count


async def pay(ctx: Context, _: Any) -> Any:
    """Ask once."""
    return await ctx.call("shop", "pay")


async def rounds(ctx: Context, left: int) -> int:
    """Take a signal in each generation."""
    await ctx.signal("go")
    if left:
        ctx.continue_as(left - 1)
    return left


async def moves(ctx: Context, _: Any) -> str:
    """Make a transition of its own per signal, as a motion does."""
    for state in ("REVIEW", "DONE"):
        await ctx.signal("go")
        ctx.transition(
            {"to": state}, detail=f"-> {state}", actor="king", input=b"1", output="digest"
        )
    return "done"


def statements(box: Mailbox) -> list[Statement]:
    """Return what was stated, in order."""
    return [
        each.statement.statement()
        for each in box.effects
        if isinstance(each, Emit) and each.statement is not None
    ]


def seqs(statement: Statement) -> list[int]:
    """Return the sequences of the messages that a statement names."""
    return [each.seq for each in statement.leaves()]


def check_chain(found: list[Statement]) -> None:
    """See that numbers and hashes have no gap."""
    previous = genesis("i-1")
    for number, each in enumerate(found, 1):
        assert (each.number, each.previous) == (number, previous)
        assert each.computed() == each.hash
        previous = each.hash


def test_each_transition_states_what_was_folded_since_the_last() -> None:
    """What, when, the cause, and every message in between."""
    box = Mailbox(listen)
    box.signal("go")
    box.start(3)
    box.pass_time(5)
    box.signal("go")
    box.wake()
    box.signal("go")

    found = statements(box)

    check_chain(found)
    assert [(each.what, each.cause, each.actor) for each in found] == [
        ("started", 2, "start"),
        ("completed", 5, "signal"),
    ]
    assert [seqs(each) for each in found] == [[1, 2], [3, 5]]
    assert found[1].at == box.at
    assert found[0].definition == DEFINITION
    assert found[0].input == found[1].input != ""
    assert found[0].output == "" != found[1].output
    assert box.instance.witness.hash == found[1].hash
    box.refold()


def test_a_hash_can_be_computed_from_the_json_alone() -> None:
    """As the documentation tells programs in other languages."""
    box = Mailbox(listen)
    box.start(0)

    (_, last) = statements(box)
    text = msgspec.json.encode(last)

    plain = text.replace(b',"hash":"%b"' % last.hash.encode(), b"")
    assert hashlib.blake2b(plain, digest_size=32).hexdigest() == last.hash
    assert genesis("i-1") == hashlib.blake2b(b"movant i-1", digest_size=32).hexdigest()


def test_the_output_of_a_failed_run_is_its_failure() -> None:
    """Another failure has another digest."""
    outputs = []
    for kind in ("broken", "rotten"):
        box = Mailbox(pay)
        box.start()
        box.fail("/shop.pay", kind, retryable=False)
        outputs.append(statements(box)[-1].output)

    assert outputs[0] != outputs[1]


def test_a_message_that_differs_gives_another_head() -> None:
    """Its digest alone, though the fold is the same."""
    heads = set()
    for text in (b"a", b"b"):
        instance = Instance("i-1", Mailbox(listen).load)
        box = Mailbox(listen)
        box.start(1)
        for mail in box.mails:
            instance.fold(mail)
        instance.fold(
            Signal(seq=2, at=box.at, name="go", body=b"", leaf=leaf(2, 1, "", b"", text))
        )
        heads.add(instance.witness.hash)

    assert len(heads) == 2


def test_who_acted_stands_in_the_statement_that_the_act_brings_about() -> None:
    """A signal that ends the run, and a cancel that takes effect later."""
    box = Mailbox(listen)
    box.start(1)
    box.fold(Signal(seq=2, at=box.at, name="go", body=b"null", by=ANN))
    slow = Mailbox(slowly)
    slow.start()
    slow.fold(Cancel(seq=2, at=box.at, by=ANN))
    slow.reply("/shop.undo")

    assert statements(box)[-1].by == ANN
    assert statements(slow)[-1].by == ANN
    assert statements(slow)[-1].actor == "reply"


async def slowly(ctx: Context, _: Any) -> None:
    """Clean up when it is cancelled."""
    try:
        await ctx.signal("never")
    finally:
        with ctx.shield():
            await ctx.call("shop", "undo")


def test_a_migration_is_witnessed_by_the_code_that_it_brings() -> None:
    """The former code's fold of it is dropped by its host."""
    box = Mailbox(listen)
    box.start(2)
    box.fold(Migrate(seq=2, at=box.at, definition="new", by=ANN))

    last = statements(box)[-1]

    assert (last.what, last.by, last.cause) == ("migrated", ANN, 2)


def test_what_a_blocked_fold_stated_is_taken_back() -> None:
    """The event was dropped, so the next statement takes its number and its messages."""
    box = Mailbox(broken)
    box.signal("go")
    box.start()
    assert box.instance.status == "blocked"
    box.signal("go")
    box.cancel()

    found = statements(box)

    check_chain(found)
    assert [each.what for each in found] == ["cancelled"]
    assert seqs(found[0]) == [1, 2, 4]


async def broken(_: Context, __: Any) -> None:
    """Block at once."""
    raise ValueError("a defect")


def test_a_long_history_is_stated_in_parts() -> None:
    """No statement names more than so many messages, also for a run that was flooded before."""
    box = Mailbox(listen)
    for _ in range(LEAVES_MAX + 3):
        box.signal("go")
    box.start(3 * LEAVES_MAX)
    for _ in range(2 * LEAVES_MAX - 3):
        box.signal("go")

    found = statements(box)

    check_chain(found)
    kinds = ["witnessed", "started", "witnessed", "completed"]
    assert [each.what for each in found] == kinds
    assert max(len(seqs(each)) for each in found) == LEAVES_MAX
    assert [seq for each in found for seq in seqs(each)] == list(range(1, 3 * LEAVES_MAX + 2))
    box.refold()


def test_transitions_of_a_motion_go_into_the_same_chain() -> None:
    """Each with its actor, what it was given and what it gave."""
    box = Mailbox(moves)
    box.start()
    box.signal("go")
    box.signal("go")

    found = statements(box)

    check_chain(found)
    assert [(each.what, each.detail, each.actor) for each in found] == [
        ("started", "", "start"),
        ("transition", "-> REVIEW", "king"),
        ("transition", "-> DONE", "king"),
        ("completed", "", "signal"),
    ]
    assert found[1].input == hashlib.blake2b(b"1", digest_size=16).hexdigest()
    assert found[1].output == "digest"
    assert seqs(found[3]) == []
    box.refold()


def test_a_chain_goes_on_from_the_snapshot_of_a_generation() -> None:
    """A fold that begins there comes to the same statements and the same head."""
    box = Mailbox(rounds)
    box.start(3)
    for _ in range(4):
        box.signal("go")
    snapshots = [each.snapshot for each in box.effects if isinstance(each, Continue)]

    heads = []
    for snapshot in snapshots:
        stored = msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot)
        instance = Instance.from_snapshot("i-1", stored, box.load)
        instance.begin()
        for mail in box.mails[stored.through :]:
            instance.fold(mail)
        heads.append(instance.witness)

    check_chain(statements(box))
    assert len(heads) == 3
    assert heads == [box.instance.witness] * 3


def test_a_snapshot_of_an_earlier_version_begins_a_chain() -> None:
    """It does not say where the former one stood."""
    box = Mailbox(rounds)
    box.start(1)
    box.signal("go")
    (snapshot,) = [each.snapshot for each in box.effects if isinstance(each, Continue)]
    told = msgspec.to_builtins(snapshot)
    del told["witness"]
    old = msgspec.convert(told, Snapshot)

    instance = Instance.from_snapshot("i-1", old, box.load)
    instance.begin()

    assert instance.witness.number == 1


def test_leaves_that_are_cut_off_are_refused() -> None:
    """Whoever edits a statement's JSON can shorten them."""
    whole = leaf(1, 2, "movant.mail.0.a.signal.go", b"", b"1")

    assert next(leaves(whole)).seq == 1
    with pytest.raises(ValueError, match="27 bytes"):
        leaves(whole[:-1])
