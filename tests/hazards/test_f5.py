"""F5: a former owner stops, and what it writes afterwards is void."""

from __future__ import annotations

import msgspec
import pytest

from actors.partitions import FencedError
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_second_daemon_fences_the_first(nats_server: NatsServer) -> None:
    """The first reads the higher marker and stops; the second goes on with the runs."""
    async with daemon(nats_server.url, name="first") as first:
        await first("run.start", workflow="probe.signals", input=1, id="a")
        async with daemon(nats_server.url, name="second") as second:
            await until(lambda: first.error)
            await second("run.signal", id="a", name="go", data=1)
            ended = await second.ended("a")

    assert isinstance(first.error, FencedError)
    assert ended["result"] == [1]


async def test_a_decision_of_a_former_epoch_is_void(nats_server: NatsServer) -> None:
    """A refusal that stands behind a higher marker fails no attempt, now and after a restart."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        decision = {
            "epoch": 0,
            "step": "s",
            "attempt": 1,
            "failure": {"kind": "refused", "message": "stale", "retryable": False},
        }
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.owner.refused", msgspec.json.encode(decision))
        await until(lambda: movant.daemon.parts.owner.statistics().void)
        before = await movant("run.show", id="a")
        movant.crash()
        shop.hold.set()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.ended("a")

    assert before["status"] == "running"
    assert ended["status"] == "completed"
