"""Numbers on a real server: pages, filters, runs that go on, and what a service did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocols.api import runs as api
from protocols.errors import BadValueError
from protocols.service import Refused, Service
from runtime.api import stats as api_stats
from runtime.client.client import Client
from tests.support.daemon import daemon
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

GRAPH = """
name: till
input: {amount: number}
steps:
  charge: {service: bank, operation: charge, params: {amount: "{{input.amount}}"}}
  tell: {service: bank, operation: tell, needs: charge}
"""


async def test_numbers_of_runs_that_ended_and_of_one_that_goes_on(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole and page by page it is the same; a page ends when it has folded enough."""
    bank = Service("bank")

    @bank.operation("charge")
    async def charge(request: dict[str, Any]) -> int:
        if request["amount"] < 0:
            raise Refused("no_money", "secret words of a customer")
        return 1

    @bank.operation("tell")
    async def tell() -> None: ...

    graph, lone = tmp_path / "till.yaml", tmp_path / "lone.yaml"
    graph.write_text(GRAPH)
    lone.write_text("name: lone\nsteps: {wait: {signal: go}}\n")
    async with (
        daemon(nats_server.url, workflows=[graph, lone], services=[bank]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        for number in range(5):
            await movant.run("till", {"amount": number - 1}, id=f"till-{number}")
        await client.start("lone", id="lone-1")
        whole = await client.stats()
        seen: list[tuple[int, int]] = []
        monkeypatch.setattr(api_stats, "MESSAGES_MAX", 4)
        paged = await client.stats(progress=lambda done, total: seen.append((done, total)))
        some = await client.stats(workflow="till", runs_max=3)
        late = await client.stats(since=whole.earliest + 1)
        with pytest.raises(BadValueError, match="no cursor"):
            await client.calls.call("stats", api.Stats(after="x"), api.RunStats)

    by_name = {each.workflow: each.outcomes for each in whole.workflows}
    assert by_name == {"till": {"completed": 4, "failed": 1}, "lone": {"active": 1}}
    assert whole.success_rate == 0.8
    asked = {each.operation: (each.requests, each.errors) for each in whole.services}
    assert asked == {"charge": (5, 1), "tell": (4, 0)}
    assert {(each.step, each.time.count) for each in whole.steps} == {("charge", 5), ("tell", 4)}
    assert all(0 < each.time.max_s < 30 for each in whole.steps)
    assert [(each.kind, each.example) for each in whole.failures] == [("no_money", "till-0")]
    assert paged == whole
    assert seen[-1] == (6, 6)
    assert len(seen) > 2
    assert (some.runs, some.total, bool(some.next)) == (3, 5, True)
    assert late.runs == 5
