"""StreamWriter against the real server: grouped, in order, nothing lost, nothing guessed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.owning.outbox import first_of
from actors.store.direct_reader import DirectReader
from actors.store.stream_writer import BATCH_MESSAGES_MAX, QUEUE_MAX, TOLD, StreamWriter
from protocols.errors import AlreadyExistsError, MovantError, OverloadedError, RefusedError
from protocols.ports import Outgoing
from runtime.bridge import NatsTransport
from runtime.clock import SystemEntropy
from tests.support.daemon import until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.steps import counting

pytestmark = pytest.mark.server


class Writes:
    """What became of writes: sequences and errors by their number."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self.seqs: dict[int, int] = {}
        self.errors: dict[int, MovantError] = {}
        self.told = 0

    def write(self, number: int, message: Outgoing) -> None:
        """Write, and note the outcome under a number."""

        def written(seq: int, error: MovantError | None) -> None:
            self.told += 1
            if error is None:
                self.seqs[number] = seq
            else:
                self.errors[number] = error

        self._writer.write(message, written)


@asynccontextmanager
async def writing(
    transport: NatsTransport, entropy: SystemEntropy
) -> AsyncIterator[tuple[StreamWriter, Writes]]:
    """Run a writer of MAIL."""
    writer = StreamWriter(transport, entropy, name="MAIL")
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        yield writer, Writes(writer)
        nursery.cancel_scope.cancel()


def signal(number: int, instance: str = "a", payload: bytes = b"1") -> Outgoing:
    """Return a message with a subject of its own."""
    return Outgoing(f"movant.to.{instance}.signal.n{number}", payload)


async def test_a_message_alone_goes_at_once_and_without_batch_headers(
    transport: NatsTransport, entropy: SystemEntropy, nats_server: NatsServer
) -> None:
    """An idle writer adds nothing to a publish."""
    async with writing(transport, entropy) as (writer, writes):
        writes.write(1, signal(1))
        await writer.drained()

    assert writes.seqs == {1: 1}
    with Raw(nats_server.url) as raw:
        assert raw.stored("MAIL", "movant.mail.*.a.signal.n1")["hdrs"] == b""  # type: ignore[index] # it is stored


async def test_a_large_commit_is_told_a_part_at_a_time(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """Whoever is told does something: others have a turn in between."""
    async with writing(transport, entropy) as (writer, writes):
        with counting(lambda: writes.told) as steps:
            for number in range(BATCH_MESSAGES_MAX):
                writes.write(number, signal(number))
            await writer.drained()

    assert writer.statistics().commits == 1
    assert len(writes.seqs) == BATCH_MESSAGES_MAX
    assert steps.widest == TOLD


async def test_what_comes_meanwhile_is_committed_together_and_seqs_are_right(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """A thousand writes in a few commits; each is told the sequence where it stands."""
    async with writing(transport, entropy) as (writer, writes):
        for number in range(1_000):
            writes.write(number, signal(number))
        await writer.drained()
        async with DirectReader(transport, "MAIL") as reader:
            stored = await reader.subject("movant.mail.*.a.>")

    assert writer.statistics().commits <= 1_000 // BATCH_MESSAGES_MAX + 2
    assert {each.seq: each.subject.rpartition(".n")[2] for each in stored} == {
        seq: str(number) for number, seq in writes.seqs.items()
    }


async def test_a_wrong_sequence_singles_out_the_one(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """The others of its batch are stored; it alone is told AlreadyExistsError."""
    partitions = 64
    async with writing(transport, entropy) as (writer, writes):
        writes.write(0, signal(0, "taken"))
        await writer.drained()
        for number in range(1, 21):
            instance = "taken" if number == 10 else f"i{number}"
            lines = first_of(instance, partitions)
            writes.write(number, Outgoing(f"movant.to.{instance}.start.w", b"1", lines))
        await writer.drained()

    assert set(writes.errors) == {10}
    assert isinstance(writes.errors[10], AlreadyExistsError)
    assert len(writes.seqs) == 20
    assert writes.told == 21


async def test_two_firsts_of_one_mailbox_in_one_batch_are_one_and_a_refusal(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """The server checks members of a batch against each other."""
    lines = first_of("b", 64)
    async with writing(transport, entropy) as (writer, writes):
        for number in range(4):
            writes.write(number, signal(number, "other"))
        writes.write(10, Outgoing("movant.to.b.start.w", b"1", lines))
        writes.write(11, Outgoing("movant.to.b.start.v", b"1", lines))
        await writer.drained()

    assert set(writes.seqs) == {0, 1, 2, 3, 10}
    assert isinstance(writes.errors[11], AlreadyExistsError)


async def test_what_is_too_large_is_refused_and_stops_nobody(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """Above the server's limit: a refusal, alone and in the middle of a batch."""
    async with writing(transport, entropy) as (writer, writes):
        writes.write(0, signal(0, payload=b"x" * 1_100_000))
        writes.write(1, signal(1))
        writes.write(2, signal(2, payload=b"x" * 1_100_000))
        writes.write(3, signal(3))
        await writer.drained()

    assert set(writes.errors) == {0, 2}
    assert all(isinstance(error, RefusedError) for error in writes.errors.values())
    assert set(writes.seqs) == {1, 3}


async def test_what_the_server_refuses_by_its_rules_stops_nobody(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """A header without power there (hazard F1) is refused for good, not tried for ever."""
    async with writing(transport, entropy) as (writer, writes):
        for number in range(5):
            lines = b"Nats-Rollup: all\r\n" if number == 2 else b""
            subject = f"movant.to.a.signal.n{number}"
            writes.write(number, Outgoing(subject, b"1", lines))
        await writer.drained()

    assert set(writes.errors) == {2}
    assert set(writes.seqs) == {0, 1, 3, 4}


async def test_a_server_that_dies_loses_nothing(
    transport: NatsTransport, entropy: SystemEntropy, nats_server: NatsServer
) -> None:
    """Killed three times under load: all is stored; what is stored twice has one number."""
    async with writing(transport, entropy) as (writer, writes):
        for part in range(3):
            for number in range(part * 2_000, (part + 1) * 2_000):
                writes.write(number, signal(number))
            await until(lambda part=part: writes.told > part * 2_000)  # type: ignore[misc] # bound
            nats_server.kill()
            nats_server.start()
        await writer.drained()
        async with DirectReader(transport, "MAIL") as reader:
            stored = await reader.subject("movant.mail.*.a.>")

    assert writes.told == len(writes.seqs) == 6_000
    assert {int(each.subject.rpartition(".n")[2]) for each in stored} == set(range(6_000))
    at = {each.seq: int(each.subject.rpartition(".n")[2]) for each in stored}
    assert all(at[seq] == number for number, seq in writes.seqs.items())


async def test_half_open_batches_of_a_stranger_do_not_stop_the_writer(
    transport: NatsTransport, entropy: SystemEntropy, nats_server: NatsServer
) -> None:
    """Hazard S5: too many batches under way (10210): it writes singly, and all is stored."""
    with Raw(nats_server.url) as raw:
        for number in range(1_100):
            raw.put(
                f"movant.to.stranger.signal.n{number % 10}",
                b"1",
                {"Nats-Batch-Id": f"b{number}", "Nats-Batch-Sequence": "1"},
            )
        raw.sync()
    async with writing(transport, entropy) as (writer, writes):
        for number in range(100):
            writes.write(number, signal(number))
        await writer.drained()

    assert len(writes.seqs) == 100
    assert writer.statistics().singly > 0


async def test_what_is_refused_holds_up_no_other(
    transport: NatsTransport, entropy: SystemEntropy, nats_server: NatsServer
) -> None:
    """One bad write sends a batch singly; those of one mailbox keep their order."""
    with Raw(nats_server.url) as raw:
        raw.put("movant.to.taken.start.x", b"1")
        raw.sync()
    lines = first_of("taken", 64)
    async with writing(transport, entropy) as (writer, writes):
        writes.write(0, Outgoing("movant.to.taken.start.x", b"2", lines))
        for number in range(1, 300):
            writes.write(number, signal(number, instance=f"i{number % 30}"))
        await writer.drained()
        commits = writer.statistics().commits
    boxes = [[writes.seqs[number] for number in range(n or 30, 300, 30)] for n in range(30)]

    assert isinstance(writes.errors[0], AlreadyExistsError)
    assert set(writes.seqs) == set(range(1, 300))
    assert commits == 299
    assert all(box == sorted(box) for box in boxes)


async def test_a_full_queue_says_no(transport: NatsTransport, entropy: SystemEntropy) -> None:
    """Memory stays bounded: the caller has to slow down."""
    writer = StreamWriter(transport, entropy, name="MAIL")
    message = signal(1)
    for _ in range(QUEUE_MAX):
        writer.write(message, lambda _, __: None)

    with pytest.raises(OverloadedError):
        writer.write(message, lambda _, __: None)
