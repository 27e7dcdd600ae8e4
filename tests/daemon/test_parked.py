"""A parked step that leaves memory keeps its time, whatever wakes its run."""

from __future__ import annotations

import pytest
import trio

from actors import passivation
from tests.support.daemon import daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_signal_to_a_parked_run_does_not_use_up_its_step_s_time(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody served the step, so its first attempt is still to come when the service does."""
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.3)
    monkeypatch.setattr(passivation, "IDLE_S", 0.9)
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 4.0)
    shop = Shop()
    async with daemon(nats_server.url) as movant:
        await movant(
            "run.start", workflow="probe.steps", input={"steps": 1, "timeout_s": 1}, id="a"
        )

        await until(lambda: not movant.daemon.parts.owner.live)
        await trio.sleep(1.2)  # longer than the attempt's time
        await movant("run.signal", id="a", name="hello")
        await until(lambda: movant.daemon.parts.owner.activation.count)
        await trio.sleep(0.6)  # two looks at deadlines
        async with offered(nats_server.url, shop.service):
            ended = await movant.ended("a")
        history = await movant("run.history", id="a")

    assert ended["status"] == "completed"
    assert [each["kind"] for each in history["entries"] if "timeout" in each["kind"]] == []
