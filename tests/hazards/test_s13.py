"""S13: steps leave no stored events."""

from __future__ import annotations

import pytest

from protocols.witness import LEAVES_MAX
from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_run_of_many_steps_stores_its_lifecycle_only(nats_server: NatsServer) -> None:
    """One message per step in MAIL, two events in all."""
    async with daemon(nats_server.url, services=[Shop().service]) as movant:
        await movant.run("probe.steps", {"steps": 20}, id="a")
        history = await movant("run.history", id="a")
        with Raw(nats_server.url) as raw:
            events = raw.subjects("EVENTS", "movant.event.>")

    assert [each["kind"] for each in history["entries"]] == ["start", *["reply"] * 20]
    assert {subject.rpartition(".")[2]: count for subject, count in events.items()} == {
        "started": 1,
        "completed": 1,
    }


async def test_a_long_run_stores_a_statement_per_hundreds_of_messages(
    nats_server: NatsServer,
) -> None:
    """What is witnessed rides on the events that are there anyway; between them it is cut."""
    count = LEAVES_MAX + 20
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=count, id="a")
        items = [{"id": "a", "data": number} for number in range(count)]
        await movant("run.signal_many", name="go", items=items)
        await movant.ended("a")
        verified = await movant("run.verify", id="a")
        with Raw(nats_server.url) as raw:
            events = raw.subjects("EVENTS", "movant.event.>")

    assert {subject.rpartition(".")[2]: stored for subject, stored in events.items()} == {
        "started": 1,
        "witnessed": 1,
        "completed": 1,
    }
    assert verified["findings"] == []
    assert verified["covered"] == count + 1
