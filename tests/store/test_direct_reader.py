"""DirectReader and Kv against the real server."""

from __future__ import annotations

import pytest

from actors.owning.letters import Delivery
from actors.store.direct_reader import BATCH, TOGETHER, DirectReader
from actors.store.kv import Kv
from protocols.errors import AlreadyExistsError
from protocols.subjects import mailbox, partition_of
from runtime.bridge import NatsTransport
from tests.support.daemon import until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server


async def stored(raw: Raw, count: int) -> None:
    """Wait until MAIL holds so many messages: a PONG says only that they were read."""
    await until(lambda: raw.messages("MAIL") == count)


def box(instance: str) -> str:
    """Return the filter of a mailbox."""
    return mailbox(instance, partition_of(instance, 64))


async def test_a_mailbox_is_read_whole_and_in_order(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """More than one batch, other mailboxes in between, and from any position."""
    with Raw(nats_server.url) as raw:
        for number in range(BATCH * 2 + 100):
            raw.put(f"movant.to.a.signal.n{number}", b"%d" % number)
            raw.put("movant.to.b.signal.x", b"other")
        await stored(raw, 2 * (BATCH * 2 + 100))
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.subject(box("a"))
        rest = await reader.subject(box("a"), after=found[BATCH].seq)
        same = await reader.mailbox(box("a"))
        many = await reader.mailbox(box("b"))
        none = await reader.subject(box("nobody"))

    assert [int(each.payload) for each in found] == list(range(BATCH * 2 + 100))
    assert [each.seq for each in found] == sorted({each.seq for each in found})
    assert [each.seq for each in rest] == [each.seq for each in found[BATCH + 1 :]]
    assert [each.seq for each in same] == [each.seq for each in found]
    assert len(many) == BATCH * 2 + 100
    assert none == []


async def test_a_subject_that_is_no_utf8_hides_no_mailbox(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """The stream's counts name it in another way; whoever reads waits for nothing."""
    with Raw(nats_server.url) as raw:
        for subject in (b"movant.to.a.signal.\xff\xfe", b"movant.to.a.signal.go"):
            raw.publish(subject, b"1")
        raw.sync()
        await stored(raw, 2)
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.mailbox(box("a"))

    assert [each.subject.rpartition(".")[2] for each in found] == ["\\xff\\xfe", "go"]


async def test_large_messages_are_read_whole_too(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """The server ends a batch by its bytes; what is behind it is not the end of the mailbox."""
    with Raw(nats_server.url) as raw:
        for number in range(60):
            raw.put(f"movant.to.a.signal.n{number}", b"x" * 400_000)
        await stored(raw, 60)
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.subject(box("a"))
        same = await reader.mailbox(box("a"))

    assert len(found) == len(same) == 60


async def test_what_a_sender_says_about_sequence_and_subject_is_not_believed(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """Forged and unreadable header blocks: sequence, time and subject are the server's."""
    blocks = [
        b"NATS/1.0\r\nNats-Sequence: 99\r\nNats-Subject: x\r\nNats-Time-Stamp: y\r\n\r\n",
        b"NATS/1.0\r\n\r\n",
        b"\r\n\r\n",
        b"NATS/1.0\r\n\xff\xfe\r\n\r\n",
        b"x",
        b"NATS/1.0\r\nno colon",
    ]
    with Raw(nats_server.url) as raw:
        for number, lines in enumerate(blocks):
            raw.publish_with_headers(b"movant.to.a.signal.n%d" % number, lines, b"1")
        raw.publish(b"movant.to.a.signal.\xff", b"1")
        await stored(raw, 7)
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.subject(box("a"))

    assert [each.seq for each in found] == list(range(1, 8))
    assert [each.payload for each in found] == [b"1"] * 7
    assert all(each.subject.startswith("movant.mail.") for each in found)
    assert found[6].subject.endswith(r"\xff")
    assert all(each.at > 1_700_000_000 * 10**9 for each in found)


async def test_the_last_of_each_subject(transport: NatsTransport, nats_server: NatsServer) -> None:
    """One message per subject, also through wildcards."""
    with Raw(nats_server.url) as raw:
        for number in range(6):
            raw.put(f"movant.to.a.signal.n{number % 2}", b"%d" % number)
        await stored(raw, 6)
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.last([box("a")])
        none = await reader.last([box("nobody")])

    assert sorted(each.payload for each in found) == [b"4", b"5"]
    assert none == []


async def test_a_key_is_put_got_and_guarded_by_its_revision(transport: NatsTransport) -> None:
    """Create once; change only what one has seen."""
    kv = Kv(transport, "movant_keys")

    assert await kv.get("a") is None
    first = await kv.put("a", b"1", revision=0)
    with pytest.raises(AlreadyExistsError):
        await kv.put("a", b"2", revision=0)
    second = await kv.put("a", b"2", revision=first)
    with pytest.raises(AlreadyExistsError):
        await kv.put("a", b"3", revision=first)
    entry = await kv.get("a")

    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", second)


async def test_all_keys_of_a_bucket(transport: NatsTransport) -> None:
    """More than one batch of them, oldest first; a pattern selects."""
    kv = Kv(transport, "movant_definitions")
    for number in range(1_100):
        await kv.put(f"n.{number}", b"%d" % number)
    await kv.put("m.1", b"other")

    found = await kv.all("n.>")

    assert [int(each.value) for each in found] == list(range(1_100))
    assert len(await kv.all()) == 1_101


async def test_many_mailboxes_are_read_together_as_each_is_alone(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """More than one request; what is not told whole by its newest messages is left out."""
    wanted = [f"r-{number}" for number in range(9_000) if partition_of(f"r-{number}", 64) == 5]
    repeated, packed, large = wanted[:3]
    with Raw(nats_server.url) as raw:
        for each in wanted:
            raw.put(f"movant.to.{each}.start", b"start")
            raw.put(f"movant.to.{each}.signal.go", b"go")
        raw.put(f"movant.to.{repeated}.signal.go", b"again")
        raw.put(f"movant.to.{packed}.pack.1.abc", b"a pack")
        for number in range(1_100):
            raw.put(f"movant.to.{large}.signal.n{number}", b"x")
        await stored(raw, 2 * len(wanted) + 2 + 1_100)
    async with DirectReader(transport, "MAIL") as reader:
        found = await reader.many(5, [*wanted, "nobody"])
        alone = {each: await reader.mailbox(mailbox(each, 5)) for each in found}

    def plain(box: list[Delivery]) -> list[tuple[int, int, str, bytes]]:
        return [(each.seq, each.at, each.subject, each.payload) for each in box]

    assert [each for each in found if plain(found[each]) != plain(alone[each])] == []
    assert len(wanted) > 2 * TOGETHER
    left_out = set(wanted) - set(found)
    assert {repeated, large} <= left_out
    assert len(left_out) <= TOGETHER + 1, "those that were asked for beside the large one"
