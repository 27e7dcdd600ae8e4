"""F7: nothing that is under way is lost when the daemon dies at that moment."""

from __future__ import annotations

import json

import pytest
import trio

from actors.owning import passivation
from actors.owning.partitions import Partitions
from actors.store.checkpoint import Checkpoint
from protocols.subjects import partition_of
from tests.support.daemon import Api, Process, asking, daemon, daemon_process, offered
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def killed(process: Process, api: Api) -> None:
    """Kill the daemon, start it again, and wait until it answers."""
    process.kill()
    process.start()
    await api.ready()


async def test_a_parked_request(nats_server: NatsServer) -> None:
    """Nobody serves it when the daemon dies; when the service comes it is asked."""
    shop = Shop()
    async with daemon_process(nats_server.url) as (process, api):
        await api("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        await api.view_when("a", lambda view: "nobody serves it" in view["waiting"][0]["detail"])
        await killed(process, api)
        async with offered(nats_server.url, shop.service):
            ended = await api.ended("a")

    assert ended["result"] == [0]
    assert shop.keys == ["a/1/s"]


async def test_a_delay_between_attempts(nats_server: NatsServer) -> None:
    """The daemon dies during the backoff; the next attempt comes, and not before its time."""
    shop = Shop()
    shop.failures = 1
    async with (
        offered(nats_server.url, shop.service),
        daemon_process(nats_server.url) as (process, api),
    ):
        began = trio.current_time()
        await api(
            "run.start",
            workflow="probe.retry",
            input={"operation": "flaky", "delay_s": 2.0},
            id="a",
        )
        await api.view_when("a", lambda view: view["waiting"][0]["attempt"] == 2)
        await killed(process, api)
        ended = await api.ended("a")
        took_s = trio.current_time() - began

    assert ended["result"] == "at last"
    assert took_s >= 1.9


async def test_timers_and_events(nats_server: NatsServer) -> None:
    """Killed right after the start was acknowledged: timer and events come all the same."""
    async with daemon_process(nats_server.url) as (process, api):
        for number in range(30):
            await api("run.start", workflow="probe.emit", input=number, id=f"e{number}")
        await killed(process, api)
        for number in range(30):
            assert (await api.ended(f"e{number}"))["result"] == "emitted"
        with Raw(nats_server.url) as raw:
            stored = raw.subjects("EVENTS", "movant.event.probe-emit.*.shipped")

    assert len(stored) == 30


async def test_what_waits_does_not_hold_the_checkpoint(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 parked instances: the position goes on, the entries stay bounded, none is lost."""
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 2.0)
    shop = Shop()
    parked = 3_000
    async with daemon(nats_server.url, partitions=1) as movant:
        for part in range(3):
            items = [{"id": f"p{part}-{n}", "input": {"steps": 1}} for n in range(parked // 3)]
            await movant("run.start_many", workflow="probe.steps", items=items)
        owner = movant.daemon.parts.owner
        last = await movant("run.signal", id="other", name="go")
        with trio.fail_after(20):
            while (await owner.checkpoint())[0].position < last["seq"]:
                await trio.sleep(0.05)
            while len((await owner.checkpoint())[0].entries) > 2_000:
                await trio.sleep(0.05)
        with Raw(nats_server.url) as raw:
            position = 0
            while position < last["seq"]:
                stored = raw.stored("KV_movant_checkpoints", "$KV.movant_checkpoints.0")
                position = json.loads(stored["data"]).get("position", 0) if stored else 0
                await trio.sleep(0.05)
        movant.crash()
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url, partitions=1) as movant,
    ):
        with trio.fail_after(90):
            while len(set(shop.keys)) < parked:
                await trio.sleep(0.05)

    assert shop.doubled == []


def test_an_activation_reads_as_far_as_its_partition_was_read() -> None:
    """Not only as far as the slowest partition: what is behind that is not handed over again."""
    found = Partitions(2)
    found.add(0, 5, Checkpoint(position=10))
    found.add(1, 6, Checkpoint(position=100))

    assert (found.known_to(0), found.known_to(1)) == (10, 100)


async def test_partitions_whose_checkpoints_differ_lose_no_message(
    nats_server: NatsServer,
) -> None:
    """A crash between the writes of two partitions: each is taken up where it stands."""
    ahead, behind = "a", "b"
    assert partition_of(ahead, 64) != partition_of(behind, 64)
    async with daemon(nats_server.url) as movant:
        for instance in (behind, ahead):
            await movant("run.start", workflow="probe.signals", input=4, id=instance)
            await movant("run.signal", id=instance, name="go", data=1)
            await movant("run.signal", id=instance, name="go", data=2)
        await movant.view_when(ahead, lambda view: view["state"] == {"seen": 2})
        found = (await movant.daemon.parts.owner.checkpoint())[partition_of(ahead, 64)]
        movant.crash()
    async with asking(nats_server.url):
        with Raw(nats_server.url) as raw:
            for partition in range(64):
                key = f"$KV.movant_checkpoints.{partition}"
                body = b'{"position":0}'
                if partition == partition_of(ahead, 64):
                    body = b'{"position":%d,"entries":[["%b",1]]}' % (
                        found.position,
                        ahead.encode(),
                    )
                raw.ask(key, body)
    async with daemon(nats_server.url) as movant:
        for instance in (behind, ahead):
            await movant("run.signal", id=instance, name="go", data=3)
            await movant("run.signal", id=instance, name="go", data=4)
        ended = [await movant.ended(instance) for instance in (behind, ahead)]

    assert [each["result"] for each in ended] == [[1, 2, 3, 4], [1, 2, 3, 4]]
