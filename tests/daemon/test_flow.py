"""Breakers, limits and priorities of a service, on the real server."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest
import trio

from actors.owning import passivation
from actors.routing import pings
from protocols.flow import FlowSettings
from protocols.service import Call, Failed, Service
from tests.support.daemon import (
    WORKFLOWS,
    Process,
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

FLOWS = [WORKFLOWS / "flows.py"]
SETTINGS = FlowSettings(breaker_failures=3, breaker_of=3, breaker_open_s=0.5, release_per_s=400)


class Ward:
    """A service that is ill until it is told to be well, and notes what it is asked."""

    def __init__(self) -> None:
        self.ill = True
        self.asked: list[tuple[float, str, int]] = []
        self.running = self.most = 0
        self.timeouts: list[float] = []
        self.service = Service("shop")
        self.service.operation("buy", concurrency=1000)(self.buy)

    async def buy(self, request: Any, call: Call) -> Any:
        """Do it when well."""
        self.asked.append((trio.current_time(), call.key.partition("/")[0], call.attempt))
        self.timeouts.append(call.timeout_s)
        self.running += 1
        self.most = max(self.most, self.running)
        await trio.sleep(0.005)
        self.running -= 1
        if self.ill:
            raise Failed
        return request["n"]

    @property
    def order(self) -> list[str]:
        """Who was asked for, in order."""
        return [instance for _, instance, _ in self.asked]


async def started(movant: Running, count: int, prefix: str = "r", **value: Any) -> list[str]:
    """Start runs; their ids count upwards."""
    ids = [f"{prefix}{number:04}" for number in range(count)]
    items = [{"id": each, "input": value, "priority": value.get("of_run", 0)} for each in ids]
    for at in range(0, count, 500):
        await movant("run.start_many", workflow="flow.call", items=items[at : at + 500])
    return ids


async def shown(movant: Running, name: str = "shop") -> Any:
    """Return a service as people see it."""
    return await movant("service.show", name=name)


async def test_an_ill_service_is_left_alone_and_nobody_loses_an_attempt(
    nats_server: NatsServer,
) -> None:
    """Three failures open the breaker: the others wait, one tries, and then all go."""
    ward = Ward()
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[ward.service], flow={"shop": SETTINGS}
    ) as movant:
        await started(movant, 3, "a", attempts=20)
        await until(lambda: len(ward.asked) >= 3)
        flow = movant.daemon.parts.router.flows["shop"]
        await until(lambda: flow.breaker.state == "open")
        ids = await started(movant, 100, "b", attempts=1)
        await until(lambda: flow.parked >= 100)
        view = await shown(movant)
        waiting = (await movant("run.show", id=ids[7]))["waiting"][0]
        asked = len(ward.asked)
        ward.ill = False
        ended = [await movant.ended(each) for each in ids]

    assert asked <= 6
    assert (view["state"], view["breaker"]) == ("open", "open")
    assert view["parked"] >= 100
    assert waiting["attempt"] == 1
    assert "breaker is open" in waiting["detail"]
    assert {each["status"] for each in ended} == {"completed"}
    assert sorted(set(ward.order) & set(ids)) == ids


async def test_what_was_parked_goes_at_a_limited_rate(nats_server: NatsServer) -> None:
    """Not all at the moment when the service is well again: 400 in the first second."""
    ward = Ward()
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[ward.service], flow={"shop": SETTINGS}
    ) as movant:
        await movant("pause", kind="service", name="shop")
        ids = await started(movant, 600)
        ward.ill = False
        await until(lambda: movant.daemon.parts.router.flows["shop"].parked == 600)
        await movant("resume", kind="service", name="shop")
        await until(lambda: len(ward.asked) == 600)
        await movant.ended(ids[-1])
    first = ward.asked[0][0]
    early = [at for at, _, _ in ward.asked if at < first + 0.5]

    assert 100 <= len(early) <= 260
    assert ward.order == ids


async def test_no_more_than_the_limit_are_under_way(nats_server: NatsServer) -> None:
    """All instances of a daemon share the places of a service."""
    ward = Ward()
    ward.ill = False
    limits = {"shop": FlowSettings(concurrency_max=3)}
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[ward.service], flow=limits
    ) as movant:
        ids = await started(movant, 60, steps=3)
        ended = [await movant.ended(each) for each in ids]
        flow = movant.daemon.parts.router.flows["shop"]
        left = (flow.in_flight, flow.parked)

    assert {tuple(each["result"]) for each in ended} == {(0, 1, 2)}
    assert ward.most <= 3
    assert left == (0, 0)


async def test_a_rate_holds_for_all_instances(nats_server: NatsServer) -> None:
    """Fifty a second: forty requests take three quarters of one, whoever sends them."""
    ward = Ward()
    ward.ill = False
    limits = {"*": FlowSettings(rate_per_s=50, burst=1)}
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[ward.service], flow=limits
    ) as movant:
        ids = await started(movant, 40)
        for each in ids:
            await movant.ended(each)
    took_s = ward.asked[-1][0] - ward.asked[0][0]

    assert 0.6 <= took_s <= 2.0


async def test_an_emergency_overtakes_a_batch(nats_server: NatsServer) -> None:
    """By the priority of the start or of the step; among equals the oldest goes first."""
    ward = Ward()
    ward.ill = False
    limits = {"shop": FlowSettings(concurrency_max=1)}
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[ward.service], flow=limits
    ) as movant:
        await movant("pause", kind="service", name="shop")
        batch = await started(movant, 5, "batch", of_run=-9)
        ordinary = await started(movant, 5, "ordinary")
        steps = await started(movant, 2, "step", priority=5)
        urgent = await started(movant, 2, "urgent", of_run=9)
        await movant(
            "run.start",
            workflow="flow.parent",
            id="parent",
            priority=9,
            input={"child": "child"},
        )
        await until(lambda: movant.daemon.parts.router.flows["shop"].parked == 15)
        await movant("resume", kind="service", name="shop")
        await until(lambda: len(ward.asked) == 15)

    assert ward.order == [*urgent, "child", *steps, *ordinary, *batch]


async def test_retry_after_holds_the_whole_service(nats_server: NatsServer) -> None:
    """One run is told to come later; the others do not ask before that either."""
    asked: list[float] = []
    shop = Service("shop")

    @shop.operation("buy")
    async def buy() -> int:
        asked.append(trio.current_time())
        if len(asked) == 1:
            raise Failed("busy", "later", retry_after_s=1.0)
        return 1

    async with daemon(nats_server.url, workflows=FLOWS, services=[shop]) as movant:
        await started(movant, 1, "first")
        await until(lambda: asked)
        await until(lambda: movant.daemon.parts.router.flows["shop"].guarded)
        await started(movant, 20, "other")
        view = await shown(movant)
        ended = await movant.ended("other0019")

    assert view["state"] == "busy"
    assert ended["status"] == "completed"
    assert min(asked[1:]) - asked[0] >= 0.9


async def test_a_request_asked_again_tells_the_time_that_is_left(nats_server: NatsServer) -> None:
    """The service need not work on what nobody will wait for."""
    with Raw(nats_server.url) as raw:
        raw.send(b"SUB movant.svc.shop.buy q 1\r\n")
        raw.sync()
        async with daemon(nats_server.url, workflows=FLOWS, reask_s=0.3) as movant:
            await movant("run.start", workflow="flow.call", id="a", input={"timeout_s": 20})
            requests = [await raw.next() for _ in range(3)]
            raw.put(requests[0].reply.decode(), b"7")
            ended = await movant.ended("a")
            await movant("run.start", workflow="flow.bounded", id="b", input=5)
            requests.append(await raw.next())

    told = [float(re.findall(rb"Movant-Timeout: ([0-9.]+)", each.headers)[0]) for each in requests]
    assert ended["result"] == [7]
    assert told[0] == 20
    assert 19.0 < told[1] <= 19.75
    assert 18.0 < told[2] <= told[1] - 0.25
    assert 4.0 < told[3] <= 5.0


async def test_a_service_that_hangs_is_left_alone_until_it_answers_a_ping(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its subscription is there, so only pings tell; no attempt is used up meanwhile."""
    monkeypatch.setattr(pings, "PING_S", 0.1)
    monkeypatch.setattr(pings, "PING_ANSWER_S", 0.5)
    settings = FlowSettings(breaker_failures=3, breaker_of=3, breaker_open_s=600)
    process = Process(
        *("-m", "runtime", "service", "run", "tests.support.hosted:service"),
        *("--nats", nats_server.url),
    )
    try:
        process.start()
        async with daemon(nats_server.url, workflows=FLOWS, flow={"shop": settings}) as movant:
            flow = movant.daemon.parts.router.flow("shop")
            await movant("run.start", workflow="flow.call", id="held", input={"operation": "slow"})
            await until(lambda: flow.speaks)
            process.signal(signal.SIGSTOP)
            await until(lambda: flow.breaker.state == "open")
            await started(movant, 20, attempts=1)
            waiting = await movant.view_when(
                "r0019", lambda view: "no ping" in view["waiting"][0]["detail"]
            )
            view = await shown(movant)
            process.signal(signal.SIGCONT)
            ended = [await movant.ended(f"r{number:04}") for number in range(20)]
    finally:
        process.close()

    assert waiting["waiting"][0]["attempt"] == 1
    assert (view["state"], view["parked"]) == ("open", 20)
    assert view["counters"]["silent_s"] > 0
    assert {each["status"] for each in ended} == {"completed"}


async def test_parked_requests_survive_a_kill(nats_server: NatsServer, tmp_path: Any) -> None:
    """Breaker open, service paused, and a limit: killed with all of them parked, none is lost."""
    configuration = tmp_path / "movant.toml"
    configuration.write_text("[flow.shop]\nconcurrency_max = 5\n")
    shop = Shop()
    async with (
        offered(nats_server.url, shop.service),
        daemon_process(nats_server.url, workflows=FLOWS, configuration=configuration) as (
            process,
            api,
        ),
    ):
        await api("pause", kind="service", name="shop", by="ann", reason="upgrade")
        items = [{"id": f"k{number}", "input": {"steps": 2}} for number in range(400)]
        await api("run.start_many", workflow="flow.call", items=items)
        await api.view_when("k399", lambda view: "paused" in view["waiting"][0]["detail"])
        for _ in range(2):
            process.kill()
            process.start()
            await api.ready()
        still = await api.view_when(
            "k399", lambda view: "paused by ann" in view["waiting"][0]["detail"]
        )
        asked = len(shop.calls)
        await api("resume", kind="service", name="shop")
        await until(lambda: len(shop.keys) > 100)
        process.kill()
        process.start()
        await api.ready()
        ended = [await api.ended(f"k{number}") for number in range(400)]

    assert asked == 0
    assert still["waiting"][0]["attempt"] == 1
    assert {tuple(each["result"]) for each in ended} == {(0, 1)}
    assert shop.doubled == []


async def test_what_is_parked_leaves_memory_and_comes_back(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a service costs the daemon a ticket; wakes cover it meanwhile."""
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.1)
    monkeypatch.setattr(passivation, "IDLE_S", 0.2)
    shop = Shop()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as movant:
        await movant("service.force", name="shop", state="open", by="ann")
        ids = await started(movant, 300)
        owner = movant.daemon.parts.owner
        await until(lambda: owner.activation.count == 0 and not owner.live)
        view = await shown(movant)
        waiting = (await movant("run.show", id=ids[5]))["waiting"][0]
        entries = sum(len(each.entries) for each in (await owner.checkpoint()).values())
        await movant("service.force", name="shop", state="auto")
        for each in ids:
            await movant.ended(each)

    assert view["parked"] == 300
    assert view["breaker"] == "open (forced)"
    assert "breaker is open (forced)" in waiting["detail"]
    assert entries == 0
    assert sorted(shop.keys) == [f"{each}/1/s" for each in ids]


async def test_a_step_that_may_be_sent_once_is_sent_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parked, covered by a wake, out of memory and back: one request and no more."""
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.1)
    monkeypatch.setattr(passivation, "IDLE_S", 0.2)
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 0.5)
    shop = Shop()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as movant:
        await movant("pause", kind="service", name="shop")
        ids = await started(movant, 30, idempotent=False)
        await until(lambda: not movant.daemon.parts.owner.live)
        await trio.sleep(1.5)  # some of their wakes have fired
        await movant("resume", kind="service", name="shop")
        for each in ids:
            assert (await movant.ended(each))["status"] == "completed"

    assert sorted(call.key for call in shop.calls) == [f"{each}/1/s" for each in ids]
