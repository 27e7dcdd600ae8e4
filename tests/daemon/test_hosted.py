"""A hosted service works on several requests at once, however far apart they come."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio

from protocols.service import Service
from tests.support.daemon import WORKFLOWS, daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

FLOWS = [WORKFLOWS / "flows.py"]


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_slow_request_does_not_hold_up_the_next_one(
    nats_server: NatsServer,
    blocking: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The second one comes when the first one waits already; the third is beyond the limit."""
    asked: list[int] = []
    gate, go = threading.Event(), trio.Event()
    shop = Service("shop")
    if blocking:

        @shop.operation("buy", concurrency=2)
        def wait() -> int:
            asked.append(1)
            gate.wait(10)
            return 1

    else:

        @shop.operation("buy", concurrency=2)
        async def hold() -> int:
            asked.append(1)
            await go.wait()
            return 1

    async with daemon(nats_server.url, workflows=FLOWS, services=[shop]) as movant:
        for number in range(3):
            await movant("run.start", workflow="flow.call", id=f"a{number}", input={})
            await until(partial(_came, asked, min(number + 1, 2)))
        await trio.sleep(0.1)
        beyond = len(asked)
        gate.set()
        go.set()
        ended = [await movant.ended(f"a{number}") for number in range(3)]

    assert beyond == 2
    assert {each["status"] for each in ended} == {"completed"}


def _came(asked: list[int], count: int) -> bool:
    return len(asked) == count
