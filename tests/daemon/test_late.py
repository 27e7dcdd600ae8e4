"""Late runs on a real server: the timer fires, the event is published, the list has the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.nats import NatsServer

LATE = """
name: late
warn_after: 200ms
steps:
  go: {signal: go}
"""


@pytest.mark.server
async def test_a_late_run_is_listed_until_it_ends(nats_server: NatsServer, tmp_path: Path) -> None:
    """Also by another daemon that takes it over."""
    file = tmp_path / "late.yaml"
    file.write_text(LATE)
    async with daemon(nats_server.url, workflows=[file]) as first:
        await first("run.start", workflow="late", id="l-1")
        view = await first.view_when("l-1", lambda view: view["late"])
        first.crash()
    async with daemon(nats_server.url, workflows=[file]) as second:
        await second.ready()
        await second("run.start", workflow="late", id="l-2")
        listed = await second("run.ls", late=True, workflow="late")
        await second("run.signal", id="l-1", name="go")
        ended = await second.ended("l-1")
        after = await second("run.ls", late=True)

    assert [each["path"] for each in view["late"]] == ["/"]
    assert [each["id"] for each in listed["runs"]] == ["l-1"]
    assert listed["runs"][0]["late"].startswith("/ is late for")
    assert ended["status"] == "completed"
    assert "l-1" not in [each["id"] for each in after["runs"]]
