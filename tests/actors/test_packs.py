"""Packs and the decisions of a pass: pure, so tried without a server."""

from __future__ import annotations

import random

import pytest

from actors.owning.letters import Delivery
from actors.retention import collection, packs
from actors.retention.collection import Fate, Settings
from actors.retention.packs import Copy
from actors.store.archive import bundles_of, candidates
from actors.views.leaves import plain_headers
from protocols import subjects

S = 1_000_000_000


def delivery(seq: int, rest: str = "signal.go", payload: bytes = b"1", at: int = 0) -> Delivery:
    """Return a stored message of instance a."""
    return Delivery(seq, at or seq * S, f"movant.mail.3.a.{rest}", b"", payload)


def packed(messages: list[Delivery], through: int, seq: int) -> list[Delivery]:
    """Return the packs of messages, stored from ``seq`` on."""
    found: list[Delivery] = []
    for group in packs.groups([packs.copy_of(each) for each in messages]):
        for sealed in packs.seal_pack(group):
            subject = subjects.to_pack("a", through, sealed.digest)
            stored = subject.replace("movant.to.", "movant.mail.3.", 1)
            found.append(Delivery(seq + len(found), 0, stored, b"", sealed.payload))
    return found


def test_copies_are_what_was_stored() -> None:
    """Without what the server adds when it is read, and without a batch's lines."""
    sent = b"NATS/1.0\r\nMovant-Id: x\r\nNats-Batch-Id: b\r\nNats-Batch-Sequence: 2\r\n"
    read = sent + b"Nats-Stream: MAIL\r\nNats-Subject: s\r\nNats-Sequence: 5\r\n\r\n"
    bare = b"NATS/1.0\r\nNats-Stream: MAIL\r\nNats-Subject: s\r\n\r\n"

    assert plain_headers(read) == b"NATS/1.0\r\nMovant-Id: x\r\n\r\n"
    assert plain_headers(sent + b"\r\n") == b"NATS/1.0\r\nMovant-Id: x\r\n\r\n"
    assert plain_headers(bare) == b""
    assert plain_headers(b"") == b""


@pytest.mark.parametrize("size", [1, 50_000, 400_000, 1_000_000])
def test_a_mailbox_is_the_union_of_its_messages_and_packs(size: int) -> None:
    """Packed in any parts, overlapping and repeated: each message once, in order."""
    source = random.Random(size)  # noqa: S311 - repeatable
    messages = [delivery(seq, payload=source.randbytes(size)) for seq in range(1, 8)]
    first = packed(messages[:4], 5, 100)
    second = packed(messages[2:6], 6, 200)

    box = packs.expand([*messages[5:], *first, *second, *first])

    assert box.messages == messages
    assert box.through == 6
    assert not box.unreadable
    assert all(len(each.payload) < 1_000_000 for each in first + second)
    assert packs.expand(first + second, after=3).messages == messages[3:6]


def test_a_message_below_the_mark_counts_only_as_a_copy() -> None:
    """What stands there raw is about to be purged."""
    messages = [delivery(seq) for seq in range(1, 6)]
    stored = [*messages, *packed(messages[1:3], 3, 10)]

    assert [each.seq for each in packs.expand(stored, mark=4).messages] == [2, 3, 4, 5]


def test_a_sliced_pack_counts_only_whole() -> None:
    """A pass that was cut short leaves slices behind, which mean nothing."""
    noise = random.Random(1).randbytes(900_000)  # noqa: S311 - repeatable
    messages = [delivery(1, payload=noise)]
    slices = packed(messages, 5, 10)

    assert len(slices) == 2
    assert packs.expand(slices[:1]).messages == []
    assert packs.expand(slices[:1]).through == 0
    assert packs.missing_slices(slices[:1]) == [slices[0].subject.replace(".0.2", ".*.2")]
    assert packs.missing_slices(slices) == []
    assert packs.expand(slices).messages == messages


def test_what_is_no_pack_is_said_to_be_none() -> None:
    """Forged, broken or boundless: nothing of it is folded, and nothing is raised."""
    good = packed([delivery(1)], 5, 10)[0]
    above = packed([delivery(7)], 5, 10)[0]
    nested = packed([delivery(1, rest="pack.1.x")], 5, 10)[0]
    other = Delivery(
        11, 0, good.subject[:-1] + ("0" if good.subject[-1] != "0" else "1"), b"", b""
    )
    forged = Delivery(12, 0, other.subject, b"", good.payload)
    bomb = packs.seal_pack([Copy(1, 1, "signal.go", b"", bytes(packs.OPENED_BYTES_MAX + 1))])[0]
    huge = Delivery(13, 0, good.subject, b"", bomb.payload)
    early = Delivery(3, 0, good.subject, b"", good.payload)

    for each in (above, nested, other, forged, early):
        assert packs.expand([each]).unreadable == [each]
    assert packs.expand([huge]).messages == []
    assert packs.expand([good]).messages == [delivery(1)]


def test_an_instance_is_copied_bundled_or_dropped() -> None:
    """By its record's position against where the chunk begins and ends."""
    assert collection.fate(None, 10, 20) is Fate.COPY
    assert collection.fate(20, 10, 20) is Fate.COPY
    assert collection.fate(19, 10, 20) is Fate.BUNDLE
    assert collection.fate(10, 10, 20) is Fate.BUNDLE
    assert collection.fate(9, 10, 20) is Fate.DROP


def copies(*kinds: tuple[str, int]) -> list[Copy]:
    """Return copies of kinds and times, in order."""
    return [Copy(seq, at, kind, b"", b"") for seq, (kind, at) in enumerate(kinds, 1)]


def test_dropping_wakes_never_changes_the_time_of_a_fold() -> None:
    """Also when the server's clock steps back; the last message always stays."""
    source = random.Random(7)  # noqa: S311 - repeatable
    for _ in range(500):
        kinds = [
            (source.choice(["timer._wake", "signal.go"]), source.randrange(1, 9))
            for _ in range(source.randrange(1, 9))
        ]
        whole = copies(*kinds)
        kept = collection.retained(whole, lambda _: False)
        times: list[dict[int, int]] = []
        for messages in (whole, kept):
            now = 0
            times.append({})
            for each in messages:
                now = max(now, each.at)
                if each.rest == "signal.go" or each is messages[-1]:
                    times[-1][each.seq] = now
        assert times[0] == times[1], kinds
        assert kept[-1] is whole[-1]


def test_void_messages_are_left_out() -> None:
    """The markers that say that they are void will be gone."""
    whole = copies(("start.x", 1), ("owner.pinned", 2), ("owner.timeout", 3), ("reply.s", 4))

    kept = collection.retained(whole, lambda each: each.seq == 3)

    assert [each.seq for each in kept] == [1, 2, 4]


def test_a_pass_begins_when_half_of_mail_can_go_or_it_is_old() -> None:
    """Never at rest, and twice while records are kept."""
    settings = Settings(messages_min=100, finished_s=1_000)

    def is_old(messages: int, kept: int, now_ns: int) -> bool:
        return collection.is_old(messages, kept, settings, oldest_ns=1, now_ns=now_ns)

    assert collection.pressure(100, 0, settings) == 1
    assert collection.pressure(300, 0, settings) == 3
    assert collection.pressure(300, 150, settings) == 1
    assert not is_old(9, 0, 500 * S)
    assert is_old(9, 0, 501 * S)
    assert not is_old(9, 9, 501 * S)


def test_marks_are_multiples_of_a_chunk() -> None:
    """And never above the limit, where the rest may be less."""
    assert collection.chunk_end(0, 15, 16, rest=True) == 15
    assert collection.chunk_end(0, 40, 16, rest=True) == 16
    assert collection.chunk_end(15, 15, 16, rest=True) == 0
    assert collection.chunk_end(0, 15, 16) == 0
    assert collection.chunk_end(0, 16, 16) == 16
    assert collection.chunk_end(16, 40, 16) == 32
    assert collection.chunk_end(20, 40, 16) == 32


def test_an_id_says_when_it_was_made() -> None:
    """Only one of our own, and only within what two clocks may differ."""
    ours = f"{1_700_000_000_000:011x}" + "a" * 12
    made = 1_700_000_000 * S

    assert collection.made_at(ours) == made
    assert collection.made_at("20261121083-order") == 0
    assert collection.is_fresh(ours, made - 3 * S, made)
    assert not collection.is_fresh(ours, made, made)
    assert not collection.is_fresh(ours, made - 3 * S, made - 3 * S)
    assert not collection.is_fresh("a", 0, made)


def test_a_history_is_found_by_its_record_s_position() -> None:
    """The least bundle at or above it; of its parts the last that begins at or below the id."""
    names = [
        subjects.bundle(3, 15, "a", "d1"),
        subjects.bundle(3, 31, "a", "d2"),
        subjects.bundle(3, 31, "m", "d3.0.2"),
        subjects.bundle(3, 31, "m", "d3.1.2"),
        subjects.bundle(3, 31, "t", "d4.0.2"),
        subjects.bundle(3, 47, "a", "d5"),
    ]
    found = bundles_of(names)

    def digests(instance: str, position: int) -> list[str]:
        return [each.digest for each in candidates(found, instance, position)]

    # The likeliest first, then those of later passes; the slices of d4 are not all there.
    assert digests("b", 15) == ["d1", "d2", "d5"]
    assert digests("b", 16) == ["d2", "d5"]
    assert digests("z", 20) == ["d3", "d2", "d5"]
    assert digests("b", 48) == []
    assert [each.subjects for each in found if each.digest == "d3"] == [names[2:4]]


def test_firings_tell_where_they_were_imported_from() -> None:
    """The server wrote it behind all that the firing had."""
    lines = b"NATS/1.0\r\nNats-Stream-Source: TIMERS 12 a b c\r\n\r\n"
    fired = Delivery(5, 1, "movant.mail.3.a.timer.t", lines, b"")
    signal = Delivery(6, 1, "movant.mail.3.a.signal.t", lines.replace(b"12", b"99"), b"")

    assert collection.imported([fired, signal]) == 12
    assert collection.imported([signal]) == 0
