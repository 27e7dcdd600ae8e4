"""Migration: a blocked run goes on with repaired code; another run can be moved as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.errors import RefusedError
from tests.support.daemon import daemon, offered
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

BROKEN = """
import movant

@movant.workflow("migrating")
async def migrating(ctx: movant.Context, _: object = None) -> object:
    first = await ctx.call("shop", "buy", {"n": 1}, name="first")
    await ctx.signal("go")
    return {"first": first, "second": 1 // 0}
"""

REPAIRED = BROKEN.replace("1 // 0", "await ctx.call('shop', 'buy', {'n': 2}, name='second')")
OTHER = BROKEN.replace('name="first"', 'name="renamed"')


async def test_a_blocked_run_goes_on_with_repaired_code(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Finished steps are not asked again; a restart folds with the repaired code, too."""
    source = tmp_path / "migrating.py"
    shop = Shop()
    source.write_text(BROKEN)
    async with daemon(nats_server.url) as movant, offered(nats_server.url, shop.service):
        await movant.daemon.register(source)
        await movant("run.start", workflow="migrating", id="a")
        await movant("run.signal", id="a", name="go")
        await movant.view_when("a", lambda view: view["status"] == "blocked")
        source.write_text(REPAIRED)
        await movant.daemon.register(source)

        migrated = await movant("run.migrate", id="a")
        ended = await movant.view_when("a", lambda view: view["status"] == "completed")
        history = await movant("run.history", id="a")

    assert migrated["status"] == "running"
    assert ended["status"] == "completed"
    replies = [each["path"] for each in history["entries"] if each["kind"] == "reply"]
    assert replies == ["/first", "/second"]

    async with daemon(nats_server.url) as movant:
        view = await movant("run.show", id="a")

    assert view["status"] == "completed"
    assert view["definition"] == migrated["definition"]


async def test_code_that_never_asked_for_a_finished_step_is_refused(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """The mailbox is folded with the new code first; what does not fit is told, not written."""
    source = tmp_path / "migrating.py"
    shop = Shop()
    source.write_text(BROKEN)
    async with daemon(nats_server.url) as movant, offered(nats_server.url, shop.service):
        await movant.daemon.register(source)
        await movant("run.start", workflow="migrating", id="a")
        await movant.view_when(
            "a", lambda view: any(each["kind"] == "signal" for each in view["waiting"])
        )
        source.write_text(OTHER)
        await movant.daemon.register(source)

        with pytest.raises(RefusedError, match="mismatch"):
            await movant("run.migrate", id="a")
        view = await movant("run.show", id="a")

    assert view["status"] == "running"


async def test_a_blocked_run_can_be_cancelled(nats_server: NatsServer, tmp_path: Path) -> None:
    """Its code cannot clean up any more, but an operator gets it out of the way."""
    source = tmp_path / "migrating.py"
    shop = Shop()
    source.write_text(BROKEN)
    async with daemon(nats_server.url) as movant, offered(nats_server.url, shop.service):
        await movant.daemon.register(source)
        await movant("run.start", workflow="migrating", id="a")
        await movant("run.signal", id="a", name="go")
        await movant.view_when("a", lambda view: view["status"] == "blocked")

        await movant("run.cancel", id="a", reason="given up")
        ended = await movant.ended("a")

    assert ended["status"] == "cancelled"
    assert ended["failure"]["message"] == "given up"
