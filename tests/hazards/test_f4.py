"""F4 and F6: one key for every attempt and every re-ask of a step."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_attempts_after_timeouts_have_one_key(nats_server: NatsServer) -> None:
    """The attempt's number travels beside the key, so the service can see the repeat."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant(
            "run.start",
            workflow="probe.retry",
            input={"operation": "slow", "attempts": 3, "timeout_s": 0.2},
            id="a",
        )
        await movant.view_when("a", lambda view: view["waiting"][0]["attempt"] == 3)
        shop.hold.set()
        ended = await movant.ended("a")

    assert ended["status"] == "completed"
    assert {call.key for call in shop.calls} == {"a/1/s"}
    assert shop.keys == ["a/1/s"]


async def test_a_request_asked_again_has_its_key_and_one_effect(nats_server: NatsServer) -> None:
    """A re-ask is no new attempt: same key, same number, one effect."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        nats_server.kill()
        nats_server.start()
        requests = movant.daemon.parts.requests
        await until(lambda: requests.reasked)
        shop.hold.set()
        ended = await movant.ended("a")

    assert ended["status"] == "completed"
    assert shop.keys == ["a/1/s"]
    assert [call.attempt for call in shop.calls] == [1]
