"""Kill, freeze and restart the server; let trio fall behind. Nothing hangs, nothing is guessed."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import trio

from protocols.errors import DisconnectedError, OverloadedError, UnknownOutcomeError
from protocols.ports import Frame, Outgoing
from runtime.bridge import BridgeLimits, connect
from tests.bridge.support import QUICK, WAIT_S, Collector, RawClient, Told, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


async def test_a_killed_server_is_noticed_and_its_restart_found(nats_server: NatsServer) -> None:
    """Open requests are told unknown at once, publishes refused, subscriptions live again."""
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        states: list[bool] = []
        transport.on_state(states.append)
        seen, told, late = Collector(), Told(), Told()
        await transport.subscribe("k1", seen)
        transport.request_soon(Outgoing("k1", b"asked"), 60.0, told)
        await until(lambda: seen.frames)

        nats_server.kill()
        await until(lambda: told.answers)
        connected_after = transport.connected
        with pytest.raises(DisconnectedError):
            transport.publish(Outgoing("k1", b"lost"))
        with pytest.raises(DisconnectedError):
            await transport.request(Outgoing("k1", b"lost"), 1.0)
        transport.request_soon(Outgoing("k1", b"lost"), 1.0, late)
        assert late.answers == []
        await until(lambda: late.answers)
        nats_server.start()
        await until(lambda: transport.connected)
        transport.publish(Outgoing("k1", b"back"))
        await until(lambda: len(seen.frames) == 2)

    assert not connected_after
    assert [type(answer) for answer in told.answers] == [UnknownOutcomeError]
    assert [type(answer) for answer in late.answers] == [DisconnectedError]
    assert seen.payloads == [b"asked", b"back"]
    assert states == [False, True]
    assert transport.statistics().reconnects == 1


async def test_a_subscription_made_while_the_server_is_away_stands_when_it_is_back(
    nats_server: NatsServer,
) -> None:
    """Subscribing waits for the connection; who does not want to wait cancels."""
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        seen = Collector()
        nats_server.kill()
        await until(lambda: not transport.connected)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.subscribe, "k2", seen)
            with trio.move_on_after(0.02):
                await transport.subscribe("k2", Collector())
            nats_server.start()
        await until(lambda: transport.connected)
        transport.publish(Outgoing("k2", b"x"))
        await until(lambda: seen.frames)

        assert transport.statistics().subscriptions == 2


async def test_a_frozen_server_is_noticed_by_the_watchdog(nats_server: NatsServer) -> None:
    """The connection stays open and says nothing: two probes miss, then it is given up."""
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        told = Told()
        await transport.subscribe("k3", Collector())
        transport.request_soon(Outgoing("k3", b""), 60.0, told)
        nats_server.freeze()

        await until(lambda: not transport.connected)
        missed = transport.statistics().watchdog_misses
        nats_server.thaw()
        await until(lambda: transport.connected)

    assert missed == 2
    assert [type(answer) for answer in told.answers] == [UnknownOutcomeError]


async def test_what_waits_for_a_frozen_server_is_bounded_and_told_truly(
    nats_server: NatsServer,
) -> None:
    """The socket is full: the queue refuses, and what never left is told as not sent."""
    limits = BridgeLimits(
        connect_s=1.0,
        watchdog_s=0.15,
        reconnect_s_min=0.02,
        reconnect_s_max=0.1,
        outgoing_bytes_max=4_000_000,
    )
    async with connect(nats_server.url, name="test", limits=limits) as transport:
        await transport.subscribe("k4.never", Collector())
        nats_server.freeze()
        told = Told()
        asked = 0
        link = transport._loop._link
        assert link is not None
        full = False
        with trio.fail_after(WAIT_S):
            while not (full and link.paused):
                try:
                    transport.request_soon(Outgoing("k4.never", b"x" * 100_000), 60.0, told)
                    asked += 1
                    full = False
                except OverloadedError:
                    full = True
                    await trio.sleep(0.001)
        waiting_bytes = transport.statistics().outgoing_bytes

        await until(lambda: len(told.answers) == asked)
        left_bytes = transport.statistics().outgoing_bytes
        nats_server.thaw()
        await until(lambda: transport.connected)

    kinds = [type(answer) for answer in told.answers]
    assert waiting_bytes <= limits.outgoing_bytes_max
    assert left_bytes == 0
    assert kinds[0] is UnknownOutcomeError
    assert kinds[-1] is DisconnectedError
    assert kinds == sorted(kinds, key=lambda kind: kind is DisconnectedError)


async def test_nothing_is_sent_after_the_caller_was_told_it_was_not(
    nats_server: NatsServer,
) -> None:
    """What was queued for one connection is never sent on the next."""
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        seen = Collector()
        await transport.subscribe("k5.>", seen)
        told = Told()
        nats_server.restart()
        # Trio stands still until the next connection is there: it still believes in the first.
        deadline = trio.current_time() + WAIT_S
        while not transport.statistics().reconnects:
            assert trio.current_time() < deadline
        assert transport.connected
        for number in range(100):
            transport.publish(Outgoing("k5.lost", b"%d" % number))
        transport.request_soon(Outgoing("k5.lost", b""), 60.0, told)
        await until(lambda: told.answers)
        await until(lambda: transport.connected)

        transport.publish(Outgoing("k5.new", b"x"))
        await until(lambda: seen.frames)

    assert [type(answer) for answer in told.answers] == [DisconnectedError]
    assert [frame.subject for frame in seen.frames] == ["k5.new"]


async def test_when_trio_falls_behind_the_socket_is_not_read_and_nothing_is_lost(
    nats_server: NatsServer,
) -> None:
    """Memory stays bounded while trio stands still; all frames come, in order, afterwards."""
    count = 60_000
    limits = BridgeLimits(incoming_frames_max=2_000)
    held: list[int] = []

    async with connect(nats_server.url, name="test", limits=limits) as transport:
        seen = Collector()

        def slow(frames: Sequence[Frame]) -> None:
            if not seen.frames:
                # Trio stands still here until the other thread has stopped to read.
                deadline = trio.current_time() + WAIT_S
                while not transport.statistics().reading_pauses:
                    assert trio.current_time() < deadline
                while trio.current_time() < deadline - WAIT_S + 0.3:
                    held.append(transport.statistics().incoming_frames)
            seen(frames)

        await transport.subscribe("k6", slow)
        with RawClient(nats_server.url) as raw:
            flood = b"".join(b"PUB k6 200\r\n%0200d\r\n" % number for number in range(count))
            await trio.to_thread.run_sync(raw.send, flood)
        await until(lambda: len(seen.frames) >= count)
        statistics = transport.statistics()

    assert [int(payload) for payload in seen.payloads] == list(range(count))
    assert limits.incoming_frames_max < max(held) < limits.incoming_frames_max + 4_000
    assert statistics.reconnects == 0
    assert statistics.incoming_frames == 0


async def test_a_standstill_of_trio_longer_than_the_watchdog_is_no_deafness(
    nats_server: NatsServer,
) -> None:
    """While we do not read ourselves, missing probes prove nothing."""
    limits = BridgeLimits(incoming_frames_max=100, watchdog_s=0.02)
    async with connect(nats_server.url, name="test", limits=limits) as transport:
        seen = Collector()

        def slow(frames: Sequence[Frame]) -> None:
            if not seen.frames:
                until_s = trio.current_time() + 0.3
                while trio.current_time() < until_s:
                    pass  # trio stands still for fifteen beats of the watchdog
            seen(frames)

        await transport.subscribe("k7", slow)
        with RawClient(nats_server.url) as raw:
            raw.send(b"PUB k7 1\r\nx\r\n" * 10_000)
            raw.sync()
        await until(lambda: len(seen.frames) == 10_000)
        await trio.sleep(0.05)  # a verdict would fall within two beats

        assert transport.connected
        assert transport.statistics().reading_pauses
        assert transport.statistics().reconnects == 0


async def test_a_server_that_wants_signs_of_life_gets_them_while_trio_stands_still(
    nats_binary: str,
) -> None:
    """Its PING is not read for longer than it waits for the answer: ours is enough."""
    limits = BridgeLimits(incoming_frames_max=100, watchdog_s=0.05)
    impatient = 'ping_interval: "200ms"\nping_max: 1\ndebug: true'
    with NatsServer(nats_binary, extra=impatient) as server:
        async with connect(server.url, name="test", limits=limits) as transport:
            seen = Collector()

            def slow(frames: Sequence[Frame]) -> None:
                if not seen.frames:
                    until_s = trio.current_time() + 2.0
                    while trio.current_time() < until_s:
                        time.sleep(0.01)  # noqa: TID251 - trio stands still, the server waits
                seen(frames)

            await transport.subscribe("k8", slow)
            with RawClient(server.url) as raw:
                raw.send(b"PUB k8 1\r\nx\r\n" * 10_000)
                raw.sync()
            await until(lambda: len(seen.frames) == 10_000)
            await trio.sleep(0.3)  # a loss would be told by now

            assert transport.statistics().reading_pauses
            assert transport.statistics().reconnects == 0


async def test_a_bridge_closes_while_the_server_is_away(nats_server: NatsServer) -> None:
    """Closing does not wait for a connection that may never come."""
    with trio.fail_after(2.0):
        async with connect(nats_server.url, name="test", limits=QUICK) as transport:
            nats_server.kill()
            await until(lambda: not transport.connected)

    assert transport._loop.join(0.0)


async def test_a_bridge_closes_while_the_server_is_frozen(nats_server: NatsServer) -> None:
    """The farewell has a limit; the socket is cut even though its buffer is full."""
    limits = BridgeLimits(close_s=0.2, watchdog_s=60.0)
    start = trio.current_time()
    async with connect(nats_server.url, name="test", limits=limits) as transport:
        nats_server.freeze()
        for _ in range(80):
            transport.publish(Outgoing("k9", b"x" * 100_000))
    took_s = trio.current_time() - start

    nats_server.thaw()
    assert transport._loop.join(0.0)
    assert took_s < limits.watchdog_s / 4


async def test_a_defect_in_the_thread_is_told_and_ends_the_bridge(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor hears of it; requests do not wait for a thread that is gone."""
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        told = Told()
        await transport.subscribe("k10", Collector())
        transport.request_soon(Outgoing("k10", b""), 60.0, told)
        monkeypatch.setattr(transport._loop, "_probe", lambda *_: 1 // 0)

        with trio.fail_after(WAIT_S), pytest.raises(Exception, match="division"):
            await transport.wait_failed()

        assert not transport.connected
        assert [type(answer) for answer in told.answers] == [UnknownOutcomeError]
