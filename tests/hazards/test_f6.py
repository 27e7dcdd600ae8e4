"""F6: a retry after a timeout is no second effect, because its key is the same."""

from __future__ import annotations

import re

import pytest

from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_attempts_after_failures_have_one_key(nats_server: NatsServer) -> None:
    """Three attempts with numbers of their own, one key, one effect."""
    shop = Shop()
    shop.failures = 2
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.retry", {"operation": "flaky"}, id="a")

    assert ended["result"] == "at last"
    assert [(call.key, call.attempt) for call in shop.calls] == [
        ("a/1/s", 1),
        ("a/1/s", 2),
        ("a/1/s", 3),
    ]


async def test_an_attempt_after_a_timeout_carries_the_key_of_the_first(
    nats_server: NatsServer,
) -> None:
    """A service in any language sees it: it charged for attempt 1, and finds the key again."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as service:
            service.send(b"SUB movant.svc.shop.charge q 5\r\n")
            service.sync()
            value = {"operation": "charge", "timeout_s": 0.3}
            await movant("run.start", workflow="probe.retry", input=value, id="a")
            requests = [await service.next(), await service.next()]
            service.publish(requests[1].reply, b'"charged before"')
            ended = await movant.ended("a")

    keys = [re.findall(rb"Movant-Key: (.*)\r\n", each.headers) for each in requests]
    attempts = [re.findall(rb"Movant-Attempt: (.*)\r\n", each.headers) for each in requests]
    assert keys == [[b"a/1/s"], [b"a/1/s"]]
    assert attempts == [[b"1"], [b"2"]]
    assert ended["result"] == "charged before"


async def test_equal_steps_of_two_runs_have_keys_of_their_own(nats_server: NatsServer) -> None:
    """And so have two steps of one run."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        for instance in ("a", "b"):
            await movant.run("probe.steps", {"steps": 2}, id=instance)

    assert shop.keys == ["a/1/s", "a/1/s#2", "b/1/s", "b/1/s#2"]
