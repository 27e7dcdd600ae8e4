"""StreamReader against the real server: in order, no gap, no repeat, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from actors.owning.letters import Delivery
from actors.store.stream_reader import StreamReader
from protocols.ports import Outgoing
from runtime.bridge import NatsTransport
from runtime.clock import SystemEntropy
from tests.support.daemon import until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

MANY = 20_000


class Taker:
    """Takes deliveries; ``room`` is what it asks for."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.taken: list[Delivery] = []
        self.room = room

    def take(self, batch: list[Delivery]) -> None:
        """Keep a batch."""
        self.taken += batch

    def demand(self) -> int:
        """Return how many more there is room for."""
        return self.room - len(self.taken)

    @property
    def seqs(self) -> list[int]:
        """The sequences so far."""
        return [each.seq for each in self.taken]


@asynccontextmanager
async def reading(
    transport: NatsTransport, taker: Taker, *, after: int = 0, **more: Any
) -> AsyncIterator[StreamReader]:
    """Read MAIL into a taker."""
    reader = StreamReader(
        transport,
        SystemEntropy(),
        stream="MAIL",
        after=after,
        sink=taker.take,
        demand=taker.demand,
        **more,
    )
    told = list(transport._state_told)
    async with trio.open_nursery() as nursery:
        if "missing" in more:  # it has begun when nothing is missing
            nursery.start_soon(reader.run)
        else:
            await nursery.start(reader.run)
        yield reader
        nursery.cancel_scope.cancel()
    assert transport._state_told == told


def publish(raw: Raw, count: int) -> None:
    """Publish so many messages to many mailboxes."""
    raw.send(b"".join(b"PUB movant.to.a%d.signal.go 1\r\n1\r\n" % (n % 100) for n in range(count)))
    raw.sync()


async def test_all_is_read_in_order_from_any_position(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """What is there and what comes, once each."""
    first, second = Taker(), Taker()
    with Raw(nats_server.url) as raw:
        publish(raw, 500)
        await until(lambda: raw.messages("MAIL") == 500)
        async with reading(transport, first), reading(transport, second, after=300):
            publish(raw, 500)
            await until(lambda: len(first.taken) >= 1_000 and len(second.taken) >= 700)

    assert first.seqs == list(range(1, 1_001))
    assert second.seqs == list(range(301, 1_001))
    assert all(each.at > 1_700_000_000 * 10**9 for each in first.taken)


async def test_what_was_purged_is_not_passed_over_without_a_word(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """The taker is told where the stream begins; it is read on when he does without the rest."""
    taker = Taker()
    told: list[int] = []
    with Raw(nats_server.url) as raw:
        publish(raw, 20)
        await until(lambda: raw.messages("MAIL") == 20)
        raw.ask("$JS.API.STREAM.PURGE.MAIL", b'{"seq":11}')
        async with reading(transport, taker, after=5, missing=told.append) as reader:
            await until(lambda: told)
            before = taker.seqs
            reader.pass_over(told[0])
            await until(lambda: len(taker.taken) >= 10)

    assert before == []
    assert set(told) == {11}
    assert taker.seqs == list(range(11, 21))


async def test_the_end_of_a_purged_stream_is_no_gap(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """Everything was read, and is gone: what comes next is the next."""
    taker = Taker()
    told: list[int] = []
    with Raw(nats_server.url) as raw:
        publish(raw, 20)
        await until(lambda: raw.messages("MAIL") == 20)
        raw.ask("$JS.API.STREAM.PURGE.MAIL")
        async with reading(transport, taker, after=20, missing=told.append):
            publish(raw, 5)
            await until(lambda: len(taker.taken) >= 5)

    assert told == []
    assert taker.seqs == list(range(21, 26))


async def test_nothing_is_handed_on_while_the_taker_is_not_ready(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """What came meanwhile is read again, from a new consumer, once and in order."""
    taker = Taker()
    is_ready = True
    async with reading(transport, taker, ready=lambda: is_ready) as reader:
        with Raw(nats_server.url) as raw:
            publish(raw, 10)
            await until(lambda: len(taker.taken) == 10)
            is_ready = False
            publish(raw, 10)
            await until(reader._restart.is_set)
            publish(raw, 10)
            await until(lambda: raw.messages("MAIL") == 30)
            before = len(taker.taken)
            is_ready = True
            await until(lambda: len(taker.taken) >= 30)

    assert before == 10
    assert taker.seqs == list(range(1, 31))
    assert reader.statistics().consumers == 2


async def test_consumers_connections_and_servers_may_vanish(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """20,000 messages while consumers are deleted and the server is killed: no gap, no repeat."""
    taker = Taker()
    async with reading(transport, taker) as reader:
        for part in range(1, 5):
            with Raw(nats_server.url) as raw:
                publish(raw, MANY // 4)
                await until(lambda part=part: len(taker.taken) > (part - 1) * MANY // 4)  # type: ignore[misc] # bound
                names = raw.ask("$JS.API.CONSUMER.NAMES.MAIL")["consumers"]
                if part % 2:
                    for name in names:
                        raw.ask(f"$JS.API.CONSUMER.DELETE.MAIL.{name}")
                await until(lambda part=part: raw.messages("MAIL") == part * MANY // 4)  # type: ignore[misc] # bound
            if part % 2 == 0:
                nats_server.kill()
                nats_server.start()
        await until(lambda: len(taker.taken) >= MANY)

    assert taker.seqs == list(range(1, MANY + 1))
    assert reader.statistics().consumers >= 4


async def test_nothing_is_asked_for_beyond_the_demand(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """A taker without room gets no more; when room has come back, the rest."""
    taker = Taker(room=100)
    async with reading(transport, taker) as reader:
        with Raw(nats_server.url) as raw:
            publish(raw, 1_000)
            await until(lambda: raw.messages("MAIL") == 1_000)
        await until(lambda: len(taker.taken) >= 100)
        stopped = len(taker.taken)
        taker.room = 1_000
        reader.refill()
        await until(lambda: len(taker.taken) == 1_000)

    assert stopped == 100
    assert taker.seqs == list(range(1, 1_001))


async def test_poison_passes(transport: NatsTransport, nats_server: NatsServer) -> None:
    """Subjects and headers that are none are delivered, and so is what stands behind them."""
    taker = Taker()
    with Raw(nats_server.url) as raw:
        raw.publish(b"movant.to.\xff\xfe.signal.go", b"1")
        raw.publish(b"movant.to.a.signal.go", b"1", reply=b"\xff")
        raw.publish_with_headers(b"movant.to.a.signal.go", b"\r\n\r\n", b"1")
        raw.publish_with_headers(b"movant.to.a.signal.go", b"NATS/1.0 503\r\n\r\n", b"")
        raw.publish_with_headers(b"movant.to.a.signal.go", b"NATS/1.0 409 gone\r\n\r\n", b"")
        raw.publish(b"movant.to.a.signal.last", b"1")
    async with reading(transport, taker) as reader:
        await until(lambda: len(taker.taken) == 6)

    assert taker.seqs == [1, 2, 3, 4, 5, 6]
    assert reader.statistics().gaps == 0


async def test_a_reader_that_was_stopped_stays_so(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """A drain takes nothing more, not even after a lost connection."""
    taker, witness = Taker(), Taker()
    async with reading(transport, taker) as reader, reading(transport, witness):
        reader.stop()
        nats_server.kill()
        nats_server.start()
        await until(lambda: transport.connected)
        with Raw(nats_server.url) as raw:
            publish(raw, 100)
        await until(lambda: len(witness.taken) == 100)
        for name in await consumers(transport):
            await transport.request(Outgoing(f"$JS.API.CONSUMER.DELETE.MAIL.{name}", b""), 2)
        with Raw(nats_server.url) as raw:
            publish(raw, 100)
        await until(lambda: len(witness.taken) == 200)
        left = await consumers(transport)

    assert taker.taken == []
    assert reader.position == 0
    assert len(left) == 1


async def consumers(transport: NatsTransport) -> list[str]:
    """Return the names of MAIL's consumers."""
    answer = await transport.request(Outgoing("$JS.API.CONSUMER.NAMES.MAIL", b""), 2)
    found: list[str] = msgspec.json.decode(answer.payload)["consumers"]
    return found
