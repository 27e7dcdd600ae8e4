"""Undo of children with a real server: nested ones, running ones, kill -9, and by hand."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.support.daemon import WORKFLOWS, daemon, daemon_process, offered, until
from tests.support.desk import Desk
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

TRIPS = [WORKFLOWS / "trips.py"]
NESTED: dict[str, Any] = {"steps": 1, "child": {"steps": 2, "child": {"steps": 1}}}
ALL = ["a-c-c/1/s", "a-c/1/s#2", "a-c/1/s", "a/1/s"]
"""The keys of what it books, as they are undone."""


async def test_children_of_children_are_undone_and_the_plan_shows_them(
    nats_server: NatsServer,
) -> None:
    """In reverse order, by a run per child that its parent waits for."""
    desk = Desk()
    value = {**NESTED, "waits": 1, "fails": 1}
    async with daemon(nats_server.url, workflows=TRIPS, services=[desk.service]) as movant:
        await movant("run.start", workflow="trips.tour", input=value, id="a")
        await movant.waits("a", "signal")
        plan = await movant("run.undo", id="a", plan=True)
        await movant("run.signal", id="a", name="go")
        view = await movant.ended("a")
        child = await movant("run.show", id="a-c")

    assert [each["key"] for each in plan["plan"]] == desk.order == ALL
    assert [each.get("run", "") for each in plan["plan"]] == ["a-c-c", "a-c", "a-c", ""]
    assert view["status"] == "compensated"
    assert [(x["path"], x["fate"], x.get("child", "")) for x in view["steps"]] == [
        ("/s", "undone", ""),
        ("/leg", "undone", "a-c"),
    ]
    assert child["status"] == "completed"
    assert desk.booked == set()


async def test_a_child_that_runs_is_cancelled_and_undoes_itself(nats_server: NatsServer) -> None:
    """The parent waits for its end, and undoes what is older then."""
    desk = Desk()
    value = {"steps": 1, "child": {"steps": 1, "waits": 1}}
    async with daemon(nats_server.url, workflows=TRIPS, services=[desk.service]) as movant:
        await movant("run.start", workflow="trips.tour", input=value, id="a")
        await movant.waits("a-c", "signal")
        await movant("run.cancel", id="a", reason="enough")
        view = await movant.ended("a")
        child = await movant("run.show", id="a-c")

    assert (view["status"], child["status"]) == ("compensated", "compensated")
    assert desk.order == ["a-c/1/s", "a/1/s"]


async def test_a_daemon_that_dies_while_a_child_is_undone_does_it_once(
    nats_server: NatsServer,
) -> None:
    """The same run goes on, and tells the parent when it has ended."""
    desk = Desk()
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=TRIPS) as (process, api),
    ):
        value = {**NESTED, "waits": 1, "fails": 1}
        await api("run.start", workflow="trips.tour", input=value, id="a")
        await api.waits("a", "signal")
        desk.go = trio.Event()
        await api("run.signal", id="a", name="go")
        await until(lambda: desk.cancels)
        process.kill()
        desk.go.set()
        await until(lambda: desk.order)
        process.start()
        view = await api.ended("a")
        page = await api("run.ls", workflow="movant.undo", limit=10)

    assert view["status"] == "compensated"
    assert desk.order == ALL
    assert set(desk.undone.values()) == {1}
    assert [each["status"] for each in page["runs"]] == ["completed"]


async def test_by_hand_the_children_of_a_run_that_has_ended_are_undone(
    nats_server: NatsServer,
) -> None:
    """One run undoes all of it; its outcome stays."""
    desk = Desk()
    async with daemon(nats_server.url, workflows=TRIPS, services=[desk.service]) as movant:
        ended = await movant.run("trips.tour", NESTED, id="a")
        order = await movant("run.undo", id="a")
        undone = await movant.ended(order["run"])
        view = await movant("run.show", id="a")

    assert ended["status"] == view["status"] == "completed"
    assert [each["key"] for each in order["plan"]] == desk.order == ALL
    assert [each["path"] for each in undone["result"]] == [
        "a-c-c:/s",
        "a-c:/s#2",
        "a-c:/s",
        "/s",
    ]
