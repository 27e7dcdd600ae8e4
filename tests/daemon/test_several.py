"""Several daemons: they share the partitions, take over from each other, and answer for all."""

from __future__ import annotations

import signal

import pytest
import trio

from runtime.client.client import Client
from tests.support.daemon import (
    WORKFLOWS,
    Api,
    Running,
    daemon,
    daemon_process,
    offered,
    until,
)
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

RUNS = 40


def owned(running: Running) -> set[int]:
    """Return the partitions that a daemon owns."""
    return set(running.daemon.parts.owner.partitions.owned)


async def shared(*all_of_them: Running) -> None:
    """Wait until every partition is owned once, and all have their share."""
    share = -(-64 // len(all_of_them))

    def even() -> bool:
        parts = [owned(each) for each in all_of_them]
        return sum(map(len, parts)) == 64 == len(set().union(*parts)) and all(
            len(each) <= share for each in parts
        )

    await until(even)


async def finish(api: Api, *, first: int = 0) -> None:
    """Give every run its signal, and see that each ends with it."""
    await until(lambda: api.transport.connected)  # its server may just have been started again
    for number in range(first, first + RUNS):
        await api("run.signal", id=f"r{number}", name="go", data=number)
    for number in range(first, first + RUNS):
        ended = await api.ended(f"r{number}")
        assert ended["result"] == [number]


async def begin(api: Api, *, first: int = 0) -> None:
    """Start runs that wait for a signal."""
    items = [{"id": f"r{number}", "input": 1} for number in range(first, first + RUNS)]
    await api("run.start_many", workflow="probe.signals", items=items)


async def test_three_daemons_share_and_whoever_drains_hands_over(nats_server: NatsServer) -> None:
    """Nobody waits for a lease to lapse, and every run goes on at its next owner."""
    async with daemon(nats_server.url, name="a") as first:
        await begin(first)
        async with daemon(nats_server.url, name="b") as second:
            await shared(first, second)
            async with daemon(nats_server.url, name="c") as third:
                await shared(first, second, third)
                await begin(third, first=RUNS)
            await shared(first, second)
            await finish(second)
        await until(lambda: len(owned(first)) == 64)
        await finish(first, first=RUNS)


async def test_a_daemon_that_dies_is_replaced_at_once(nats_server: NatsServer) -> None:
    """Its process is gone: the others need not wait, and do what it had not done."""
    shop = Shop()
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url, name="a") as first,
        daemon(nats_server.url, name="b") as second,
    ):
        await shared(first, second)
        items = [{"id": f"s{number}", "input": {"steps": 20}} for number in range(RUNS)]
        await first("run.start_many", workflow="probe.steps", items=items)
        await until(lambda: len(shop.keys) > RUNS)
        second.crash()
        with trio.fail_after(10):
            await until(lambda: len(owned(first)) == 64)
        for number in range(RUNS):
            ended = await first.ended(f"s{number}")
            assert ended["result"] == list(range(20))

    assert shop.doubled == []
    assert len(shop.keys) == 20 * RUNS


@pytest.mark.slow
async def test_a_frozen_daemon_that_returns_does_no_harm(nats_server: NatsServer) -> None:
    """Frozen beyond its lease, it sends nothing when it wakes; it joins again as a newcomer."""
    shop = Shop()
    async with (
        offered(nats_server.url, shop.service),
        daemon_process(nats_server.url, name="frozen") as (process, _),
        daemon(nats_server.url, name="other") as other,
    ):
        await until(lambda: len(owned(other)) == 32)
        items = [
            {"id": f"s{number}", "input": {"steps": 10, "operation": "slow"}}
            for number in range(RUNS)
        ]
        await other("run.start_many", workflow="probe.steps", items=items)
        await until(lambda: len(shop.calls) >= 10)
        process.signal(signal.SIGSTOP)
        await until(lambda: len(owned(other)) == 64)
        shop.hold.set()
        await until(lambda: len(set(shop.keys)) == 10 * RUNS)
        before = len(shop.calls)
        process.signal(signal.SIGCONT)
        await until(lambda: len(owned(other)) == 32)
        await trio.sleep(0.5)
        after = len(shop.calls)
        for number in range(RUNS):
            ended = await other.ended(f"s{number}")
            assert ended["result"] == list(range(10))
        await begin(other)
        await finish(other)
        log = process.log

    assert after == before  # whatever it had in mind, it sent nothing of it
    assert "partition.lost" in log


@pytest.mark.slow
async def test_clients_get_answers_while_a_daemon_is_frozen(nats_server: NatsServer) -> None:
    """It gets its share of the requests; each is answered by another one within seconds."""
    async with (
        daemon_process(nats_server.url, name="frozen") as (process, _),
        daemon(nats_server.url, name="other") as other,
        Client.connect(nats_server.url) as client,
    ):
        await until(lambda: len(owned(other)) == 32)
        took: list[float] = []
        views = []

        async def ask() -> None:
            began = trio.current_time()
            views.append(await client.status())
            started = await client.start("probe.echo", 1, wait_s=20)
            assert started.result == 1
            took.append(trio.current_time() - began)

        process.signal(signal.SIGSTOP)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask)
            await until(lambda: len(owned(other)) == 64)
            later = await client.status()
        finally:
            process.signal(signal.SIGCONT)

    assert max(took) < 12.0  # two requests each, and a wait for the lease to lapse
    for view in (*views, later):
        states = {row.daemon: row.state for row in view.daemons}
        assert states == {"frozen": "silent", "other": "ready"}
        assert "frozen does not answer" in view.problems


async def test_whoever_is_asked_answers_for_all(nats_server: NatsServer) -> None:
    """Show, list, status and tree tell the same, whichever daemon takes the request."""
    async with (
        daemon(nats_server.url, name="a") as first,
        daemon(nats_server.url, name="b") as second,
    ):
        await shared(first, second)
        await begin(first)
        await first.waits("r0", "signal")
        for _ in range(6):  # a queue group: each of them may answer
            page = await first("run.ls", limit=RUNS)
            assert {row["waiting"] for row in page["runs"]} == {"signal /signal.go"}
            status = await first("status")
            assert [row["daemon"] for row in status["daemons"]] == ["a", "b"]
            assert sum(len(row["partitions"]) for row in status["daemons"]) == 64
            assert [row["partition"] for row in status["owners"]] == list(range(64))
            assert {row["daemon"] for row in status["owners"]} == {"a", "b"}
            tree = await first("actor.tree")
            roots = {tree["root"]["name"], *(each["name"] for each in tree["others"])}
            assert roots == {"daemon a", "daemon b"}
            for number in range(0, RUNS, 7):
                view = await first("run.show", id=f"r{number}")
                assert view["waiting"][0]["kind"] == "signal"


async def test_a_workflow_that_is_registered_at_one_daemon_is_known_to_all(
    nats_server: NatsServer,
) -> None:
    """Raw starts that waited for it are pinned, wherever they are hosted."""
    async with (
        daemon(nats_server.url, name="a", workflows=()) as first,
        daemon(nats_server.url, name="b", workflows=()) as second,
    ):
        await shared(first, second)
        with Raw(nats_server.url) as raw:
            for number in range(10):
                raw.put(f"movant.to.raw{number}.start.probe.echo", b"%d" % number)
        for number in range(10):
            await first.waits(f"raw{number}", "pin")
        await first.daemon.register(WORKFLOWS / "probe.py")
        for number in range(10):
            ended = await first.ended(f"raw{number}")
            assert ended["result"] == number
