"""S9: replies need their token; a firing counts only when it is due."""

from __future__ import annotations

import pytest

from protocols.subjects import partition_of
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_forged_token_is_a_dead_letter(nats_server: NatsServer) -> None:
    """The step goes on waiting for the right one."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.reply.s.1.0000-000000000000", b'"forged"')
            await until(lambda: raw.stored("DEAD", "movant.dead.token"))
        shop.hold.set()
        ended = await movant.ended("a")

    assert ended["result"] is None


async def test_a_firing_before_its_time_is_ignored(nats_server: NatsServer) -> None:
    """Whoever writes one wakes nobody; the timer is armed again and fires when it is due."""
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.sleep", input=1.0, id="a")
        view = await movant.waits("a", "timer")
        with Raw(nats_server.url) as raw:
            partition = partition_of("a", 64)
            raw.put(f"movant.fired.{partition}.a.sleep", b"{}")
            raw.put("movant.to.a.timer.sleep", b"{}")
            early = await movant.view_when("a", lambda view: view["counters"]["early"] >= 2)
        ended = await movant.ended("a")

    assert early["status"] == "running"
    assert ended["result"] == "awake"
    assert ended["finished_at"] >= view["waiting"][0]["due"]


async def test_a_timeout_that_the_server_finds_early_is_decided_again(
    nats_server: NatsServer,
) -> None:
    """A clock that is ahead: the fold does not count it, and later the attempt is given up."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        requests = movant.daemon.parts.requests
        await movant(
            "run.start",
            workflow="probe.retry",
            input={"operation": "slow", "attempts": 1, "timeout_s": 1.0},
            id="a",
        )
        await until(lambda: shop.calls)
        actor = movant.daemon.parts.owner.live["a"]
        (state,) = actor.asks.values()
        state.deadline = actor.attend_at = 0.0
        ended = await movant.ended("a")
        history = await movant("run.history", id="a")

    assert requests.sent == 1
    assert ended["failure"]["kind"] == "timeout"
    assert [each["kind"] for each in history["entries"]].count("owner.timeout") == 2


async def test_a_start_that_names_a_stranger_as_its_parent_is_an_ordinary_start(
    nats_server: NatsServer,
) -> None:
    """It runs, and tells nobody but who asks: the other run goes on waiting for its own child."""
    async with daemon(nats_server.url) as movant:
        await movant(
            "run.start",
            workflow="probe.parent",
            input={"workflow": "probe.signals", "input": 1},
            id="a",
        )
        waiting = (await movant.waits("a", "child"))["waiting"][0]
        parent = {"Movant-Parent": f"a|{waiting['path']}"}
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.b.start.probe.echo", b'"forged"', parent)
            forged = {**parent, "Movant-Parent-Token": "k1-000000000000"}
            raw.put("movant.to.c.start.probe.echo", b'"forged"', forged)
            ended = [await movant.ended(each) for each in "bc"]
        after = await movant("run.show", id="a")

    assert [each["result"] for each in ended] == ["forged", "forged"]
    assert after["status"] == "running"
    assert after["waiting"][0]["path"] == waiting["path"]
