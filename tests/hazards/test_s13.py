"""S13: steps leave no stored events."""

from __future__ import annotations

import pytest

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
