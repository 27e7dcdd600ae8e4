"""A parked step that leaves memory keeps its time, whatever wakes its run."""

from __future__ import annotations

import pytest
import trio

from actors.owning import passivation
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


async def test_a_service_that_comes_wakes_those_that_left_memory(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before their wakes, which come ever more rarely; an attempt has its whole time."""
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.1)
    monkeypatch.setattr(passivation, "IDLE_S", 0.3)
    shop = Shop()
    async with daemon(nats_server.url) as movant:
        items = [{"id": f"p{n}", "input": {"steps": 1, "timeout_s": 60}} for n in range(300)]
        await movant("run.start_many", workflow="probe.steps", items=items)
        await until(lambda: not movant.daemon.parts.owner.live)
        async with offered(nats_server.url, shop.service):
            await until(lambda: len(shop.keys) == 300, 10)
            states = [
                state.deadline - movant.daemon.clock.monotonic()
                for actor in movant.daemon.parts.owner.live.values()
                for state in actor.asks.values()
            ]
            for number in range(0, 300, 50):
                await movant.ended(f"p{number}")
        waking = movant.daemon.parts.owner.passivation.wakes

    assert all(left > 30 for left in states)
    assert waking >= 300
    assert shop.doubled == []


async def test_wakes_of_a_parked_run_come_ever_more_rarely(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that stays away for days must not fill the mailboxes that wait for it."""
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.05)
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    monkeypatch.setattr(passivation, "EVERY_S", 0.05)
    monkeypatch.setattr(passivation, "WAKE_MIN_S", 0.1)
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 0.1)
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        await trio.sleep(4)
        history = await movant("run.history", id="a")

    wakes = [each["at"] for each in history["entries"] if each["kind"] == "wake"]
    assert 3 <= len(wakes) <= 6
    assert wakes[-1] - wakes[-2] > 1.5 * (wakes[1] - wakes[0])
