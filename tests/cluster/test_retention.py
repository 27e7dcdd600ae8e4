"""Packs, bundles and purges on three servers, of which the one that leads MAIL dies."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from runtime.config import RetentionConfig
from tests.cluster.conftest import told
from tests.daemon.test_moving import All, Load
from tests.support.cluster import NatsCluster, revived
from tests.support.daemon import daemon, offered
from tests.support.shop import Shop

pytestmark = [pytest.mark.server, pytest.mark.slow]

SETTINGS: dict[str, Any] = {
    "partitions": 4,
    "replicas": 3,
    "retention": RetentionConfig(messages_min=60, chunk=32, busy_max=1.0),
}
WAIT_S = 60.0


def first_seq(cluster: NatsCluster) -> int:
    """Return where MAIL begins."""
    answer = cluster.ask("STREAM.INFO.MAIL")
    assert "state" in answer, told(answer)
    return int(answer["state"]["first_seq"])


async def test_passes_go_on_when_the_leader_of_mail_dies(cluster: NatsCluster) -> None:
    """In the middle of a pass under load: nothing is lost or doubled, and MAIL is purged."""
    load = Load(Shop())
    url = cluster.url
    async with (
        offered(url, load.shop.service),
        daemon(url, name="a", **SETTINGS) as first,
        daemon(url, name="b", **SETTINGS) as second,
    ):
        apis = (All(first.transport), All(second.transport))
        collectors = [each.daemon.parts.collector for each in (first, second)]

        def scanned() -> int:
            return sum(each.statistics().scanned for each in collectors)

        await load.wave(apis[0])
        await load.wave(apis[1])
        with trio.fail_after(WAIT_S):
            while not scanned():
                await trio.sleep(0.01)
        cluster.leader("MAIL").kill()
        with trio.fail_after(WAIT_S):
            await load.settled(apis[0])
        await revived(cluster)
        before = first_seq(cluster)
        with trio.fail_after(WAIT_S):
            while first_seq(cluster) <= before:
                await load.wave(apis[0], ended=20, waiting=0)
                await load.settled(apis[1])
                await trio.sleep(0.2)
        with trio.fail_after(WAIT_S):
            await load.check(*apis)
