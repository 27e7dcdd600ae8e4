"""kill -9 of daemon, server and service under load: all ends, rightly, with each effect once."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from protocols.errors import MovantError
from tests.support.daemon import (
    Api,
    Process,
    asking,
    daemon,
    daemon_process,
    offered,
    until,
)
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROUNDS = 6
RUNS = 50
STEPS = 4
ALL_S = 50.0


async def start(api: Api, part: int) -> None:
    """Start one round of runs; whoever is killed meanwhile is asked again."""
    items = [{"id": f"k{part}-{n}", "input": {"steps": STEPS}} for n in range(RUNS)]
    with trio.fail_after(ALL_S):
        while True:
            try:
                answer = await api(
                    "run.start_many", workflow="probe.steps", items=items, answer_s=3.0
                )
            except MovantError:
                await trio.sleep(0.02)
                continue
            assert not [each for each in answer["results"] if each.get("error")]
            return


async def all_ended(api: Api, parts: int, *, steps: int = STEPS) -> None:
    """Wait until every run has ended, and check every result."""
    page: Any = None
    with trio.move_on_after(ALL_S):
        while True:
            try:
                page = await api("run.ls", status="completed", limit=1, answer_s=3.0)
            except MovantError as error:
                page = error
            if isinstance(page, dict) and page["total"] == parts * RUNS:
                break
            await trio.sleep(0.05)
    assert page["total"] == parts * RUNS
    for part in range(parts):
        for n in range(0, RUNS, 7):
            view = await api("run.show", id=f"k{part}-{n}")
            assert view["result"] == list(range(steps)), view


async def test_a_daemon_that_is_killed_again_and_again(nats_server: NatsServer) -> None:
    """Six times at random moments: what was acknowledged goes on where it was."""
    shop = Shop()
    chance = random.Random(1)  # noqa: S311 - a seed that replays it
    async with (
        offered(nats_server.url, shop.service),
        daemon_process(nats_server.url) as (process, api),
    ):
        for part in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start, api, part)
                await trio.sleep(chance.uniform(0.0, 0.25))
                process.kill()
                process.start()
        await all_ended(api, ROUNDS)

    assert len(shop.keys) == ROUNDS * RUNS * STEPS
    assert shop.doubled == []


async def test_a_server_that_is_killed_again_and_again(nats_server: NatsServer) -> None:
    """Daemon and service stay: they reconnect, ask again and lose nothing."""
    shop = Shop()
    chance = random.Random(2)  # noqa: S311
    async with daemon(nats_server.url, services=[shop.service]) as api:
        for part in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start, api, part)
                await trio.sleep(chance.uniform(0.0, 0.2))
                nats_server.kill()
                nats_server.start()
        await all_ended(api, ROUNDS)
        restarts = (await api("actor.tree"))["root"]

    assert len(shop.keys) == ROUNDS * RUNS * STEPS
    assert shop.doubled == []
    assert restarts["restarts"] == 0


SERVICE = """
import sys, trio
import movant

shop = movant.Service("shop")

@shop.operation("buy")
async def buy(request, call):
    await trio.sleep(0.002)
    with open(sys.argv[1], "a") as effects:
        effects.write(call.key + "\\n")
    return request["n"]

movant.run_service(shop, nats=sys.argv[2])
"""


async def test_a_service_that_is_killed_again_and_again(
    nats_server: NatsServer, tmp_path: Any
) -> None:
    """Requests that died with it are asked again, with the same keys."""
    effects = tmp_path / "effects"
    effects.touch()
    program = tmp_path / "program.py"
    program.write_text(SERVICE)
    service = Process(str(program), str(effects), nats_server.url)
    chance = random.Random(3)  # noqa: S311
    try:
        service.start()
        async with daemon(nats_server.url) as api:
            for part in range(4):
                await start(api, part)
                await until(lambda: effects.stat().st_size > 0)
                await trio.sleep(chance.uniform(0.0, 0.1))
                service.kill()
                service.start()
            await all_ended(api, 4)
    finally:
        service.close()
    keys = set(effects.read_text().split())
    assert keys == {
        f"k{part}-{n}/1/s" + (f"#{step + 1}" if step else "")
        for part in range(4)
        for n in range(RUNS)
        for step in range(STEPS)
    }


async def test_a_drain_and_a_restart_go_on(nats_server: NatsServer) -> None:
    """SIGTERM: exit code 0, the lease is free at once, and what was waiting goes on."""
    shop = Shop()
    async with offered(nats_server.url, shop.service), asking(nats_server.url) as api:
        async with daemon_process(nats_server.url, name="first") as (process, _):
            await api("run.start", workflow="probe.signals", input=2, id="waits")
            await api("run.signal", id="waits", name="go", data=1)
            await api("run.start", workflow="probe.sleep", input=0.5, id="sleeps")
            await start(api, 0)
            code = process.terminate()
        async with daemon_process(nats_server.url, name="second"):
            await api("run.signal", id="waits", name="go", data=2)
            waited = await api.ended("waits")
            slept = await api.ended("sleeps")
            with trio.fail_after(ALL_S):
                while len(shop.keys) < RUNS * STEPS:
                    await trio.sleep(0.02)

    assert code == 0
    assert waited["result"] == [1, 2]
    assert slept["result"] == "awake"
    assert shop.doubled == []
