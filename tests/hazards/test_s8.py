"""S8: a dropped connection loses no message and inverts no order, up to the fold."""

from __future__ import annotations

import pytest
import trio

from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server


async def test_signals_are_folded_in_order_over_lost_connections(nats_server: NatsServer) -> None:
    """Consumers are deleted and the server is killed in mid-stream: 3,000 signals in order."""
    count = 3_000
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=count, id="a")
        for part in range(3):
            with Raw(nats_server.url) as raw:
                for number in range(part * 1_000, (part + 1) * 1_000):
                    raw.put("movant.to.a.signal.go", b"%d" % number)
                raw.sync()
                await until(lambda part=part: raw.messages("MAIL") > 1_000 * (part + 1))  # type: ignore[misc] # bound
                for name in raw.ask("$JS.API.CONSUMER.NAMES.MAIL")["consumers"]:
                    raw.ask(f"$JS.API.CONSUMER.DELETE.MAIL.{name}")
            await trio.to_thread.run_sync(nats_server.restart)
        ended = await movant.ended("a")

    assert ended["result"] == list(range(count))
