"""Pause and resume: a service, a workflow, a run, everything; on the real server."""

from __future__ import annotations

import pytest
import trio

from protocols.errors import BadValueError, InvalidIdError
from tests.support.daemon import WORKFLOWS, daemon, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

FLOWS = [WORKFLOWS / "flows.py", WORKFLOWS / "probe.py"]


@pytest.mark.parametrize(
    ("kind", "name", "goes_on"),
    [("run", "a", "b"), ("workflow", "flow.call", "p"), ("service", "shop", "local")],
)
async def test_what_is_paused_sends_nothing_and_the_rest_goes_on(
    nats_server: NatsServer, kind: str, name: str, goes_on: str
) -> None:
    """One run, one workflow, one service; who and why is told, and a resume lets it go on."""
    shop = Shop()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as movant:
        told = await movant(
            "pause", kind=kind, name=name, reason="look first", by={"who": "ann", "where": "desk"}
        )
        for each in ("a", "b"):
            await movant("run.start", workflow="flow.call", id=each, input={})
        await movant("run.start", workflow="probe.steps", id="p", input={"steps": 1})
        await movant("run.start", workflow="flow.local", id="local", input=7)
        other = await movant.ended(goes_on)
        view = await movant.view_when("a", lambda view: view.get("waiting"))
        held = (await movant("status"))["holds"]
        await trio.sleep(0.3)
        asked = [call.key for call in shop.calls if call.key.startswith("a/")]
        await movant("resume", kind=kind, name=name)
        ended = [await movant.ended(each) for each in ("a", "b", "p", "local")]
        after = (await movant("status")).get("holds", [])

    assert other["status"] == "completed"
    assert told["hold"]["paused"]
    assert held[0]["by"] == {"who": "ann", "where": "desk"}
    assert held[0]["reason"] == "look first"
    text = view["waiting"][0]["detail"] + view.get("paused", "")
    assert f"{kind} is paused by ann: look first" in text
    assert asked == []
    assert {each["status"] for each in ended} == {"completed"}
    assert after == []


async def test_everything_can_be_paused_functions_of_workflows_too(
    nats_server: NatsServer,
) -> None:
    """Nothing is dispatched until somebody resumes; signals, timers and starts are taken."""
    shop = Shop()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as movant:
        await movant("pause", kind="all", by="ann")
        await movant("run.start", workflow="flow.call", id="a", input={})
        await movant("run.start", workflow="flow.local", id="l", input=7)
        slept = await movant.run("probe.sleep", 0.1)
        await trio.sleep(0.3)
        views = [await movant("run.show", id=each) for each in "al"]
        asked = len(shop.calls)
        await movant("resume", kind="all")
        ended = [(await movant.ended(each))["result"] for each in "al"]

    assert slept["status"] == "completed"
    assert [each["status"] for each in views] == ["running", "running"]
    assert {each["paused"] for each in views} == {"everything is paused by ann"}
    assert asked == 0
    assert ended == [[0], 7]


async def test_a_pause_outlives_a_daemon_and_reaches_the_others(nats_server: NatsServer) -> None:
    """The one that is told confirms when the other one knows; a third one reads it."""
    shop = Shop()
    async with (
        daemon(nats_server.url, workflows=FLOWS, services=[shop.service], name="one") as one,
        daemon(nats_server.url, workflows=FLOWS, name="two") as two,
    ):
        told = await one("pause", kind="service", name="shop", by="ann")
        known = [each.daemon.parts.router.flow("shop").hold is not None for each in (one, two)]
        for number in range(20):
            await one("run.start", workflow="flow.call", id=f"a{number}", input={})
        two.crash()
        one.crash()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as three:
        await until(lambda: three.daemon.parts.router.flow("shop").parked == 20)
        asked = len(shop.calls)
        await three("resume", kind="service", name="shop")
        for number in range(20):
            await three.ended(f"a{number}")

    assert told.get("unaware", []) == []
    assert known == [True, True]
    assert asked == 0
    assert shop.doubled == []


async def test_what_was_sent_before_a_pause_goes_on(nats_server: NatsServer) -> None:
    """Its answer is taken; it is not asked for again, and its time ends as usual."""
    shop = Shop()
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[shop.service], reask_s=0.3
    ) as movant:
        await movant(
            "run.start", workflow="flow.call", id="a", input={"operation": "slow", "timeout_s": 9}
        )
        await movant(
            "run.start",
            workflow="flow.call",
            id="b",
            input={"operation": "slow", "timeout_s": 0.8, "attempts": 2},
        )
        await until(lambda: len(shop.calls) == 2)
        await movant("pause", kind="all")
        await movant.view_when("b", lambda view: view["waiting"][0]["attempt"] == 2)
        asked = len(shop.calls)
        shop.hold.set()
        ended = await movant.ended("a")
        await movant("resume", kind="all")
        again = await movant.ended("b")

    assert asked == 2
    assert (ended["status"], again["status"]) == ("completed", "completed")


async def test_two_holds_on_one_run_have_both_to_be_lifted(nats_server: NatsServer) -> None:
    """Resuming the workflow does not resume a run that was paused by itself."""
    shop = Shop()
    async with daemon(nats_server.url, workflows=FLOWS, services=[shop.service]) as movant:
        await movant("pause", kind="workflow", name="flow.call")
        await movant("pause", kind="run", name="a", by="ann")
        await movant("run.start", workflow="flow.call", id="a", input={})
        await movant.view_when("a", lambda view: view.get("waiting"))
        await movant("resume", kind="workflow", name="flow.call")
        await trio.sleep(0.2)
        view = await movant("run.show", id="a")
        asked = len(shop.calls)
        await movant("resume", kind="run", name="a")
        ended = await movant.ended("a")

    assert view["paused"] == "run is paused by ann"
    assert asked == 0
    assert ended["status"] == "completed"


async def test_a_paused_run_can_be_cancelled(nats_server: NatsServer) -> None:
    """It waits for nobody any more, and its ticket is gone."""
    async with daemon(nats_server.url, workflows=FLOWS, services=[Shop().service]) as movant:
        await movant("pause", kind="service", name="shop")
        await movant("run.start", workflow="flow.call", id="a", input={})
        flow = movant.daemon.parts.router.flow("shop")
        await until(lambda: flow.parked == 1)
        await movant("run.cancel", id="a")
        ended = await movant.ended("a")
        left = flow.parked

    assert ended["status"] == "cancelled"
    assert left == 0


async def test_bad_names_are_refused(nats_server: NatsServer) -> None:
    """Nothing is stored under what no subject can carry."""
    async with daemon(nats_server.url) as movant:
        with pytest.raises(BadValueError):
            await movant("pause", kind="all", name="x")
        for kind, name in (("run", "no id"), ("service", ">"), ("workflow", "")):
            with pytest.raises(InvalidIdError):
                await movant("pause", kind=kind, name=name)
        with pytest.raises(BadValueError):
            await movant("pause", kind="planet", name="x")
        holds = (await movant("status")).get("holds", [])

    assert holds == []
