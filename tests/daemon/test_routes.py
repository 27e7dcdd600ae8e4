"""Routing tables on the real server: pinned, changed while runs go on, and chosen by the owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.definitions.registry import LATEST_S
from protocols.errors import ConfigurationError, NotFoundError, RefusedError
from protocols.service import Failed, Service
from tests.support.daemon import WORKFLOWS, Running, daemon, daemon_process, offered, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

FLOWS = [WORKFLOWS / "flows.py"]
SERVICES: dict[str, Any] = {"one": {}, "two": {}, "three": {}}
ORDER = {"services": SERVICES, "routes": {"cards": {"to": ["one", "two"]}}}
RANKED = {"services": SERVICES, "routes": {"cards": {"to": ["one", "two"], "rank": "measured"}}}
ASKS = {"service": "cards"}


async def route(movant: Running, table: Any) -> str:
    """Let new runs use a table; return what they are pinned to."""
    told = await movant("workflow.route", workflows=["flow.call"], table=table)
    return str(told["definitions"]["flow.call"])


async def test_runs_keep_the_table_they_began_with(nats_server: NatsServer) -> None:
    """A table is loaded while runs go on: they keep theirs, new ones use the new one."""
    one, two = Shop("one"), Shop("two")
    other = {"services": SERVICES, "routes": {"cards": {"to": ["two"]}}}
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[one.service, two.service]
    ) as movant:
        first = await route(movant, ORDER)
        await movant("pause", kind="run", name="old")
        await movant("run.start", workflow="flow.call", id="old", input={**ASKS, "steps": 2})
        second = await route(movant, other)
        new = await movant.run("flow.call", {**ASKS, "steps": 2}, id="new")
        await movant("resume", kind="run", name="old")
        old = await movant.ended("old")
        shown = await movant("workflow.show", name="flow.call")

    assert first != second
    assert (old["definition"], new["definition"]) == (first, second)
    assert {call.key.partition("/")[0] for call in one.calls} == {"old"}
    assert {call.key.partition("/")[0] for call in two.calls} == {"new"}
    assert shown["routes"]["routes"]["cards"]["to"] == ["two"]


async def test_a_table_stays_when_a_workflow_is_registered_anew_and_can_be_taken_away(
    nats_server: NatsServer,
) -> None:
    """Code and table are deployed on their own; a raw start is pinned to both."""
    one, cards = Shop("one"), Shop("cards")
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[one.service, cards.service]
    ) as movant:
        pinned = await route(movant, ORDER)
        await movant.daemon.register(FLOWS[0])
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.raw.start.flow.call", msgspec.json.encode(ASKS))
        ended = await movant.ended("raw")
        without = await route(movant, {"services": {}, "routes": {}})
        plain = await movant.run("flow.call", ASKS)

    assert ended["definition"] == pinned
    assert "_" not in without
    assert plain["status"] == "completed"
    assert (len(one.calls), len(cards.calls)) == (1, 1)


async def test_a_table_is_known_to_all_daemons_at_once(nats_server: NatsServer) -> None:
    """Given to one, used half a second later by what another one starts; nothing restarts."""
    two = Shop("two")
    other = {"services": SERVICES, "routes": {"cards": {"to": ["two"]}}}
    async with (
        daemon(nats_server.url, workflows=FLOWS, services=[two.service], name="a") as first,
        daemon(nats_server.url, name="b") as second,
    ):
        await route(first, ORDER)
        ids = [f"r{number}" for number in range(8)]
        for each in ids:
            await second("run.start", workflow="flow.call", id=each, input={**ASKS, "steps": 0})
        pinned = await route(first, other)
        await trio.sleep(LATEST_S + 0.1)
        for each in ids:
            with Raw(nats_server.url) as raw:  # whichever of the two owns it
                raw.put(f"movant.to.n{each}.start.flow.call", msgspec.json.encode(ASKS))
        ended = [await second.ended(f"n{each}") for each in ids]

    assert {each["definition"] for each in ended} == {pinned}
    assert len(two.calls) == len(ids)


async def test_the_next_candidate_is_asked_with_the_same_key(nats_server: NatsServer) -> None:
    """The first one failed and says that it did nothing."""
    two = Shop("two")
    one = Service("one")

    @one.operation("buy")
    async def buy() -> int:
        raise Failed("busy", "not now")

    async with daemon(nats_server.url, workflows=FLOWS, services=[one, two.service]) as movant:
        await route(movant, ORDER)
        ended = await movant.run("flow.call", ASKS, id="a")
        history = await movant("run.history", id="a")

    assert ended["result"] == [0]
    assert [(call.key, call.attempt) for call in two.calls] == [("a/1/s", 2)]
    assert not [each for each in history["entries"] if each["kind"] == "owner.routed"]


async def test_after_a_timeout_nobody_else_is_asked(nats_server: NatsServer) -> None:
    """It may have done it: the same one is asked until it answers, though another one is there."""
    one, two = Shop("one"), Shop("two")
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[one.service, two.service]
    ) as movant:
        await route(movant, ORDER)
        await movant(
            "run.start",
            workflow="flow.call",
            id="a",
            input={**ASKS, "operation": "slow", "timeout_s": 0.3, "attempts": 9},
        )
        await movant.view_when("a", lambda view: view["waiting"][0]["attempt"] == 3)
        one.hold.set()
        ended = await movant.ended("a")

    assert ended["status"] == "completed"
    assert {call.key for call in one.calls} == {"a/1/s"}
    assert two.calls == []


@pytest.mark.parametrize("table", [ORDER, RANKED])
async def test_an_absent_candidate_is_passed_over_and_burns_no_attempt(
    nats_server: NatsServer, table: Any
) -> None:
    """The owner says whom it asks instead, before it asks; the choice is an event with reasons."""
    two = Shop("two")
    async with daemon(nats_server.url, workflows=FLOWS, services=[two.service]) as movant:
        await route(movant, table)
        ended = await movant.run("flow.call", {**ASKS, "attempts": 1}, id="a")
        history = await movant("run.history", id="a")
        with Raw(nats_server.url) as raw:
            subject = "movant.event.flow-call.a.routed"
            stored = raw.stored("EVENTS", subject)
            assert stored is not None
            event = msgspec.json.decode(stored["data"])

    routed = [each for each in history["entries"] if each["kind"] == "owner.routed"]
    assert ended["result"] == [0]
    assert [call.attempt for call in two.calls] == [1]
    assert routed[0]["summary"].startswith("two: ")
    assert (event["service"], event["attempt"]) == ("two", 1)
    assert [each["service"] for each in event["candidates"]] == ["one", "two"]
    assert event["candidates"][0]["state"] == "absent"


@pytest.mark.parametrize("table", [ORDER, RANKED])
async def test_a_service_that_may_not_be_asked_is_passed_over(
    nats_server: NatsServer, table: Any
) -> None:
    """Paused, or its breaker is open: also for those who wait for something else meanwhile."""
    one, two = Shop("one"), Shop("two")
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[one.service, two.service]
    ) as movant:
        await route(movant, table)
        await movant("pause", kind="service", name="one")
        paused = await movant.run("flow.call", ASKS, id="a")
        await movant("pause", kind="workflow", name="flow.call")
        await movant("run.start", workflow="flow.call", id="b", input=ASKS)
        await movant.view_when("b", lambda view: view.get("waiting"))
        await movant("resume", kind="workflow", name="flow.call")
        held = await movant.ended("b")
        await movant("service.force", name="one", state="open")
        await movant("resume", kind="service", name="one")
        forced = await movant.run("flow.call", ASKS, id="c")
        await movant("service.force", name="one", state="auto")
        free = await movant.run("flow.call", {**ASKS, "steps": 9}, id="d")

    assert [each["status"] for each in (paused, held, forced, free)] == ["completed"] * 4
    assert [call.key for call in two.calls][:3] == ["a/1/s", "b/1/s", "c/1/s"]
    assert one.calls
    assert {call.attempt for call in (*one.calls, *two.calls)} == {1}


async def test_nobody_there_waits_for_whoever_comes_first(nats_server: NatsServer) -> None:
    """No attempt is used; the second candidate comes and gets it."""
    two = Shop("two")
    async with daemon(nats_server.url, workflows=FLOWS) as movant:
        await route(movant, RANKED)
        ids = [f"a{number}" for number in range(50)]
        for each in ids:
            await movant("run.start", workflow="flow.call", id=each, input=ASKS)
        waiting = await movant.view_when(
            ids[-1], lambda view: "nobody of its route" in view["waiting"][0]["detail"]
        )
        async with offered(nats_server.url, two.service):
            for each in ids:
                await movant.ended(each)

    assert waiting["waiting"][0]["attempt"] == 1
    assert sorted(two.keys) == sorted(f"{each}/1/s" for each in ids)
    assert {call.attempt for call in two.calls} == {1}


class Timed:
    """A service that takes its time."""

    def __init__(self, name: str, took_s: float) -> None:
        self.took_s = took_s
        self.count = 0
        self.service = Service(name)
        self.service.operation("buy")(self.buy)

    async def buy(self) -> int:
        """Do it."""
        self.count += 1
        await trio.sleep(self.took_s)
        return 1


async def test_the_quicker_service_gets_the_work(nats_server: NatsServer) -> None:
    """Measured by the daemon itself, as its steps go."""
    one, two = Timed("one", 0.08), Timed("two", 0.0)
    async with daemon(
        nats_server.url, workflows=FLOWS, services=[one.service, two.service]
    ) as movant:
        await route(movant, RANKED)
        await movant.run("flow.call", {**ASKS, "steps": 60})

    assert two.count > 40
    assert one.count >= 1


async def test_a_choice_survives_a_kill(nats_server: NatsServer) -> None:
    """Chosen, folded, dispatched; the next life asks the same service, whoever is better now."""
    one, two = Shop("one"), Shop("two")
    async with daemon_process(nats_server.url, workflows=FLOWS) as (process, api):
        await api("workflow.route", workflows=["flow.call"], table=RANKED)
        async with offered(nats_server.url, two.service):
            await api(
                "run.start",
                workflow="flow.call",
                id="a",
                input={**ASKS, "operation": "slow", "timeout_s": 60},
            )
            await until(lambda: two.calls)
            process.kill()
            async with offered(nats_server.url, one.service):
                process.start()
                await api.ready()
                with trio.fail_after(20):
                    while not await api.counter("requests_sent"):
                        await trio.sleep(0.02)
                two.hold.set()
                ended = await api.ended("a")

    assert ended["status"] == "completed"
    assert one.calls == []
    assert {call.key for call in two.calls} == {"a/1/s"}


async def test_a_wrong_table_changes_nothing(nats_server: NatsServer) -> None:
    """It is checked before it is stored, with every problem named."""
    async with daemon(nats_server.url, workflows=FLOWS) as movant:
        with pytest.raises(ConfigurationError, match="unknown service 'ones'"):
            await route(movant, {**ORDER, "routes": {"cards": {"to": ["ones"]}}})
        with pytest.raises(NotFoundError, match="no workflow 'nobody'"):
            await movant("workflow.route", workflows=["nobody"], table=ORDER)
        shown = await movant("workflow.show", name="flow.call")

    assert not shown.get("routes")


MACHINE = """\
name: building
initial: PLANNED
states:
  PLANNED: {owner: pool, operation: buy, next: BUILT}
  BUILT: {terminal: true}
"""


async def test_every_state_of_a_machine_has_an_owner_in_its_table(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Whichever of the two comes later is refused; who does not answer now is only named."""
    file, worker = tmp_path / "building.yaml", Shop("worker")
    file.write_text(MACHINE)
    pool = {"services": {"worker": {}, "other": {}}, "routes": {"pool": {"to": ["worker"]}}}
    typo = {**pool, "routes": {"pol": {"to": ["worker"]}}}
    ask: dict[str, Any] = {"workflows": ["building"]}
    async with daemon(nats_server.url, workflows=[file], services=[worker.service]) as movant:
        with pytest.raises(ConfigurationError) as caught:
            await movant("workflow.route", **ask, table=typo)
        told = await movant("workflow.route", **ask, table=pool)
        file.write_text(MACHINE.replace("pool", "crew"))
        with pytest.raises(ConfigurationError, match="crew has no owner"):
            await movant.daemon.register(file)
        listed = await movant("workflow.ls")
        ended = await movant.run("building", {})

    assert "asked by building: states.PLANNED.owner" in caught.value.message
    assert "did you mean 'pol'?" in caught.value.hint
    assert told["absent"] == ["other"]
    assert listed["workflows"][0]["table"] == told["table"]
    assert ended["definition"] == told["definitions"]["building"]
    assert len(worker.calls) == 1


async def test_a_migration_does_not_move_an_open_step_to_another_service(
    nats_server: NatsServer,
) -> None:
    """The one that has it may have done it; force says that a person knows better."""
    one = Shop("one")
    other = {"services": SERVICES, "routes": {"cards": {"to": ["two"]}}}
    async with daemon(nats_server.url, workflows=FLOWS, services=[one.service]) as movant:
        await route(movant, ORDER)
        await movant(
            "run.start", workflow="flow.call", id="a", input={**ASKS, "operation": "slow"}
        )
        await until(lambda: one.calls)
        pinned = await route(movant, other)
        with pytest.raises(RefusedError, match="other services would be asked"):
            await movant("run.migrate", id="a")
        moved = await movant("run.migrate", id="a", force=True)
        one.hold.set()
        ended = await movant.ended("a")

    assert moved["definition"] == pinned
    assert ended["definition"] == pinned
