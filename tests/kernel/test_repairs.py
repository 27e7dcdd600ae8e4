"""Values that are lost: they block, and go on when a person has put them back or given them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from actors.owning.discards import discarded, kept, without
from actors.owning.resolving import lacking
from protocols.blobs import BLOB, blob_of, encoded
from protocols.effects import Ask, Finish
from protocols.errors import ChildFailedError
from protocols.mail import (
    AnyMail,
    Cancel,
    ChildEnded,
    Fork,
    Repair,
    Repaired,
    Reply,
    Signal,
    Snapshot,
    Start,
)
from protocols.subjects import step_token
from protocols.witness import Operator
from tests.kernel.mailbox import BEGIN, DEFINITION, Mailbox

LOST = encoded(blob_of(b"x" * 400_000))
ANN = Operator(who="ann", where="desk", why="the disk is lost")


def folded(box: Mailbox, mails: Sequence[AnyMail]) -> Instance:
    """Fold mails as every reader does whose store has none of the values."""
    instance = Instance("i-1", box.load)
    effects = []
    for mail in without(mails, discarded(mails)):
        refers = getattr(mail, "content_type", "") == BLOB
        effects += instance.fold(lacking(mail, "gone") if refers else mail)
    box.effects = effects
    return instance


def at(seq: int) -> dict[str, Any]:
    """Return what every message has."""
    return {"seq": seq, "at": BEGIN + seq}


def begin(seq: int = 1, body: bytes = b"1", content_type: str = "") -> Start:
    """Return a start."""
    return Start(
        **at(seq), workflow="code", body=body, content_type=content_type, definition=DEFINITION
    )


def give_up(seq: int, message: int) -> Repaired:
    """Return the word of a person who gives a value up."""
    return Repaired(**at(seq), order=Repair(message, "discarded"), message_id=f"m{seq}", by=ANN)


def reply(seq: int, path: str, *, attempt: int = 1, **more: Any) -> Reply:
    """Return an answer; of a value that is lost without ``body``."""
    told = {"body": LOST, "content_type": BLOB, **more}
    return Reply(**at(seq), step=step_token(path), attempt=attempt, **told)


def test_the_answer_of_a_step_becomes_one_that_nobody_knows() -> None:
    """It is tried again, with the key of before: an effect is not done twice."""

    async def code(ctx: Context, _: int) -> Any:
        return await ctx.call("press", "make")

    box = Mailbox(code)
    mails: list[AnyMail] = [begin(), reply(2, "/press.make")]

    blocked = folded(box, mails)
    mails.append(give_up(3, 2))
    going = folded(box, mails)
    asks = [each for each in box.effects if isinstance(each, Ask)]
    mails.append(reply(4, "/press.make", attempt=2, body=b"7", content_type=""))
    ended = folded(box, mails)

    assert blocked.blocked is not None
    assert (blocked.blocked.reason, blocked.blocked.seq) == ("blob", 2)
    assert going.status == "running"
    assert [(each.attempt, each.key) for each in asks] == [
        (1, "i-1/1/press.make"),
        (2, "i-1/1/press.make"),
    ]
    assert (ended.status, ended.result) == ("completed", b"7")
    assert ended.state_hash() == folded(box, mails).state_hash()


def test_a_signal_that_is_given_up_never_came() -> None:
    """Nor does its repeat block again, which has the same id and the same lost value."""

    async def code(ctx: Context, _: int) -> Any:
        return await ctx.signal("more")

    box = Mailbox(code)
    lost: dict[str, Any] = {"name": "more", "body": LOST, "content_type": BLOB}
    mails: list[AnyMail] = [
        begin(),
        Signal(**at(2), **lost, message_id="s"),
        Signal(**at(3), **lost, message_id="s"),
        give_up(4, 2),
        Signal(**at(5), name="more", body=b'"small"'),
    ]

    ended = folded(box, mails)

    assert (ended.status, ended.result) == ("completed", b'"small"')


def test_a_run_whose_input_is_given_up_has_failed() -> None:
    """With a record that says so, at the time of the word."""

    async def code(_: Context, __: int) -> None: ...

    box = Mailbox(code)
    mails: list[AnyMail] = [begin(body=LOST, content_type=BLOB)]
    blocked = folded(box, mails)
    ended = folded(box, [*mails, give_up(2, 1)])
    (record,) = [each for each in box.effects if isinstance(each, Finish)]

    assert blocked.status == "blocked"
    assert (ended.status, ended.finished_at) == ("failed", BEGIN + 2)
    assert record.failure is not None
    assert record.failure.kind == "blob"
    assert "message 1 is lost and was given up by ann" in record.failure.message


def test_the_result_of_a_child_is_given_up() -> None:
    """The parent's wait fails; that the child has completed stays known to its undo."""

    async def code(ctx: Context, _: int) -> str:
        try:
            await ctx.child("other", id="c")
        except ChildFailedError as error:
            return error.kind
        return ""

    box = Mailbox(code)
    ended = ChildEnded(
        **at(2),
        step=step_token("/other"),
        child="c",
        status="completed",
        body=LOST,
        content_type=BLOB,
    )

    assert folded(box, [begin(), ended]).status == "blocked"
    assert folded(box, [begin(), ended, give_up(3, 2)]).result == b'"blob"'


def test_what_comes_after_the_end_blocks_nothing() -> None:
    """A large signal for a run that has ended, or that was cancelled before its start."""

    async def code(_: Context, __: int) -> int:
        return 1

    box = Mailbox(code)
    late = Signal(**at(2), name="more", body=LOST, content_type=BLOB)
    lost = begin(3, body=LOST, content_type=BLOB)

    assert folded(box, [begin(), late, give_up(3, 2)]).status == "completed"
    assert folded(box, [Cancel(**at(2)), lost]).status == "cancelled"


def test_a_generation_whose_signals_are_lost_is_blocked_by_the_first_of_them() -> None:
    """Not by its code that takes one some day: a person can help now."""

    async def code(ctx: Context, _: int) -> Any:
        return await ctx.signal("other")

    box = Mailbox(code)
    signals = (Signal(**at(2), name="more", body=LOST, content_type=BLOB),)
    snapshot = Snapshot(
        generation=2,
        through=4,
        now=BEGIN,
        definition=DEFINITION,
        start=begin(),
        started_at=BEGIN,
        signals=signals,
    )
    told = Signal(**at(7), name="other", body=b"1")
    found = []
    for each in (snapshot, kept(snapshot, discarded([give_up(6, 2)]))):
        assert each is not None
        instance = Instance.from_snapshot("i-1", each, box.load)
        instance.begin()
        instance.fold(told)
        found.append(instance)
    lost, going = found

    assert lost.blocked is not None
    assert (lost.blocked.reason, lost.blocked.seq) == ("blob", 2)
    assert (going.status, going.result) == ("completed", b"1")


def test_a_snapshot_forgets_the_signals_that_are_given_up_behind_it() -> None:
    """The others stay, also such as refer to a value."""
    signals = tuple(Signal(**at(seq), name="more", body=LOST, content_type=BLOB) for seq in (2, 3))
    snapshot = Snapshot(
        generation=2,
        through=4,
        now=BEGIN,
        definition=DEFINITION,
        start=begin(),
        started_at=BEGIN,
        signals=signals,
    )

    found = kept(snapshot, discarded([give_up(6, 2)]))

    assert found is not None
    assert [each.seq for each in found.signals] == [3]
    assert msgspec.structs.replace(found, signals=signals) == snapshot


def test_a_fork_that_is_lost_begins_nothing_and_can_be_cancelled() -> None:
    """Without what it takes over all would be done again, also when somebody gives that up."""
    asked = []

    async def code(ctx: Context, _: int) -> Any:
        asked.append(1)
        return await ctx.call("press", "make")

    box = Mailbox(code)
    fork = Fork(**at(1), body=LOST, content_type=BLOB, message_id="f")
    start = msgspec.structs.replace(begin(2), message_id="f")
    mails: list[AnyMail] = [fork, start]

    blocked = folded(box, mails)
    given_up = folded(box, [*mails, give_up(3, 1)])
    ended = folded(box, [*mails, Cancel(**at(3), message_id="c")])
    other = folded(box, [fork, begin(2)])

    for each in (blocked, given_up):
        assert each.blocked is not None
        assert (each.blocked.reason, each.blocked.seq) == ("blob", 1)
    assert ended.status == "cancelled"
    assert (other.status, asked) == ("running", [1])
