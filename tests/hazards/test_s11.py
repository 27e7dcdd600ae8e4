"""S11: a mailbox that never ends harms its own run, and no other."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from protocols.ports import Frame
from tests.bridge.support import RawClient
from tests.support.daemon import PROBE, WORKFLOWS, Running, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

SIGNALS: Final = 16_000
ROUND: Final = 8_000
OTHERS_SHARE_MAX: Final = 1 / 2
"""What another run may take of the time that the flood takes; a queue behind it would take all."""

FLOODED_S_MAX: Final = 120.0
"""What it may take to take 12,000 signals in; some seconds when nothing else runs."""


def _flood(server: NatsServer) -> None:
    """Send signals until so many are stored; the server drops some of a burst."""
    burst = b"PUB movant.to.a.signal.go 1\r\n1\r\n" * ROUND
    client, asking = RawClient(server.url), Raw(server.url)
    with client, asking:
        while asking.messages("MAIL") < SIGNALS:
            client.send(burst)


async def _others(movant: Running, took_s: list[float], scope: trio.CancelScope) -> None:
    with scope:
        while True:
            began = trio.current_time()
            await movant.run("probe.echo", 1)
            took_s.append(trio.current_time() - began)


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_flood_of_signals_stalls_nothing_else(nats_binary: str) -> None:
    """Other runs go on; the flooded one is full, stays in memory, and can be cancelled."""
    took_s: list[float] = []
    ended: list[Frame] = []
    flooded = trio.CancelScope()
    files = [PROBE, WORKFLOWS / "loops.py"]
    with NatsServer(nats_binary, sync_interval="2m") as server:
        async with daemon(server.url, workflows=files) as movant, trio.open_nursery() as nursery:
            await movant("run.start", workflow="loops.waits", id="a")
            nursery.start_soon(_others, movant, took_s, flooded)
            began = trio.current_time()
            await trio.to_thread.run_sync(_flood, server)
            owner = movant.daemon.parts.owner
            await until(lambda: owner.blocked.get("a"), wait_s=FLOODED_S_MAX)
            flooded_s = trio.current_time() - began
            flooded.cancel()
            view = await movant("run.show", id="a")
            await until(lambda: not owner.live["a"].activating)
            activations = owner.activation.count
            owner.live["a"].touched -= 10.0
            await movant("run.signal", id="a", name="go")
            await trio.sleep(0.6)
            kept = owner.activation.count == activations
            await movant.transport.subscribe("movant.event.*.a.cancelled", ended.extend)
            await movant("run.cancel", id="a")
            await until(lambda: ended)

    assert view["blocked"].startswith("mailbox_full: generation 1 has more than 12000 messages")
    assert len(took_s) > 5
    assert max(took_s) < OTHERS_SHARE_MAX * flooded_s
    assert kept
