"""The transport against a real server: publish, request, subscribe, close."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import trio

from protocols.errors import (
    ConfigurationError,
    DisconnectedError,
    InvalidIdError,
    NoRespondersError,
    OverloadedError,
    OversizedError,
    UnknownOutcomeError,
)
from protocols.headers import decode, encode
from protocols.ports import Frame, Outgoing, Transport
from runtime.bridge import BridgeLimits, NatsTransport, connect
from tests.bridge.support import QUICK, WAIT_S, Collector, RawClient, Told, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


def echo_on(transport: NatsTransport, frames: Sequence[Frame]) -> None:
    """Answer each frame with its own payload."""
    for frame in frames:
        transport.publish(Outgoing(frame.reply, frame.payload))


async def test_a_request_is_answered_by_a_subscriber(shared_nats: NatsServer) -> None:
    """Payload and headers cross both ways; the transport is what the port asks for."""
    async with connect(shared_nats.url, name="test") as transport:
        port: Transport = transport
        seen = Collector()

        def answer(frames: Sequence[Frame]) -> None:
            seen(frames)
            for frame in frames:
                port.publish(Outgoing(frame.reply, b"pong", encode({"B": "2"})))

        await port.subscribe("t1.*", answer)
        reply = await port.request(Outgoing("t1.x", b"ping", encode({"A": "1"})), 2.0)

    assert reply.payload == b"pong"
    assert decode(reply.headers) == {"B": "2"}
    assert seen.frames[0].subject == "t1.x"
    assert decode(seen.frames[0].headers) == {"A": "1"}


async def test_nobody_there_is_told_at_once(shared_nats: NatsServer) -> None:
    """A 503 of the server is NoRespondersError, long before the timeout."""
    async with connect(shared_nats.url, name="test") as transport:
        with trio.fail_after(2), pytest.raises(NoRespondersError):
            await transport.request(Outgoing("t2.nobody", b""), 30.0)


async def test_a_request_without_a_reply_times_out_with_unknown_outcome(
    shared_nats: NatsServer,
) -> None:
    """Each request has its own deadline; the shorter one is told first."""
    async with connect(shared_nats.url, name="test") as transport:
        await transport.subscribe("t3", Collector())
        order: list[str] = []

        def done(name: str, answer: object) -> None:
            assert isinstance(answer, UnknownOutcomeError)
            order.append(name)

        transport.request_soon(Outgoing("t3", b""), 0.15, partial(done, "long"))
        transport.request_soon(Outgoing("t3", b""), 0.05, partial(done, "short"))
        start = trio.current_time()
        await until(lambda: len(order) == 2)
        took_s = trio.current_time() - start

    assert order == ["short", "long"]
    assert took_s >= 0.14
    assert transport.statistics().requests_open == 0


async def test_a_late_reply_disturbs_nobody(shared_nats: NatsServer) -> None:
    """The reply after the timeout is counted and dropped."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("t4", seen)
        with pytest.raises(UnknownOutcomeError):
            await transport.request(Outgoing("t4", b""), 0.03)

        transport.publish(Outgoing(seen.frames[0].reply, b"late"))

        await until(lambda: transport.statistics().late_replies == 1)


async def test_messages_before_a_request_go_first_and_together(shared_nats: NatsServer) -> None:
    """An atomic batch needs its messages in order, with nothing of ours between them."""
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("t5.>", seen)
        told = Told()

        transport.publish(Outgoing("t5.a", b"0"))
        before = [Outgoing("t5.b", b"1"), Outgoing("t5.b", b"2", reply="t5r.x")]
        transport.request_soon(Outgoing("t5.b", b"3"), 1.0, told, before=before)
        transport.publish(Outgoing("t5.a", b"4"))
        await until(lambda: len(seen.frames) == 5)

    assert seen.payloads == [b"0", b"1", b"2", b"3", b"4"]
    assert [bool(frame.reply) for frame in seen.frames] == [False, False, True, True, False]
    assert len(told.answers) == 1


async def test_cancelling_a_request_leaves_nothing_open(shared_nats: NatsServer) -> None:
    """The token is forgotten at once and later requests are answered."""
    async with connect(shared_nats.url, name="test") as transport:
        await transport.subscribe("t6.silent", Collector())
        await transport.subscribe("t6.echo", partial(echo_on, transport))

        with trio.move_on_after(0.03) as scope:
            await transport.request(Outgoing("t6.silent", b""), 30.0)
        open_after = transport.statistics().requests_open
        reply = await transport.request(Outgoing("t6.echo", b"x"), 2.0)

    assert scope.cancelled_caught
    assert open_after == 0
    assert reply.payload == b"x"


async def test_closing_tells_every_open_request(shared_nats: NatsServer) -> None:
    """Nobody waits for ever for an answer that cannot come."""
    told = Told()
    raised: list[BaseException] = []

    async def ask(transport: NatsTransport) -> None:
        with pytest.raises(UnknownOutcomeError) as caught:
            await transport.request(Outgoing("t7", b""), 30.0)
        raised.append(caught.value)

    async with trio.open_nursery() as nursery, connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("t7", seen)
        transport.request_soon(Outgoing("t7", b""), 30.0, told)
        nursery.start_soon(ask, transport)
        await until(lambda: len(seen.frames) == 2)

    assert len(raised) == 1
    assert [type(answer) for answer in told.answers] == [UnknownOutcomeError]


async def test_what_was_published_before_the_close_reaches_the_server(
    shared_nats: NatsServer,
) -> None:
    """Closing flushes: 5,000 messages queued right before the end all arrive."""
    async with connect(shared_nats.url, name="reader") as reader:
        seen = Collector()
        await reader.subscribe("t8", seen)

        async with connect(shared_nats.url, name="writer") as writer:
            for number in range(5_000):
                writer.publish(Outgoing("t8", b"%d" % number))
        await until(lambda: len(seen.frames) == 5_000)

    assert seen.payloads == [b"%d" % number for number in range(5_000)]


async def test_after_the_close_everything_is_refused(shared_nats: NatsServer) -> None:
    """A closed transport says that it is disconnected; it does not hang."""
    async with connect(shared_nats.url, name="test") as transport:
        pass

    assert not transport.connected
    with pytest.raises(DisconnectedError):
        transport.publish(Outgoing("a", b""))
    with pytest.raises(DisconnectedError):
        await transport.request(Outgoing("a", b""), 1.0)
    with pytest.raises(DisconnectedError):
        await transport.subscribe("a", Collector())
    with pytest.raises(DisconnectedError):
        await transport.wait_failed()


async def test_the_block_can_be_cancelled(shared_nats: NatsServer) -> None:
    """Cancellation closes the bridge in good order and ends its thread."""
    with trio.move_on_after(0.05) as scope:
        async with connect(shared_nats.url, name="test") as transport:
            await trio.sleep_forever()

    assert scope.cancelled_caught
    assert transport._loop.join(0.0)


async def test_an_error_in_the_block_comes_out_as_it_is(shared_nats: NatsServer) -> None:
    """The bridge wraps no exception of its user in a group."""
    with pytest.raises(ZeroDivisionError):
        async with connect(shared_nats.url, name="test"):
            raise ZeroDivisionError


async def test_nothing_is_delivered_after_unsubscribe(shared_nats: NatsServer) -> None:
    """Frames under way are dropped; unsubscribing twice is fine."""
    async with connect(shared_nats.url, name="test") as transport:
        first, second = Collector(), Collector()
        subscription = await transport.subscribe("t9", first)
        await transport.subscribe("t9", second)
        transport.publish(Outgoing("t9", b"1"))
        await until(lambda: second.frames)

        subscription.unsubscribe()
        subscription.unsubscribe()
        transport.publish(Outgoing("t9", b"2"))
        await until(lambda: len(second.frames) == 2)

    assert first.payloads == [b"1"]


async def test_a_queue_group_shares_the_messages(shared_nats: NatsServer) -> None:
    """Each message goes to one member of the queue."""
    async with connect(shared_nats.url, name="test") as transport:
        first, second = Collector(), Collector()
        await transport.subscribe("t10", first, queue="q")
        await transport.subscribe("t10", second, queue="q")

        for _ in range(200):
            transport.publish(Outgoing("t10", b"x"))
        await until(lambda: len(first.frames) + len(second.frames) == 200)

    assert first.frames
    assert second.frames


async def test_a_subscription_stands_when_subscribe_returns(shared_nats: NatsServer) -> None:
    """A message that someone else publishes right afterwards is not missed."""
    with RawClient(shared_nats.url) as raw:
        async with connect(shared_nats.url, name="test") as transport:
            seen = Collector()
            for number in range(20):
                subject = transport.new_inbox()
                await transport.subscribe(subject, seen)
                raw.publish(subject.encode(), b"%d" % number)
            await until(lambda: len(seen.frames) == 20)


async def test_a_sink_that_raises_stops_nobody_else(shared_nats: NatsServer) -> None:
    """The defect is logged and counted; other sinks and later frames go on."""

    def broken(_told: object) -> None:
        raise ZeroDivisionError

    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("t12", broken)
        await transport.subscribe("t12", seen)

        transport.publish(Outgoing("t12", b"1"))
        await until(lambda: seen.frames)
        transport.request_soon(Outgoing("t12.nobody", b""), 1.0, broken)
        await until(lambda: transport.statistics().sink_errors == 2)
        transport.publish(Outgoing("t12", b"2"))
        await until(lambda: len(seen.frames) == 2)


async def test_a_full_queue_refuses_and_loses_nothing_it_took(shared_nats: NatsServer) -> None:
    """OverloadedError is explicit; all that was taken before it arrives."""
    limits = BridgeLimits(outgoing_messages_max=100, requests_open_max=10)
    async with connect(shared_nats.url, name="test", limits=limits) as transport:
        seen = Collector()
        await transport.subscribe("t13", seen)
        taken = 0

        def flood() -> None:
            nonlocal taken
            while True:
                transport.publish(Outgoing("t13", b"x" * 4096))
                taken += 1

        with pytest.raises(OverloadedError):
            flood()
        with pytest.raises(OverloadedError):
            transport.request_soon(Outgoing("t13", b""), 1.0, Told())
        await until(lambda: len(seen.frames) == taken)
        for _ in range(10):
            transport.request_soon(Outgoing("t13", b""), 9.0, Told())
        with pytest.raises(OverloadedError):
            transport.request_soon(Outgoing("t13", b""), 9.0, Told())

    assert taken >= 100


async def test_the_limits_of_the_server_are_known(shared_nats: NatsServer) -> None:
    """What the server would cut the connection for is refused here."""
    async with connect(shared_nats.url, name="test") as transport:
        assert transport.payload_bytes_max == 1_048_576
        with pytest.raises(OversizedError):
            transport.publish(Outgoing("t14", b"x" * 1_048_577))
        with pytest.raises(InvalidIdError):
            await transport.subscribe("t14\r\nPUB x 0\r\n", Collector())
        with pytest.raises(InvalidIdError):
            transport.request_soon(Outgoing("t14 x", b""), 1.0, Told())

        assert transport.statistics().requests_open == 0


async def test_the_largest_payload_crosses_both_ways(shared_nats: NatsServer) -> None:
    """A frame that comes in many reads is put together."""
    payload = bytes(range(256)) * 4096
    async with connect(shared_nats.url, name="test") as transport:
        await transport.subscribe("t15", partial(echo_on, transport))

        reply = await transport.request(Outgoing("t15", payload), WAIT_S)

    assert reply.payload == payload


async def test_another_thread_may_not_use_the_transport(shared_nats: NatsServer) -> None:
    """The bridge belongs to the trio thread; misuse is an assertion, not a race."""
    async with connect(shared_nats.url, name="test") as transport:
        with pytest.raises(AssertionError, match="trio only"):
            await trio.to_thread.run_sync(transport.publish, Outgoing("t16", b""))


async def test_statistics_count_what_crossed(shared_nats: NatsServer) -> None:
    """Counters, pending figures and the round trip time of the probe are there."""
    async with connect(shared_nats.url, name="test", limits=QUICK) as transport:
        await transport.subscribe("t17", partial(echo_on, transport))
        before = transport.statistics()
        for _ in range(10):
            await transport.request(Outgoing("t17", b"x"), 2.0)
        await until(lambda: transport.statistics().rtt_s > 0)
        # A probe may be under way at any moment; between two nothing is pending.
        await until(lambda: transport.statistics().incoming_frames == 0)
        after = transport.statistics()

    assert after.connected
    assert after.server == shared_nats.url.removeprefix("nats://")
    assert after.frames_out - before.frames_out == 20
    assert after.frames_in - before.frames_in >= 20
    assert after.bytes_out > before.bytes_out
    assert after.outgoing_messages == after.requests_open == 0


async def test_inboxes_are_fresh_and_private(shared_nats: NatsServer) -> None:
    """No two are equal and none is taken for a reply to a request."""
    async with connect(shared_nats.url, name="test", inbox_prefix="_INBOX.mine") as transport:
        inboxes = {transport.new_inbox() for _ in range(100)}
        seen = Collector()
        subject = transport.new_inbox()
        await transport.subscribe(subject, seen)
        transport.publish(Outgoing(subject, b"x"))
        await until(lambda: seen.frames)

    assert len(inboxes) == 100
    assert subject.startswith("_INBOX.mine.")
    assert transport.statistics().late_replies == 0


async def test_a_server_that_is_not_there_is_said_so() -> None:
    """The first connection has a limit; the message names host and port, not the password."""
    with pytest.raises(DisconnectedError, match=r"127\.0\.0\.1:1") as caught:
        async with connect("nats://me:secret@127.0.0.1:1", name="test", limits=QUICK):
            pass

    assert "secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("url", ["ws://127.0.0.1:80", "http://x", "nats://", []])
async def test_a_wrong_url_is_refused(url: str | list[str]) -> None:
    """A setting that cannot work is told before anything starts."""
    with pytest.raises(ConfigurationError):
        async with connect(url, name="test"):
            pass


async def test_the_second_server_is_used_when_the_first_is_away(shared_nats: NatsServer) -> None:
    """Several URLs are tried in turn."""
    urls = ["nats://127.0.0.1:1", shared_nats.url]
    async with connect(urls, name="test", limits=QUICK) as transport:
        assert transport.connected


async def test_what_is_perishable_is_dropped_when_it_may_not_be_written_any_more(
    shared_nats: NatsServer,
) -> None:
    """A process that was frozen for long does not send what it had in its queues; all else is."""
    fresh = True
    async with connect(shared_nats.url, name="test") as transport:
        seen = Collector()
        await transport.subscribe("t9.*", seen)
        transport.keep_fresh(lambda: fresh)
        transport.publish(Outgoing("t9.a", b"1"), perishable=True)
        await until(lambda: len(seen.frames) == 1)
        fresh = False
        for _ in range(3_000):  # more than one portion of nothing else
            transport.publish(Outgoing("t9.b", b"2"), perishable=True)
        transport.publish(Outgoing("t9.c", b"3"))
        await until(lambda: len(seen.frames) == 2)

    assert [each.payload for each in seen.frames] == [b"1", b"3"]
