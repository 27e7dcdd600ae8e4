"""A hosted service works on several requests at once, however far apart they come."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import trio

from protocols import headers as h
from protocols.compensation import UndoRequest
from protocols.ports import Outgoing
from protocols.service import Call, Service
from tests.support.daemon import WORKFLOWS, daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

FLOWS = [WORKFLOWS / "flows.py"]
TRIPS = [WORKFLOWS / "trips.py"]


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


def forgetful() -> tuple[Service, list[str], trio.Event]:
    """Return a service that remembers no key, what it has booked, and what ``slow`` waits for."""
    desk, booked, hold = Service("desk"), list[str](), trio.Event()

    @desk.operation("book")
    async def book(call: Call) -> int:
        booked.append(call.key)
        return 1

    @desk.operation("slow")
    async def slow(call: Call) -> int:
        await hold.wait()
        booked.append(call.key)
        return 1

    @desk.operation("cancel")
    async def cancel(undo: UndoRequest) -> None:
        if undo.key in booked:
            booked.remove(undo.key)

    return desk, booked, hold


async def test_a_copy_that_comes_after_the_undo_is_refused(nats_server: NatsServer) -> None:
    """The author gets that for free, as long as the process lives."""
    desk, booked, _ = forgetful()
    async with daemon(nats_server.url, workflows=TRIPS, services=[desk]) as movant:
        ended = await movant.run("trips.book", {"steps": 1}, id="a")
        lines = h.encode({h.KEY: "a/1/s"})
        late = await movant.transport.request(
            Outgoing("movant.svc.desk.book", b'{"n": 0}', lines), 5.0
        )

    assert ended["status"] == "compensated"
    assert booked == []
    assert (h.decode(late.headers) or {})[h.ERROR_KIND] == "undone"


async def test_work_that_is_under_way_when_its_undo_comes_is_undone_at_its_end(
    nats_server: NatsServer,
) -> None:
    """The undo found nothing; what is done behind it does not stay."""
    desk, booked, hold = forgetful()
    async with daemon(nats_server.url, workflows=TRIPS, services=[desk]) as movant:
        ended = await movant.run("trips.slow", id="a")
        hold.set()
        await movant.view_when("a", lambda view: view["counters"]["late"] == 1)
        await until(lambda: not booked)

    assert ended["status"] == "compensated"
    assert booked == []


def _came(asked: list[int], count: int) -> bool:
    return len(asked) == count
