"""S4: a stream that captures a service's subject does not answer in its place."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import trio

from actors.definitions.packing import pack
from protocols.errors import ConfigurationError
from runtime.config import DaemonConfig, NatsConfig
from runtime.daemon import Daemon
from tests.support.daemon import PROBE, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

AUDIT = json.dumps({"name": "AUDIT", "subjects": ["movant.svc.>"], "storage": "memory"}).encode()


def _stream(subject: str) -> bytes:
    return json.dumps({"name": "AUDIT", "subjects": [subject], "storage": "memory"}).encode()


@pytest.mark.parametrize(
    ("subject", "captured"),
    [
        ("movant.svc.>", "movant.svc.>"),
        ("movant.svc.shop.buy", "movant.svc.>"),
        ("movant.api.>", "movant.api.>"),
        ("billing.v2.pay", "billing.v2.>"),
        ("movant.>", "movant.svc.>"),
        ("movant.to.>", "MAIL"),
    ],
)
async def test_a_start_is_refused_beside_a_stream_that_captures(
    nats_server: NatsServer, subject: str, captured: str
) -> None:
    """The error names the stream and what it captures, or which of our streams it hinders."""
    with Raw(nats_server.url) as raw:
        raw.ask("$JS.API.STREAM.CREATE.AUDIT", _stream(subject))
    config = DaemonConfig(
        name="test",
        nats=NatsConfig(url=nats_server.url),
        services={"billing": "billing.v2.{operation}"},
    )
    with pytest.raises(ConfigurationError, match="stream AUDIT") as caught, trio.fail_after(10):
        await Daemon(config).run()

    assert captured in caught.value.message
    assert "account of its own" in caught.value.hint


async def test_a_start_is_refused_beside_a_mirror(nats_server: NatsServer) -> None:
    """It would answer reads of MAIL, behind it; one of a stream of others is nobody's business."""
    async with daemon(nats_server.url):
        pass
    with Raw(nats_server.url) as raw:
        raw.ask("$JS.API.STREAM.CREATE.AUDIT", _stream("audit"))
        for name, origin in (("COPY", "MAIL"), ("OTHER", "AUDIT")):
            config = {"name": name, "mirror": {"name": origin}, "storage": "memory"}
            raw.ask(f"$JS.API.STREAM.CREATE.{name}", json.dumps(config).encode())
    with (
        pytest.raises(ConfigurationError, match="COPY is a mirror of MAIL") as caught,
        trio.fail_after(10),
    ):
        await Daemon(DaemonConfig(name="test", nats=NatsConfig(url=nats_server.url))).run()

    assert "OTHER" not in caught.value.message


async def test_a_stream_that_comes_later_is_told_everywhere(nats_server: NatsServer) -> None:
    """The step fails and names it; status, doctor and the next registration do as well."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.CREATE.AUDIT", AUDIT)
        ended = await movant.run("probe.retry", {"operation": "buy", "attempts": 1})
        status = await movant("status")
        checked = await movant("check")
        packed = pack(PROBE)
        body: dict[str, Any] = {
            "data": base64.b64encode(packed.data).decode(),
            "hash": packed.hash,
        }
        with pytest.raises(ConfigurationError, match=r"stream AUDIT captures movant\.svc\.>"):
            await movant("workflow.register", **body)
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.DELETE.AUDIT")
        await movant("workflow.register", **body)
        again = await movant.run("probe.retry", {"operation": "buy"})

    assert ended["status"] == "failed"
    assert "AUDIT" in ended["failure"]["message"]
    assert any("AUDIT" in problem for problem in status["problems"])
    found = {each["check"]: each for each in checked["findings"]}
    assert found["captured"]["verdict"] == "error"
    assert "AUDIT" in found["captured"]["found"]
    assert again["status"] == "completed"
    assert len(shop.keys) == 1


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
