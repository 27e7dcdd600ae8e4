"""S4: a stream that captures a service's subject does not answer in its place."""

from __future__ import annotations

import json

import pytest

from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

AUDIT = json.dumps({"name": "AUDIT", "subjects": ["movant.svc.>"], "storage": "memory"}).encode()


async def test_a_captured_subject_is_refused_clearly(nats_server: NatsServer) -> None:
    """The step fails and names the stream; status names it too."""
    with Raw(nats_server.url) as raw:
        raw.ask("$JS.API.STREAM.CREATE.AUDIT", AUDIT)
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.retry", {"operation": "buy", "attempts": 1})
        status = await movant("status")

    assert ended["status"] == "failed"
    assert "AUDIT" in ended["failure"]["message"]
    assert any("AUDIT" in problem for problem in status["problems"])
    assert shop.keys == []


async def test_an_answer_of_a_stream_is_no_reply(nats_server: NatsServer) -> None:
    """A reply in the exact shape of a PubAck is a dead letter; the service's own one counts."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant.run("probe.echo", 1)
        with Raw(nats_server.url) as raw:
            raw.send(b"SUB movant.svc.shop.slow 5\r\n")
            raw.sync()
            await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
            request = await raw.next()
            raw.publish(request.reply, b'{"stream":"AUDIT","seq":1}')
            await until(lambda: raw.stored("DEAD", "movant.dead.puback"))
        shop.hold.set()
        ended = await movant.ended("a")

    assert ended["status"] == "completed"
    assert ended["result"] is None
