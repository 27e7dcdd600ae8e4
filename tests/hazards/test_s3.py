"""S3: a lost reply is asked for again, and the effect stays one."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server


async def test_a_lost_reply_is_asked_for_again(nats_server: NatsServer) -> None:
    """A service that answers only the second time: same key, same attempt, same reply subject."""
    async with daemon(nats_server.url, reask_s=0.5) as movant:
        with Raw(nats_server.url) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
            first = await service.next()
            await until(lambda: movant.daemon.parts.requests.reasked)
            second = await service.next()
            service.publish(second.reply, b"7")
            ended = await movant.ended("a")

    assert first.reply == second.reply
    assert b"Movant-Key: a/1/s\r\n" in first.headers
    lines = [
        each.headers.replace(b"\r\n\r\n", b"").split(b"Movant-Timeout: ")
        for each in (first, second)
    ]
    assert lines[0][0] == lines[1][0]
    assert 0 < float(lines[1][1]) < float(lines[0][1]) == 30  # what is left of the time
    assert ended["result"] == [7]


async def test_a_step_that_is_not_idempotent_is_never_asked_again(nats_server: NatsServer) -> None:
    """Not by time, not after a lost connection."""
    async with daemon(nats_server.url, reask_s=0.1) as movant:
        with Raw(nats_server.url) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            await movant("run.start", workflow="probe.once", id="a")
            first = await service.next()
            await movant.waits("a", "step")
            reasked = movant.daemon.parts.requests.reasked
            service.publish(first.reply, b'"done"')
            ended = await movant.ended("a")

    assert reasked == 0
    assert ended["result"] == "done"
