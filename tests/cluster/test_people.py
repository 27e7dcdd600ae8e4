"""What people see of a cluster that has lost something, and services on other servers."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from protocols.api.runs import Finding
from protocols.errors import MovantError
from runtime.bridge import NatsTransport
from runtime.checks import check_server
from runtime.client.client import Client
from tests.support.cluster import NatsCluster
from tests.support.daemon import WAIT_S, daemon, until
from tests.support.raw import Raw

pytestmark = pytest.mark.server

ELECTED_S = 30.0
"""An election takes 4 to 9 s, and another one may follow."""


async def test_a_server_that_is_away_is_named(cluster: NatsCluster) -> None:
    """By ``movant status`` and by ``movant doctor``; and no more when it is back."""
    first, second, third = cluster.nodes
    cluster.settled()
    async with daemon(f"{first.url},{second.url}", replicas=3) as movant:
        cluster.lead("MAIL", first)
        well = await _looked(movant.transport)
        third.kill()
        await until(movant.daemon.problems)
        problems = (await movant("status"))["problems"]
        found = await _looked(movant.transport)
        third.spawn()
        await until(lambda: not movant.daemon.problems())

    assert well.verdict == "ok"
    assert well.found.startswith("3 copies; led by: ")
    assert problems == ["server n3 is away or behind: MAIL has one copy less"]
    assert found.verdict == "error"
    assert "MAIL: n3 is away or behind" in found.found


async def _looked(transport: NatsTransport) -> Finding:
    """Look until somebody answers: the dead server may have led all of JetStream."""
    with trio.fail_after(WAIT_S):
        while True:
            with suppress(MovantError):
                found = (await check_server(transport, replicas=3)).findings
                return next(each for each in found if each.check == "replicas")


async def test_a_request_waits_for_a_new_leader_and_says_so(cluster: NatsCluster) -> None:
    """An election takes longer than a person likes to be left alone; nothing fails."""
    first, second, third = cluster.nodes
    said: list[MovantError] = []
    async with daemon(f"{second.url},{third.url}", replicas=3) as movant:
        cluster.lead("MAIL", first)
        async with Client.connect(second.url, patience_s=ELECTED_S, waiting=said.append) as client:
            first.kill()
            began = trio.current_time()
            started = await client.start("probe.echo", 7, id="late")
            took_s = trio.current_time() - began
        ended = await movant.ended("late")
    await trio.to_thread.run_sync(cluster.revive)

    assert started.id == "late"
    assert ended["result"] == 7
    assert took_s > 2.0
    assert said


async def test_a_dead_service_on_another_server_is_replaced_at_once(cluster: NatsCluster) -> None:
    """The daemon's own server knows only the way there; the other one knows who it is."""
    far = cluster.urls[1]
    async with daemon(cluster.urls[0], replicas=3) as movant:
        with Raw(far) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
            first = await service.next()
        with Raw(far) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            began = trio.current_time()
            second = await service.next()
            took_s = trio.current_time() - began
            service.publish(second.reply, b"7")
            ended = await movant.ended("a")

    assert second.reply == first.reply
    assert took_s < 5.0
    assert ended["result"] == [7]
