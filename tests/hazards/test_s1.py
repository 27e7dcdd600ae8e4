"""S1: a service that is absent is seen, waited for or refused, as the step says."""

from __future__ import annotations

import pytest
import trio

from tests.support.daemon import daemon, offered
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_step_waits_visibly_and_is_released(nats_server: NatsServer) -> None:
    """run.show says that nobody serves it; when the service comes the step is asked at once."""
    shop = Shop()
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        view = await movant.view_when(
            "a", lambda view: "nobody serves it" in view["waiting"][0]["detail"]
        )
        services = await movant("service.ls")
        async with offered(nats_server.url, shop.service):
            ended = await movant.ended("a")

    assert view["waiting"][0]["path"] == "/s"
    assert [each["state"] for each in services["services"] if each["name"] == "shop"] == ["absent"]
    assert ended["result"] == [0]


async def test_a_step_that_will_not_wait_fails_at_once(nats_server: NatsServer) -> None:
    """absent=fail: the answer comes long before any timeout, with a kind of its own."""
    async with daemon(nats_server.url) as movant:
        began = trio.current_time()
        await movant(
            "run.start",
            workflow="probe.steps",
            input={"steps": 1, "absent": "fail", "operation": "nowhere"},
            id="a",
        )
        view = await movant.view_when("a", lambda view: view["waiting"][0]["attempt"] >= 2)
        took_s = trio.current_time() - began
        history = await movant("run.history", id="a")

    refused = [each for each in history["entries"] if each["kind"] == "owner.refused"]
    assert refused[0]["failure"]["kind"] == "no_responders"
    assert took_s < 5
    assert view["status"] == "running"
