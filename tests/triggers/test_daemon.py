"""Triggers on a real server: each kind once, with what goes wrong around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio

from protocols import subjects
from protocols.errors import RefusedError
from protocols.ports import Outgoing
from protocols.triggers import Trigger, TriggerFile
from protocols.witness import Operator
from runtime.client import Client
from runtime.config import HttpConfig
from runtime.triggers import book
from runtime.triggers.webhooks import sign
from tests.support.daemon import Running, daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

GRAPH = """
name: report
input: {day: string}
steps:
  note: {set: {day: "{{input.day}}"}}
triggers:
  - name: nightly
    schedule: {every: 1s, catch_up: 0}
    input: {day: "{{trigger.due}}"}
  - manual: report:execute
"""


async def runs_of(client: Client, workflow: str, count: int) -> list[Any]:
    """Return the runs of a workflow when there are so many."""
    with trio.fail_after(15):
        while True:
            page = await client.list(workflow=workflow)
            if page.total >= count:
                return page.runs
            await trio.sleep(0.05)


async def test_a_schedule_starts_one_run_for_each_time_at_two_daemons(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Two daemons, one of which goes away; paused, resumed, made up for, deployed anew."""
    path = tmp_path / "report.yaml"
    path.write_text(GRAPH)
    async with Client.connect(nats_server.url) as client:
        async with (
            daemon(nats_server.url, workflows=[path], name="a"),
            daemon(nats_server.url, name="b"),
        ):
            runs = await runs_of(client, "report", 3)
            times = [each.id.removeprefix("report-nightly-") for each in runs]
            assert len({*times}) == len(times)
            view = await client.show(runs[0].id)
            assert view.input["day"].replace("-", "").replace(":", "").split(".")[0] in runs[0].id
            row = (await client.trigger("report-nightly")).row
            assert row.last is not None
            assert row.last.outcome == "fired"
            assert row.next > row.last.due
