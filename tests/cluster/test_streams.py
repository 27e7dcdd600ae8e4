"""Streams with three replicas: made, checked, written in batches, compared and set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from actors.store import streams
from actors.store.kv import Kv
from actors.store.stream_writer import StreamWriter
from protocols.errors import AlreadyExistsError, ConfigurationError, MovantError
from protocols.ports import Outgoing
from runtime.bridge import NatsTransport, connect
from runtime.clock import SystemEntropy
from tests.support.cluster import NatsCluster

pytestmark = pytest.mark.server

WANTED = streams.wanted(partitions=4, replicas=3)


@asynccontextmanager
async def _connected(cluster: NatsCluster) -> AsyncIterator[NatsTransport]:
    async with connect(cluster.url, name="test") as transport:
        yield transport


async def test_all_streams_have_three_replicas(cluster: NatsCluster) -> None:
    """Several daemons may make them at once; a second look finds nothing to complain about."""
    async with _connected(cluster) as transport:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(streams.ensure, transport, WANTED)
        await streams.ensure(transport, WANTED)
    copies = {each["name"]: 1 + len(cluster.state(each["name"])["replicas"]) for each in WANTED}

    assert set(copies.values()) == {3}


async def test_another_number_of_replicas_is_refused(cluster: NatsCluster) -> None:
    """Whoever meant one copy must not believe that there are three, nor the other way round."""
    async with _connected(cluster) as transport:
        await streams.ensure(transport, WANTED[:1])

        with pytest.raises(ConfigurationError, match="num_replicas is 3, not 1"):
            await streams.ensure(transport, streams.wanted(partitions=4, replicas=1)[:1])


async def test_a_compare_and_set_has_one_winner(cluster: NatsCluster) -> None:
    """At once from three servers: a write that is under way is waited for, then compared."""
    async with _connected(cluster) as transport:
        await streams.ensure(transport, WANTED)
    won: list[int] = []
    lost: list[int] = []

    async def race(url: str, number: int) -> None:
        async with connect(url, name="racer") as transport:
            kv = Kv(transport, "movant_leases")
            for key in range(20):
                try:
                    await kv.put(f"key-{key}", b"%d" % number, revision=0)
                except AlreadyExistsError:
                    lost.append(key)
                else:
                    won.append(key)

    async with trio.open_nursery() as nursery:
        for number, url in enumerate(cluster.urls):
            nursery.start_soon(race, url, number)

    assert sorted(won) == list(range(20))
    assert len(lost) == 40


async def test_batches_are_whole_and_in_order_over_a_change_of_the_leader(
    cluster: NatsCluster,
) -> None:
    """The same bytes again until they are stored: repeats may stand there, gaps may not."""
    count = 3_000
    told: list[int] = []

    def written(seq: int, error: MovantError | None) -> None:
        assert error is None, error
        told.append(seq)

    async with _connected(cluster) as transport, trio.open_nursery() as nursery:
        await streams.ensure(transport, WANTED)
        writer = StreamWriter(transport, SystemEntropy(), name="MAIL")
        await nursery.start(writer.run)
        for number in range(count):
            writer.write(Outgoing(f"movant.to.a{number % 5}.signal.n", b"%d" % number), written)
            if number == count // 2:
                await trio.sleep(0.05)
                await trio.to_thread.run_sync(cluster.ask, "STREAM.LEADER.STEPDOWN.MAIL")
            if number % 50 == 0:
                await trio.sleep(0.002)
        with trio.fail_after(30.0):
            await writer.drained()
        nursery.cancel_scope.cancel()
    state = cluster.ask("STREAM.INFO.MAIL")["state"]

    assert len(told) == count
    assert told == sorted(told)
    assert state["messages"] >= count
    assert state["last_seq"] - state["first_seq"] + 1 == state["messages"]
