"""S10: one stream holds all mailboxes, unless the account's mapping spreads the partitions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocols.errors import MovantError
from protocols.subjects import partition_of
from runtime.config import DaemonConfig, NatsConfig
from runtime.daemon import Daemon
from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

OVERLAPS = 10_065
"""The server's code for subjects that two streams would capture."""
MAPPING = """\
mappings = {
  "movant.to.*.>": "movant.mail.{{partition(4,1)}}.{{wildcard(1)}}.>"
}
"""


def _make(raw: Raw, name: str, *subjects: str) -> Any:
    request = {"name": name, "subjects": subjects, "storage": "file"}
    return raw.ask(f"$JS.API.STREAM.CREATE.{name}", json.dumps(request).encode())


async def test_a_second_stream_cannot_take_a_part_of_the_mail(nats_server: NatsServer) -> None:
    """The server refuses it, and every message still goes where it went."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            answer = _make(raw, "SECOND", "movant.to.*.signal.>")
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        await movant("run.signal", id="a", name="go", data=7)
        ended = await movant.ended("a")

    assert answer["error"]["err_code"] == OVERLAPS
    assert ended["result"] == [7]


async def test_a_daemon_does_not_start_beside_a_stream_that_takes_its_mail(
    nats_server: NatsServer,
) -> None:
    """A neighbour's stream was there first: the refusal comes before anything is hosted."""
    with Raw(nats_server.url) as raw:
        _make(raw, "NEIGHBOUR", "movant.to.*.signal.>")

    one = Daemon(DaemonConfig(name="test", nats=NatsConfig(url=nats_server.url)))
    with pytest.raises(MovantError, match="MAIL"):
        await one.run()


async def test_a_mapping_of_the_account_spreads_partitions_over_streams(nats_binary: str) -> None:
    """Stored subjects are those of one stream; publishes and service replies are mapped alike."""
    ids = [f"run-{number}" for number in range(40)]
    with NatsServer(nats_binary, extra=MAPPING) as server, Raw(server.url) as raw:
        _make(raw, "LOW", "movant.mail.0.>", "movant.mail.1.>")
        _make(raw, "HIGH", "movant.mail.2.>", "movant.mail.3.>")
        with Raw(server.url) as service:
            service.send(b"SUB movant.svc.shop.buy q 5\r\n")
            service.sync()
            for each in ids:
                raw.put(f"movant.to.{each}.signal.go", b"1")
                raw.send(
                    b"PUB movant.svc.shop.buy movant.to.%b.reply.s.1.t 0\r\n\r\n" % each.encode()
                )
                request = await service.next()
                service.publish(request.reply, b"2")
            service.sync()
        raw.sync()
        low, high = (set(raw.subjects(name, ">")) for name in ("LOW", "HIGH"))

    wanted = {each: f"movant.mail.{partition_of(each, 4)}.{each}" for each in ids}
    stored = {f"{at}.{rest}" for at in wanted.values() for rest in ("signal.go", "reply.s.1.t")}
    assert low | high == stored
    assert {subject.split(".")[2] for subject in low} == {"0", "1"}
    assert {subject.split(".")[2] for subject in high} == {"2", "3"}
