"""Verification: whatever is done to what is stored of an instance, the message is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import movant
from actors.owning.letters import Delivery
from actors.views.verification import Compared
from protocols.definition import workflow
from protocols.witness import LEAVES_MAX
from tests.support.ledger import SECOND, Books, doctored

ZERO = b"0"


@workflow("flow")
async def signals(ctx: movant.Context, count: int) -> list[Any]:
    """Collect signals, and ask a service after each."""
    found = []
    for _ in range(count):
        found.append(await ctx.signal("go"))
        found.append(await ctx.call("shop", "buy"))
    return found


@workflow("flow")
async def patient(ctx: movant.Context, count: int) -> list[Any]:
    """Collect twice as many signals, in the same way."""
    found = []
    for _ in range(count * 2):
        found.append(await ctx.signal("go"))
        found.append(await ctx.call("shop", "buy"))
    return found


@workflow("flow")
async def tally(ctx: movant.Context, total: int) -> int:
    """Take two signals per generation."""
    for _ in range(2):
        total += await ctx.signal("go", returns=int)
    if total > 8:
        return total
    return ctx.continue_as(total)


def played(count: int = 3, *, ends: bool = True) -> Books:
    """Return the books of an instance that took so many signals."""
    books = Books(d1=signals)
    books.start("d1", count if ends else count + 1)
    for number in range(count):
        books.signal(number)
        books.reply({"n": number})
    return books


def said(found: Compared) -> list[tuple[str, str, int]]:
    """Return kind, stream and sequence of each finding."""
    return [(each.kind, each.stream, each.seq) for each in found.findings]


@pytest.mark.parametrize("ends", [True, False])
def test_what_nobody_touched_is_as_it_was(ends: bool) -> None:  # noqa: FBT001 - a parameter
    """No findings, and every message up to the last transition is named by a statement."""
    books = played(ends=ends)

    found = books.verify()

    assert found.findings == []
    assert found.notes == []
    assert found.covered == (7 if ends else 1)


def test_an_edited_payload_is_named() -> None:
    """One byte of one message: that message, and nothing else."""
    books = played()
    at = 3
    payload = bytearray(books.mail[at].payload)
    payload[0] ^= 1
    books.mail[at] = doctored(books.mail[at], payload=bytes(payload))

    found = books.verify()

    assert said(found) == [("edited", "MAIL", books.mail[at].seq)]


def test_an_edited_header_is_named() -> None:
    """Also one that the fold does not look at."""
    books = Books(d1=signals)
    books.start("d1", 1)
    books.signal(1, Movant_Id="one", X_Note="a")
    books.reply()
    books.mail[1] = doctored(
        books.mail[1], headers=books.mail[1].headers.replace(b"X-Note: a", b"X-Note: b")
    )

    assert said(books.verify()) == [("edited", "MAIL", books.mail[1].seq)]


def test_an_edited_time_is_named() -> None:
    """The finding says which of both."""
    books = played()
    books.mail[2] = doctored(books.mail[2], at=books.mail[2].at + 1)

    found = books.verify()

    assert said(found) == [("edited", "MAIL", books.mail[2].seq)]
    assert "time" in found.findings[0].detail


def test_a_dropped_message_is_named() -> None:
    """Its sequence is known from the statement."""
    books = played()
    gone = books.mail.pop(3)

    assert said(books.verify()) == [("dropped", "MAIL", gone.seq)]


def test_two_messages_that_changed_places_are_named() -> None:
    """With their new places."""
    books = played()
    one, two = books.mail[1], books.mail[3]
    books.mail[1] = doctored(two, seq=one.seq, at=one.at)
    books.mail[3] = doctored(one, seq=two.seq, at=two.at)

    found = books.verify()

    assert said(found) == [("reordered", "MAIL", one.seq), ("reordered", "MAIL", two.seq)]
    assert f"stands at {two.seq} now" in found.findings[0].detail


def test_a_message_that_was_put_in_is_named() -> None:
    """No statement names it though others before and behind it are named."""
    books = played()
    forged = doctored(books.mail[1], seq=books.mail[2].seq + 1, payload=b"99")
    books.mail.insert(3, forged)

    assert said(books.verify()) == [("forged", "MAIL", forged.seq)]


def test_a_message_behind_the_last_statement_is_none_of_its_business() -> None:
    """A running instance gets messages all the time."""
    books = played(ends=False)
    books.signal("more")

    assert books.verify().findings == []


def test_an_event_that_was_edited_is_named() -> None:
    """The statement in it, or what the event says beside it."""
    books = played()
    first, last = books.events[0], books.events[-1]
    books.events[0] = doctored(first, payload=first.payload.replace(b'"cause":3', b'"cause":4'))
    edited = last.payload.replace(b'"status":"completed"', b'"status":"cancelled"')
    books.events[-1] = doctored(last, payload=edited)

    found = books.verify()

    assert said(found) == [("edited", "EVENTS", first.seq)]
    books.events[0] = first
    again = books.verify()
    assert said(again) == [("edited", "EVENTS", last.seq)]
    assert "status" in again.findings[0].detail


def test_a_statement_that_was_made_up_is_named() -> None:
    """Of one piece, but the fold does not give it."""
    books = played()
    last = books.events[-1]
    told = msgspec.json.decode(last.payload)
    told["witness"] = _resealed(told["witness"], output="00" * 16)
    books.events[-1] = doctored(last, payload=msgspec.json.encode(told))

    found = books.verify()

    assert said(found) == [("forged", "EVENTS", last.seq), ("dropped", "EVENTS", 0)]
    assert "output" in found.findings[0].detail


def test_a_statement_that_is_gone_is_missed() -> None:
    """Unless EVENTS does not keep it for so long, or it may be on its way."""
    books = played()
    first = books.events.pop(0)

    assert said(books.verify()) == [("dropped", "EVENTS", 0)]
    kept = books.verify(events_from=first.at + 1)
    assert kept.findings == []
    assert "older than what EVENTS keeps" in kept.notes[0]


def test_without_events_the_head_in_the_record_tells_that_something_was_edited() -> None:
    """Nobody can say which message it was."""
    books = played()
    books.events.clear()
    clean = books.verify(events_from=books.now)
    books.mail[2] = doctored(books.mail[2], payload=b'{"n":7}')

    found = books.verify(events_from=books.now)

    assert clean.findings == []
    assert said(found) == [("edited", "ARCHIVE", 1)]
    assert "head" in found.findings[0].detail


def test_an_edited_record_is_named() -> None:
    """Whatever of it differs from the fold."""
    books = played()
    assert books.record is not None
    edited = books.record.payload.replace(b'"status":"completed"', b'"status":"failed"')
    books.record = doctored(books.record, payload=edited)

    found = books.verify()

    assert said(found) == [("edited", "ARCHIVE", 1)]
    assert "status" in found.findings[0].detail


def test_a_record_that_is_gone_is_missed_after_a_while() -> None:
    """It is written beside the last event, a moment later."""
    books = played()
    books.record = None

    assert books.verify(later_s=1).findings == []
    assert said(books.verify()) == [("dropped", "ARCHIVE", 0)]


def test_a_record_without_a_history_is_missed() -> None:
    """A prefix of ARCHIVE never has a record without its history."""
    books = played()
    books.mail.clear()
    books.events.clear()

    assert said(books.verify(events_from=books.now)) == [("dropped", "ARCHIVE", 1)]


def test_what_an_earlier_version_wrote_is_said_and_no_finding() -> None:
    """Events without statements, a record without a head."""
    books = played()
    assert books.record is not None
    books.events = [_plain(each, "witness") for each in books.events]
    books.record = _plain(books.record, "head", "statements")

    found = books.verify()

    assert found.findings == []
    assert sum("earlier version" in note for note in found.notes) == 2


def test_statements_of_the_code_before_a_migration_count() -> None:
    """Each is folded with the code of its time."""
    books = Books(d1=signals, d2=patient)
    books.start("d1", 2)
    for number in range(2):
        books.signal(number)
        if number == 0:
            books.reply()
            books.migrate("d2")
            books.asks.clear()
    before = books.verify()
    books.mail[1] = doctored(books.mail[1], payload=b"5")

    assert before.findings == []
    assert [each.subject.rpartition(".")[2] for each in books.events] == [
        "started",
        "started",
        "migrated",
    ]
    assert said(books.verify()) == [("edited", "MAIL", books.mail[1].seq)]


def test_generations_are_verified_one_by_one() -> None:
    """Also when former ones were collected: the snapshot goes on with their chain."""
    books = Books(d1=tally)
    books.start("d1", 0)
    for number in range(5):
        books.signal(number)
    whole = books.verify()
    records = [each for each in books.mail if each.subject.endswith("continued")]
    mark = records[-1].seq
    through = msgspec.json.decode(records[-1].payload)["through"]
    books.mail = [each for each in books.mail if each.seq > through]
    collected = books.verify(mark=mark)
    index = books.index(records[-1].seq)
    books.mail[index] = doctored(
        records[-1], payload=records[-1].payload.replace(b'"now":1', b'"now":2')
    )

    assert whole.findings == []
    assert whole.notes == []
    assert collected.findings == []
    assert any("collected" in note for note in collected.notes)
    assert books.verify(mark=mark).findings != []


def test_a_long_history_is_stated_in_parts() -> None:
    """One statement names so many messages at most; an edit is found in each of them."""
    books = played(LEAVES_MAX, ends=False)
    kinds = [each.subject.rpartition(".")[2] for each in books.events]

    for at in (10, LEAVES_MAX + 10):
        kept = books.mail[at]
        books.mail[at] = doctored(kept, payload=kept.payload + b" ")
        assert said(books.verify()) == [("edited", "MAIL", kept.seq)]
        books.mail[at] = kept
    assert kinds == ["started", "witnessed", "witnessed"]
    assert books.verify().findings == []


def test_many_signals_before_the_start_are_stated_in_parts() -> None:
    """No statement is larger than an event may be."""
    books = Books(d1=signals)
    for number in range(LEAVES_MAX + 5):
        books.signal(number)
    books.start("d1", 1)

    found = books.verify()

    kinds = [each.subject.rpartition(".")[2] for each in books.events]
    assert kinds == ["witnessed", "started"]
    assert found.findings == []
    assert found.covered == LEAVES_MAX + 6


def test_who_cancelled_stands_in_the_statement() -> None:
    """From where, and why, too."""
    books = played(1, ends=False)
    books.cancel(Movant_Who="ann", Movant_Where="desk%207", Movant_Why="too%20late")

    last = msgspec.json.decode(books.events[-1].payload)["witness"]

    assert last["what"] == "cancelled"
    assert last["by"] == {"who": "ann", "where": "desk 7", "why": "too late"}
    assert books.verify().findings == []


@given(
    at=st.integers(0, 8),
    how=st.sampled_from(["payload", "time", "drop", "subject", "insert"]),
    ends=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_to_a_message_it_is_named(at: int, how: str, *, ends: bool) -> None:
    """Each message that a statement names, in each way; others are nobody's witness."""
    books = played(4)
    covered = books.verify().covered
    if not ends:
        books.record = None
    victim = books.mail[at]
    match how:
        case "payload":
            books.mail[at] = doctored(victim, payload=victim.payload + b" ")
        case "time":
            books.mail[at] = doctored(victim, at=victim.at + SECOND // 2)
        case "drop":
            del books.mail[at]
        case "subject":
            books.mail[at] = doctored(victim, subject=victim.subject + "x")
        case _:
            victim = doctored(victim, seq=victim.seq - 1)
            books.mail.insert(at, victim)

    found = books.verify()

    assert covered == 9
    assert victim.seq in {each.seq for each in found.findings if each.stream == "MAIL"}


def _plain(delivery: Delivery, *names: str) -> Delivery:
    told = msgspec.json.decode(delivery.payload)
    for name in names:
        told.pop(name, None)
    return doctored(delivery, payload=msgspec.json.encode(told))


def _resealed(told: dict[str, Any], **changes: Any) -> Any:
    from protocols.witness import Statement  # noqa: PLC0415 - for this alone

    statement = msgspec.convert({**told, **changes}, Statement)
    return msgspec.to_builtins(statement.sealed())
