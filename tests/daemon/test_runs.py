"""Runs, end to end: what a workflow asks for happens."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_run_asks_its_services_and_ends(nats_server: NatsServer) -> None:
    """Three steps, three effects, one result."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.steps", {"steps": 3}, id="a")

    assert ended["status"] == "completed"
    assert ended["result"] == [0, 1, 2]
    assert shop.keys == ["a/1/s", "a/1/s#2", "a/1/s#3"]
