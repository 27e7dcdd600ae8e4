"""S7: a message of ours has an identity; one of a stranger's is always new."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon, plainly
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


async def test_a_client_that_tries_again_is_applied_once(nats_server: NatsServer) -> None:
    """Same message id: one signal. No id: every copy is a signal of its own."""
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=4, id="a")
        for _ in range(3):
            await movant("run.signal", id="a", name="go", data="once", message_id="m-1")
        raw = ("movant.to.a.signal.go", b'"twice"', None)
        await plainly(nats_server.url, [raw, raw])
        await movant("run.signal", id="a", name="go", data="last")
        ended = await movant.ended("a")
        view = await movant("run.show", id="a")

    assert ended["result"] == ["once", "twice", "twice", "last"]
    assert view["counters"]["duplicates"] == 2
