"""Compensation with a real server: kill -9 in the middle of it, late effects, undo by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio

from protocols.errors import MovantError, RefusedError
from tests.support.daemon import WORKFLOWS, Api, daemon, daemon_process, offered, until
from tests.support.desk import Desk
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

TRIPS = WORKFLOWS / "trips.py"
STEPS = 4
RUNS = 30
ALL_S = 40.0


async def all_have(api: Api, status: str, count: int) -> None:
    """Wait until so many runs have a status."""
    page: Any = None
    with trio.move_on_after(ALL_S):
        while True:
            try:
                page = await api("run.ls", status=status, limit=1, answer_s=3.0)
            except MovantError as error:
                page = error
            if isinstance(page, dict) and page["total"] == count:
                return
            await trio.sleep(0.05)
    raise AssertionError(f"{status}: {page}")


async def test_a_run_that_fails_is_undone_and_says_so(nats_server: NatsServer) -> None:
    """In reverse order, by key; the outcome, the view and the event list the steps."""
    desk = Desk()
    async with daemon(nats_server.url, workflows=[TRIPS], services=[desk.service]) as movant:
        outcome = await movant.run("trips.book", {"steps": 3}, id="a")
        view = await movant("run.show", id="a")
        waited = await movant("run.wait", id="a", timeout_s=1)
        history = await movant("run.history", id="a")

    assert outcome["status"] == view["status"] == waited["status"] == "compensated"
    assert outcome["failure"]["kind"] == "broken"
    assert view["steps"] == waited["steps"]
    assert [(each["path"], each["fate"]) for each in view["steps"]] == [
        ("/s", "undone"),
        ("/s#2", "undone"),
        ("/s#3", "undone"),
    ]
    assert desk.order == ["a/1/s#3", "a/1/s#2", "a/1/s"]
    assert desk.booked == set()
    paths = [each["path"] for each in history["entries"] if each["kind"] == "reply"]
    assert paths[3:] == ["/s#3/undo", "/s#2/undo", "/s/undo"]


async def test_what_cannot_be_undone_ends_as_an_incident(nats_server: NatsServer) -> None:
    """The run ends, and by hand it is tried again when the cause is gone."""
    desk = Desk()
    desk.stuck = True
    async with daemon(nats_server.url, workflows=[TRIPS], services=[desk.service]) as movant:
        view = await movant.run("trips.book", {"steps": 1, "undos": 2}, id="a")
        desk.stuck = False
        plan = await movant("run.undo", id="a", plan=True)
        first = await movant("run.undo", id="a", reason="it works again", by={"who": "ann"})
        again = await movant("run.undo", id="a")
        undone = await movant.ended(first["run"])

    assert len(desk.cancels) == 3  # two by the run, one by hand
    assert view["status"] == "compensation_incomplete"
    assert [each["fate"] for each in view["steps"]] == ["could_not"]
    assert "stuck" in view["steps"][0]["detail"]
    assert [each["key"] for each in plan["plan"]] == ["a/1/s"]
    assert "run" not in plan or plan["run"] == ""
    assert again["run"] == first["run"]
    assert undone["status"] == "completed"
    assert undone["input"]["who"] == "ann"
    assert [each["fate"] for each in undone["result"]] == ["undone"]
    assert desk.undone == {"a/1/s": 1}


async def test_a_cancel_waits_for_what_is_in_flight(nats_server: NatsServer) -> None:
    """The attempt happens after the cancel, and is undone before what was done earlier."""
    desk = Desk()
    async with daemon(nats_server.url, workflows=[TRIPS], services=[desk.service]) as movant:
        await movant("run.start", workflow="trips.given_up", id="a")
        await movant.waits("a", "step")
        await movant("run.cancel", id="a", reason="enough")
        desk.hold.set()
        view = await movant.ended("a")

    assert view["status"] == "compensated"
    assert view["failure"]["kind"] == "cancelled"
    assert desk.done == desk.undone == {"a/1/s": 1}


async def test_a_late_success_after_the_end_can_be_undone_by_hand(
    nats_server: NatsServer,
) -> None:
    """An incident offers it; the outcome of the run stays."""
    desk = Desk()
    incidents: list[Any] = []
    async with daemon(nats_server.url, workflows=[TRIPS], services=[desk.service]) as movant:
        await movant.transport.subscribe("movant.event.*.a.incident", incidents.extend)
        ended = await movant.run("trips.given_up", id="a")
        desk.hold.set()
        await until(lambda: incidents)
        order = await movant("run.undo", id="a")
        undone = await movant.ended(order["run"])
        view = await movant("run.show", id="a")

    assert ended["status"] == view["status"] == "completed"
    assert [each["fate"] for each in ended["steps"]] == ["unknown"]
    assert b"movant run undo a" in incidents[0].payload
    assert undone["status"] == "completed"
    assert desk.undone == {"a/1/s": 1}


async def test_a_run_that_goes_on_is_stopped_and_undone_by_hand(nats_server: NatsServer) -> None:
    """The plan first, then the undo; who asked and why stand in the history."""
    desk = Desk()
    async with daemon(nats_server.url, workflows=[TRIPS], services=[desk.service]) as movant:
        await movant("run.start", workflow="trips.book", input={"steps": 2, "waits": 1}, id="a")
        await movant.waits("a", "signal")
        plan = await movant("run.undo", id="a", plan=True)
        ann = {"who": "ann"}
        await movant("run.undo", id="a", reason="wrong week", by=ann, message_id="m1")
        view = await movant.ended("a")
        history = await movant("run.history", id="a")
        with pytest.raises(RefusedError, match="nothing to undo"):
            await movant("run.undo", id="a")

    assert [each["path"] for each in plan["plan"]] == ["/s#2", "/s"]
    assert view["status"] == "compensated"
    assert view["failure"]["message"] == "undone by ann: wrong week"
    (asked,) = [each for each in history["entries"] if each["kind"] == "control.undo"]
    assert (asked["summary"], asked["by"]["who"]) == ("wrong week", "ann")
    assert desk.order == ["a/1/s#2", "a/1/s"]


@pytest.mark.parametrize("answers", [True, False])
async def test_what_the_other_service_did_is_surplus(
    nats_server: NatsServer,
    answers: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Both did it: the first answer is the value, and the other one is undone, late or unheard."""
    one, two = Desk("one"), Desk("two")
    services = [one.service, two.service]
    table = {
        "services": {"one": {}, "two": {}},
        "routes": {"desks": {"to": ["one", "two"]}},
    }
    async with daemon(nats_server.url, workflows=[TRIPS], services=services) as movant:
        await movant("workflow.route", workflows=["trips.either"], table=table)
        await movant("run.start", workflow="trips.either", id="a")
        await until(lambda: two.asked)
        one.hold.set()
        await movant.waits("a", "signal")
        if answers:
            two.hold.set()
        await until(lambda: two.cancels)
        two.hold.set()
        await movant("run.signal", id="a", name="go")
        view = await movant.ended("a")

    assert (view["status"], view["result"]) == ("completed", "slowly")
    assert [(x["service"], x["fate"]) for x in view["steps"]] == [
        ("one", "done"),
        ("two", "undone"),
    ]
    assert (one.booked, one.undone) == ({"a/1/s"}, {})
    assert (two.booked, set(two.refused)) == (set(), {"a/1/s"})
    assert two.done == two.undone == ({"a/1/s": 1} if answers else {})


async def test_a_person_says_whether_it_was_done(nats_server: NatsServer) -> None:
    """Through the API; a daemon that dies meanwhile waits on, and the history has who and why."""
    desk = Desk()
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=[TRIPS]) as (process, api),
    ):
        await api("run.start", workflow="trips.reviewed", id="a")
        await api.waits("a", "review")
        process.kill()
        process.start()
        await api.waits("a", "review")
        with pytest.raises(RefusedError, match="nobody's word about /t"):
            await api("run.review", id="a", step="/t", done=True)
        ann = {"who": "ann", "where": "desk 4", "why": "I have looked"}
        await api("run.review", id="a", step="/s", done=True, result="by hand", by=ann)
        view = await api.ended("a")
        history = await api("run.history", id="a")
        verified = await api("run.verify", id="a")

    (said,) = [each for each in history["entries"] if each["kind"] == "control.review"]
    assert (view["status"], view["result"]) == ("completed", "by hand")
    assert (said["path"], said["summary"], said["by"]) == ("/s", "done", ann)
    assert not verified["findings"]
    assert desk.asked == ["a/1/s"]


async def test_a_function_of_ones_own_is_undone(nats_server: NatsServer, tmp_path: Path) -> None:
    """In the daemon, like the function itself."""
    file = tmp_path / "file"
    async with daemon(nats_server.url, workflows=[TRIPS]) as movant:
        outcome = await movant.run("trips.local", str(file), id="a")

    assert outcome["status"] == "compensated"
    assert file.read_text() == "written\nundone a/1/write\n"


async def test_a_daemon_that_dies_in_the_middle_goes_on_where_it_was(
    nats_server: NatsServer,
) -> None:
    """The undo that was under way is asked again with its key; none is done twice."""
    desk = Desk()
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=[TRIPS]) as (process, api),
    ):
        await api("run.start", workflow="trips.book", input={"steps": STEPS, "waits": 1}, id="a")
        await api.waits("a", "signal")
        desk.go = trio.Event()
        await api("run.signal", id="a", name="go")
        await until(lambda: desk.cancels)
        process.kill()
        desk.go.set()
        await until(lambda: desk.order)
        process.start()
        view = await api.ended("a")

    assert view["status"] == "compensated"
    assert desk.order == [f"a/1/s#{n}" for n in range(STEPS, 1, -1)] + ["a/1/s"]
    assert set(desk.undone.values()) == {1}
    assert {call.undoes for call in desk.cancels} == set(desk.order)


@pytest.mark.slow
async def test_daemons_that_are_killed_again_and_again_undo_everything_once(
    nats_server: NatsServer,
) -> None:
    """At random moments of steps and undos: every booking is undone once, each run in order."""
    desk = Desk()
    chance = random.Random(4)  # noqa: S311 - a seed that replays it
    ids = [f"k{n}" for n in range(RUNS)]
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=[TRIPS]) as (process, api),
    ):
        items = [{"id": id_, "input": {"steps": STEPS}} for id_ in ids]
        await api("run.start_many", workflow="trips.book", items=items)
        for _ in range(6):
            await trio.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            process.start()
        await all_have(api, "compensated", RUNS)

    assert desk.booked == set()
    assert set(desk.done.values()) == set(desk.undone.values()) == {1}
    assert len(desk.undone) == RUNS * STEPS
    for id_ in ids:
        undone = [key for key in desk.order if key.startswith(f"{id_}/")]
        assert undone == [f"{id_}/1/s#{n}" for n in range(STEPS, 1, -1)] + [f"{id_}/1/s"]
