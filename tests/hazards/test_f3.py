"""F3: an instance is folded with the definition that it began with, for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import daemon, plainly
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

CODE = """
import movant

@movant.workflow("versioned")
async def versioned(ctx, value):
    await ctx.signal("go")
    return {version}
"""


async def test_a_deployment_does_not_change_what_runs(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """API and raw start are pinned to version 1; after version 2 and a restart they end as 1."""
    path = tmp_path / "versioned.py"
    path.write_text(CODE.format(version=1))
    async with daemon(nats_server.url, workflows=[path]) as movant:
        api = await movant("run.start", workflow="versioned", id="api-1")
        await plainly(nats_server.url, [("movant.to.raw-1.start.versioned", b"", None)])
        raw = await movant.waits("raw-1", "signal")
        path.write_text(CODE.format(version=2))
        await movant.daemon.register(path)
        second = await movant("run.start", workflow="versioned", id="api-2")
        await movant("run.signal", id="api-1", name="go")
        running = await movant.ended("api-1")
        history = await movant("run.history", id="raw-1")
        movant.crash()
    async with daemon(nats_server.url, workflows=[]) as movant:
        for instance in ("raw-1", "api-2"):
            await movant("run.signal", id=instance, name="go")
        after = [await movant.ended(instance) for instance in ("raw-1", "api-2")]

    assert raw["definition"] == api["definition"] != second["definition"]
    assert running["result"] == 1
    assert "owner.pinned" in [each["kind"] for each in history["entries"]]
    assert [each["result"] for each in after] == [1, 2]
