"""Code that computes for ever is stopped; nobody else notices for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.kernel.instance import Instance
from actors.owning.fold_guard import FoldGuard
from protocols.definition import workflow
from protocols.mail import Start
from runtime.clock import SystemClock
from tests.support.daemon import WAIT_S, daemon, offered
from tests.support.nats import NatsServer
from tests.support.shop import Shop

ENDLESS = """
import movant

@movant.workflow("endless")
async def endless(ctx: movant.Context, _: object = None) -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue
"""


@workflow("spinning")
async def spinning(_ctx: object, _input: object = None) -> None:
    """Never end, and never wait."""
    while True:
        pass


def test_a_fold_that_never_ends_blocks_its_instance() -> None:
    """The kernel sees it as an exception of the code; the next fold is not touched."""
    guard = FoldGuard(SystemClock(), limit_s=0.1)
    start = Start(seq=1, at=1, workflow="spinning", body=b"", definition="d")
    instance = Instance("a", lambda _name, _hash: spinning)

    guard.fold(instance, start)
    second = Instance("b", lambda _name, _hash: spinning)
    guard.fold(second, start)
    guard.close()

    assert instance.status == "blocked"
    assert instance.blocked is not None
    assert "without waiting" in instance.blocked.message
    assert second.status == "blocked"


@pytest.mark.server
async def test_an_endless_workflow_freezes_nobody_for_long(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """It is blocked, others run, and the daemon starts again with it in its store."""
    source = tmp_path / "endless.py"
    source.write_text(ENDLESS)
    shop = Shop()
    async with daemon(nats_server.url) as movant, offered(nats_server.url, shop.service):
        await movant.daemon.register(source)
        await movant("run.start", workflow="endless", id="a")
        await movant("run.start", workflow="probe.steps", input={"steps": 2}, id="b")
        ended = await movant.ended("b")
        view = await movant.view_when("a", lambda view: view["status"] == "blocked")

    async with daemon(nats_server.url) as movant:
        again = await movant("run.cancel", id="a", reason="it never ends")
        cancelled = await movant.ended("a", answer_s=WAIT_S)  # each look folds it to its limit

    assert ended["status"] == "completed"
    assert "without waiting" in view["blocked"]
    assert again["id"] == "a"
    assert cancelled["status"] == "cancelled"
