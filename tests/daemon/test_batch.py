"""One action over many runs on a real server: broken off and done again, pages that shrink."""

from __future__ import annotations

import pytest
import trio

from protocols.api import runs as api
from protocols.errors import BadValueError
from runtime.client import run_batch
from runtime.client.client import Client
from runtime.client.run_batch import RunBatch
from tests.support.daemon import WAIT_S, daemon
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

RUNS = 200
MINE = api.RunQuery(workflow="probe.signals", prefix="r-")
GO = api.RunSignal(id="", name="go")
RATE = run_batch.RATE_MAX


async def done(batch: RunBatch) -> list[run_batch.BatchResult]:
    """Do all of a batch."""
    return [each async for each in batch.results()]


async def test_a_batch_that_breaks_off_is_done_again_and_each_run_gets_it_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon dies in the middle. What began later is none of it; ends do not shift a page."""
    monkeypatch.setattr(run_batch, "PAGE", 30)
    items = [{"id": f"r-{number:03}", "input": 2} for number in range(RUNS)]
    async with daemon(nats_server.url) as movant, Client.connect(nats_server.url) as client:
        await movant("run.start_many", workflow="probe.signals", items=items)
        batch = client.batch(MINE, GO, rate=RATE)
        results = batch.results()
        first = [await anext(results) for _ in range(70)]
        await results.aclose()
        movant.crash()
    async with daemon(nats_server.url) as movant, Client.connect(nats_server.url) as client:
        await client.start("probe.signals", 2, id="r-later")
        again = client.batch(MINE, GO, id=batch.id, rate=RATE)
        total = (await again.preview()).total
        second = await done(again)
        cancelled = await done(client.batch(MINE, api.RunCancel(id=""), rate=RATE))
        with trio.fail_after(WAIT_S):
            while (await client.list(status="cancelled")).total <= RUNS:
                await trio.sleep(0.02)
        ended = api.RunQuery(status="cancelled", prefix="r-00")
        refused = await done(client.batch(ended, api.RunUndo(id=""), rate=RATE))
        twice = [await client.show(each.id) for each in first]
        later = await client.show("r-later")
        with pytest.raises(BadValueError, match="no cursor"):
            await client.list(after="50")

    assert {each.id for each in first} < {each.id for each in second}
    assert total == len(second) == RUNS
    assert all(each.seq and each.error is None for each in (*second, *cancelled))
    assert len({each.id for each in cancelled}) == len(cancelled) == RUNS + 1
    assert [view.state["seen"] for view in twice] == [1] * 70
    assert later.state == {}
    assert [each.error.code for each in refused if each.error is not None] == ["refused"] * 10
