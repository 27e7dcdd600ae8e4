"""One client and three servers: any of them may be dead, frozen or lost."""

from __future__ import annotations

import pytest
import trio

from protocols.errors import UnknownOutcomeError
from protocols.ports import Outgoing
from runtime.bridge import BridgeLimits, connect
from runtime.bridge.client import shown
from tests.bridge.support import QUICK, Collector, Told, until
from tests.support.cluster import NatsCluster

pytestmark = pytest.mark.server


async def test_a_dead_or_frozen_first_server_does_not_hinder_the_first_connection(
    cluster: NatsCluster,
) -> None:
    """The frozen one takes its share of the time, the dead one none."""
    first, second, third = cluster.nodes
    first.freeze()
    second.kill()

    began = trio.current_time()
    async with connect(cluster.url, name="test", limits=BridgeLimits(connect_s=3.0)) as transport:
        server = transport.statistics().server
    took_s = trio.current_time() - began
    cluster.revive()

    assert server == shown(third.url)
    assert took_s < 3.0


async def test_a_lost_server_is_replaced_by_the_next_one_at_once(cluster: NatsCluster) -> None:
    """Subscriptions stand there; the open request is told that nobody knows."""
    async with connect(cluster.url, name="test", limits=BridgeLimits()) as transport:
        seen, told = Collector(), Told()
        await transport.subscribe("k1", seen)
        transport.request_soon(Outgoing("k1", b"asked"), 60.0, told)
        await until(lambda: seen.frames)

        began = trio.current_time()
        cluster.nodes[0].kill()
        await until(lambda: transport.statistics().server != shown(cluster.urls[0]))
        took_s = trio.current_time() - began
        transport.publish(Outgoing("k1", b"back"))
        await until(lambda: len(seen.frames) == 2)
        server = transport.statistics().server
    await trio.to_thread.run_sync(cluster.revive)

    assert server == shown(cluster.urls[1])
    assert took_s < 2.0
    assert [type(answer) for answer in told.answers] == [UnknownOutcomeError]


async def test_servers_that_were_not_named_are_learned(cluster: NatsCluster) -> None:
    """Whoever knows one node finds the others when it is gone."""
    first = cluster.nodes[0]
    async with connect(first.url, name="test", limits=QUICK) as transport:
        first.kill()
        await until(lambda: transport.statistics().server != shown(first.url))
        server = transport.statistics().server
    await trio.to_thread.run_sync(cluster.revive)

    assert server in {shown(each) for each in cluster.urls[1:]}
