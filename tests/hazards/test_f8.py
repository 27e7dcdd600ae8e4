"""F8: what is old leaves the stream in one request, however many messages and subjects it has."""

from __future__ import annotations

import json

import pytest

from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

RUNS = 2_000
EACH = 10


async def test_a_prefix_of_many_subjects_is_purged_in_one_request(nats_binary: str) -> None:
    """20,000 messages with a subject each: the rest stays whole, also after a kill -9."""
    with NatsServer(nats_binary, sync_interval="2m") as server:
        async with daemon(server.url):
            pass  # it makes the streams
        with Raw(server.url) as raw:
            before = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]
            lines = [
                b"PUB movant.to.r%d.signal.s%d 1\r\n1\r\n" % (run, number)
                for number in range(EACH)
                for run in range(RUNS)
            ]
            raw.send(b"".join(lines))
            await until(lambda: raw.messages("MAIL") == before["messages"] + len(lines))
            full = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]
            floor = full["last_seq"] - RUNS + 1
            request = json.dumps({"seq": floor}).encode()
            purged = raw.ask("$JS.API.STREAM.PURGE.MAIL", request)
            left = raw.subjects("MAIL", "movant.mail.*.*.signal.>")
        server.kill()
        server.start()
        with Raw(server.url) as raw:
            again = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]

    assert full["num_subjects"] - before["num_subjects"] == RUNS * EACH
    assert purged["purged"] == full["messages"] - RUNS
    assert len(left) == RUNS
    assert {subject.rpartition(".")[2] for subject in left} == {f"s{EACH - 1}"}
    assert (again["first_seq"], again["messages"]) == (floor, RUNS)
