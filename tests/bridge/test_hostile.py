"""Frames that make a stock client deaf, and what would make the server cut us off.

Each test goes through the real server: what it forwards, we have to survive.
"""

from __future__ import annotations

import pytest
import trio

from protocols.headers import decode
from protocols.ports import Outgoing
from runtime.bridge import BridgeLimits, NatsTransport, connect
from tests.bridge.support import QUICK, Collector, RawClient, ScriptedServer, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


async def assert_answers(transport: NatsTransport, reconnects: int = 0) -> None:
    """Assert that the transport hears, on the connection it had."""
    seen = Collector()
    subject = transport.new_inbox()
    await transport.subscribe(subject, seen)
    transport.publish(Outgoing(subject, b"alive"))
    await until(lambda: seen.frames)
    assert transport.connected
    assert transport.statistics().reconnects == reconnects


async def test_a_subject_that_is_no_utf8_is_delivered_escaped(shared_nats: NatsServer) -> None:
    """Trigger 1: the frame arrives, is counted as bad, and the next one arrives too."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h1.>", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish(b"h1.\xff\xfe", b"bad")
            raw.publish(b"h1.good", b"good")
            raw.sync()
        await until(lambda: len(seen.frames) == 2)

        await assert_answers(transport)
    assert [frame.subject for frame in seen.frames] == ["h1.\\xff\\xfe", "h1.good"]
    assert transport.statistics().bad_frames == 1


async def test_a_reply_subject_that_is_no_utf8_is_delivered_escaped(
    shared_nats: NatsServer,
) -> None:
    """Trigger 2: the same for the reply subject; publishing to it is refused by its form."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h2.>", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish(b"h2.a", b"bad", reply=b"r.\xff")
            raw.sync()
        await until(lambda: seen.frames)

        await assert_answers(transport)
    assert seen.frames[0].reply == "r.\\xff"
    assert transport.statistics().bad_frames == 1


@pytest.mark.parametrize(
    "block",
    [
        b"\r\n\r\n",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0 \r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
        b"NATS/1.0\r\n: \r\n\r\n",
        b"x\r\n\r\n",
    ],
)
async def test_a_broken_header_block_is_delivered_as_it_is(
    shared_nats: NatsServer, block: bytes
) -> None:
    """Trigger 3: headers are raw bytes here; whoever reads them decides."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h3", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish_with_headers(b"h3", block, b"body")
            raw.sync()
        await until(lambda: seen.frames)

        await assert_answers(transport)
    assert seen.frames[0].headers == block
    assert seen.frames[0].payload == b"body"


async def test_a_pong_that_comes_after_its_waiter_gave_up_is_harmless(
    nats_server: NatsServer,
) -> None:
    """Trigger 4: a subscribe gives up while the server is frozen; its PONG comes late."""
    limits = BridgeLimits(watchdog_s=60.0)
    async with connect(nats_server.url, name="test", limits=limits) as transport:
        nats_server.freeze()
        gave_up = False
        while not gave_up:  # a stop takes a moment, so the first may still be answered
            with trio.move_on_after(0.05) as scope:
                (await transport.subscribe("h4", Collector())).unsubscribe()
            gave_up = scope.cancelled_caught
        nats_server.thaw()

        await assert_answers(transport)
        assert transport.statistics().subscriptions == 2


@pytest.mark.parametrize(
    "line", [b"PONG\r\n" * 3, b"+OK\r\n", b"INFO {broken\r\n", b"INFO \xff\r\n", b"-ERR\r\n"]
)
async def test_a_control_line_that_nobody_expects_is_harmless(line: bytes) -> None:
    """A PONG too many ends the read loop of a stock client; here the connection stays."""
    limits = BridgeLimits(watchdog_s=0.05, watchdog_misses_max=1_000, close_s=0.2)
    with ScriptedServer(line + b"MSG x 2 1\r\nx\r\n") as server:
        async with connect(server.url, name="test", limits=limits) as transport:
            await until(lambda: transport.statistics().late_replies == 1)

            assert transport.connected
    assert server.connections == 1


@pytest.mark.parametrize(
    "data", [b"HELLO\r\n", b"MSG x 2\r\n", b"MSG x 2 1\r\nxyz", b"x" * 70_000]
)
async def test_bytes_that_are_no_protocol_lead_to_a_new_connection(data: bytes) -> None:
    """Nothing is guessed about the rest of the stream; the next connection starts clean."""
    with ScriptedServer(data) as server:
        async with connect(server.url, name="test", limits=QUICK) as transport:
            states: list[bool] = []
            transport.on_state(states.append)
            await until(lambda: transport.statistics().reconnects >= 2)

    assert states[:3] == [False, True, False]
    assert server.connections >= 3


async def test_5000_headers_arrive_and_are_judged_malformed(shared_nats: NatsServer) -> None:
    """A huge block costs a copy on the read path and is refused by the reader's limit."""
    lines = b"".join(b"H%d: v\r\n" % number for number in range(5_000))
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h5", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish_with_headers(b"h5", b"NATS/1.0\r\n" + lines + b"\r\n", b"body")
            raw.sync()
        await until(lambda: seen.frames)

        await assert_answers(transport)
    assert len(seen.frames[0].headers) > 40_000
    assert decode(seen.frames[0].headers) is None
    assert seen.frames[0].payload == b"body"


@pytest.mark.parametrize("octet", [0x01, 0x0B, 0x0C, 0x1C, 0x7F, 0x85, 0xA0])
async def test_an_odd_octet_in_a_subject_is_no_protocol_error(
    shared_nats: NatsServer, octet: int
) -> None:
    """What the server takes for a part of a subject, so do we."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h6.>", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish(b"h6.a" + bytes([octet]) + b"b", b"x")
            raw.sync()
        await until(lambda: seen.frames)

        await assert_answers(transport)
    assert seen.payloads == [b"x"]


async def test_a_long_subject_of_somebody_else_is_delivered(shared_nats: NatsServer) -> None:
    """Subjects up to the server's own limit of 4 kB a line can come in."""
    subject = b"h7." + b"s" * 4_000
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h7.>", seen)

        with RawClient(shared_nats.url) as raw:
            raw.publish(subject, b"x")
            raw.sync()
        await until(lambda: seen.frames)

        await assert_answers(transport)
    assert seen.frames[0].subject == subject.decode()


async def test_when_the_server_cuts_us_off_a_new_client_goes_on(shared_nats: NatsServer) -> None:
    """An over-long line on the wire (past our check) closes a stock client for good."""
    async with connect(shared_nats.url, name="test", limits=QUICK) as transport:
        states: list[bool] = []
        transport.on_state(states.append)
        seen = Collector()
        await transport.subscribe("h8", seen)
        link = transport._loop._link
        assert link is not None

        transport._loop.call_soon(lambda: link.write(b"PUB " + b"s" * 5_000 + b" 1\r\nx\r\n"))
        await until(lambda: states == [False, True])
        transport.publish(Outgoing("h8", b"after"))
        await until(lambda: seen.frames)

        await assert_answers(transport, reconnects=1)
        assert transport.statistics().server_errors == 1


async def test_a_forged_no_responders_reaches_only_who_is_asked(shared_nats: NatsServer) -> None:
    """A 503 with a payload, or to a token that is not open, is no verdict."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("h9", seen)
        replies: list[object] = []
        transport.request_soon(Outgoing("h9", b""), 5.0, replies.append)
        await until(lambda: seen.frames)
        asked = seen.frames[0].reply.encode()

        with RawClient(shared_nats.url) as raw:
            raw.publish_with_headers(asked + b"9", b"NATS/1.0 503\r\n\r\n", b"")
            raw.publish_with_headers(asked, b"NATS/1.0 503\r\n\r\n", b"a reply")
            raw.sync()
        await until(lambda: replies)

    assert [getattr(reply, "payload", reply) for reply in replies] == [b"a reply"]
