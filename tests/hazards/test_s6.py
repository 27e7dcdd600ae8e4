"""S6: an activation counts only when it contains the message that asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


async def test_a_stale_read_is_asked_again(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reads leave out the newest messages, as a follower that is behind does."""
    stale = 3
    reads = 0
    whole = DirectReader.mailbox

    async def behind(self: DirectReader, filter_subject: str, **more: Any) -> list[Delivery]:
        nonlocal reads
        found = await whole(self, filter_subject, **more)
        reads += 1
        return found[:-1] if reads <= stale else found

    async with daemon(nats_server.url) as movant:
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="probe.signals", input=2, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        monkeypatch.setattr(DirectReader, "mailbox", behind)
        await movant("run.signal", id="a", name="go", data=2)
        await until(lambda: reads > stale)
        monkeypatch.undo()
        ended = await movant.ended("a")

    assert ended["result"] == [1, 2]
