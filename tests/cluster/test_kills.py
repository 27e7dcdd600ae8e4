"""S3 and timers, on a cluster whose leaders are killed: late, but right, and nothing is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio

from protocols.errors import UnavailableError, UnknownOutcomeError
from tests.cluster.campaign import kills, playing
from tests.support.cluster import NatsCluster, revived
from tests.support.daemon import daemon

pytestmark = pytest.mark.server

TIMERS = 150
SLEEP_S = 1.0


@pytest.mark.long
@pytest.mark.slow
async def test_replies_that_met_no_leader_are_asked_for_again(cluster: NatsCluster) -> None:
    """Two kills under load, with two daemons: each instance ends with its own right result."""
    async with playing(cluster, daemons=2) as play:
        report = await kills(play, 2)

    assert report.wrong == []
    assert report.ended > 100
    assert max(report.gaps_s) < 20.0


@pytest.mark.slow
async def test_timers_come_though_their_stream_lost_its_leader(cluster: NatsCluster) -> None:
    """None lost, none early; the daemon brings what the import of MAIL leaves lying."""
    url = ",".join([cluster.urls[1], cluster.urls[2], cluster.urls[0]])
    first, second, _ = cluster.nodes
    ids = [f"t-{number}" for number in range(TIMERS)]
    async with daemon(url, replicas=3) as movant:
        cluster.lead("TIMERS", first)
        cluster.lead("MAIL", second)
        for each in ids:
            await movant("run.start", workflow="probe.sleep", input=SLEEP_S, id=each)
        first.kill()
        views: list[Any] = []
        with trio.fail_after(30.0):
            while len(views) < TIMERS:
                with suppress(UnavailableError, UnknownOutcomeError):  # no leader of ARCHIVE
                    views = (await movant("run.ls", status="completed", limit=TIMERS))["runs"]
                await trio.sleep(0.1)
        await revived(cluster)

    lasted_s = [(each["finished_at"] - each["started_at"]) / 1e9 for each in views]
    assert min(lasted_s) >= SLEEP_S
    assert max(lasted_s) < SLEEP_S + 15.0
