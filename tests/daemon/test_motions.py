"""Motions on a real server: all states, a hosted service each, killed daemons, new versions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from protocols import events
from protocols import headers as h
from protocols.errors import MovantError
from protocols.ports import Frame
from protocols.service import Call, Failed, Refused, Service
from tests.motions.machines import PERMIT
from tests.support.daemon import Api, daemon, daemon_process, offered, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

PERMIT_FILE: Final = Path(__file__).parent.parent / "motions" / "permit.yaml"
MOTIONS: Final = 30
ROUNDS: Final = 6
ALL_S: Final = 50.0


class Offices:
    """Every service of the permit: each does its work once per key and says what it is told to."""

    def __init__(self) -> None:
        self.keys: Counter[str] = Counter()
        self.requests: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {"vote": {"ayes": 3, "noes": 1}}
        """What an operation says; an error is raised; called with the request when it can be."""
        self.work_s = 0.0
        self.services = [
            self._service("clerk", "check", "file"),
            self._service("council", "vote", "review"),
            self._service("builder", "build"),
            self._service("mason", "build"),
            self._service("inspector", "inspected"),
            self._service("diary", "note"),
        ]

    def _service(self, name: str, *operations: str) -> Service:
        service = Service(name)
        for operation in operations:
            service.operation(operation)(self._handler(operation))
        return service

    def _handler(self, operation: str) -> Any:
        async def handle(request: Any, call: Call) -> Any:
            self.requests.append((f"{call.service}.{operation}", request))
            await trio.sleep(self.work_s)
            self.keys[call.key] += 1
            answer = self.answers.get(operation, operation)
            if callable(answer):
                answer = answer(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return handle


class Witness:
    """What was told of every motion, each event once."""

    def __init__(self) -> None:
        self.seen: dict[str, events.Event] = {}

    def __call__(self, frames: Sequence[Frame]) -> None:
        """Take events, and repeats of them."""
        for frame in frames:
            event = events.from_wire(h.decode(frame.headers) or {}, frame.payload)
            self.seen[event.id] = event

    def of(self, motion: str, kind: str) -> list[Any]:
        """Return the data of the events of a kind."""
        return [
            each.data
            for each in self.seen.values()
            if (each.instance, each.kind) == (motion, kind)
        ]

    def way(self, motion: str) -> list[str]:
        """Return the states that a motion went through, by the numbers of its transitions."""
        found = sorted(self.of(motion, "transition"), key=lambda each: each["number"])
        assert [each["number"] for each in found] == list(range(1, len(found) + 1))
        assert [each["from"] for each in found] == ["", *(each["to"] for each in found)][:-1]
        return [each["to"] for each in found]


async def test_a_motion_goes_through_all_its_states(nats_server: NatsServer) -> None:
    """From a file to an end: its owners are asked, each transition is an event with its facts."""
    offices, witness = Offices(), Witness()
    async with daemon(
        nats_server.url, workflows=[PERMIT_FILE], services=offices.services
    ) as movant:
        await movant.transport.subscribe("movant.event.permit.>", witness)
        outcome = await movant.run("permit", {"plot": 7}, id="m-1")
        view = await movant("run.show", id="m-1")
        await until(lambda: witness.of("m-1", "completed"))
        shown = await movant("workflow.show", name="permit")
        verified = await movant("run.verify", id="m-1")
    stated = [each["witness"] for each in witness.of("m-1", "transition")]

    assert verified["findings"] == []
    assert verified["statements"] == verified["published"] == len(stated) + 2
    assert [each["detail"].rpartition(" ")[2] for each in stated] == witness.way("m-1")
    assert outcome["status"] == "completed"
    assert outcome["result"]["state"] == "DONE"
    assert witness.way("m-1") == ["FILED", "REVIEWED", "BUILDING", "INSPECTED", "DONE"]
    assert [service for service, _ in offices.requests] == [
        "clerk.check",
        "council.vote",
        "builder.build",
        "diary.note",
        "inspector.inspected",
        "clerk.file",
    ]
    facts = witness.of("m-1", "transition")[2]
    assert (facts["owner"], facts["next_owner"], facts["cause"]) == (
        "council",
        "builder",
        "completed",
    )
    assert len(facts["input"]) == len(facts["output"]) == 64
    assert view["state"]["history"][-1]["to"] == "DONE"
    assert shown["machine"]["initial"] == "FILED"
    assert set(shown["machine"]["states"]) == set(PERMIT.states)


async def test_failures_lead_where_the_directives_say(nats_server: NatsServer) -> None:
    """Back, to a review, to another provider, to a halt: with real answers of real services."""
    offices, witness = Offices(), Witness()
    builds = iter([Refused("validation", "too high"), Failed("network"), Failed("network")])
    offices.answers["build"] = lambda _: next(builds, "a house")
    offices.answers["inspected"] = Refused("compliance", "no stairs")
    offices.answers["review"] = "halt"
    async with daemon(
        nats_server.url, workflows=[PERMIT_FILE], services=offices.services
    ) as movant:
        await movant.transport.subscribe("movant.event.permit.>", witness)
        await movant("run.start", workflow="permit", input=None, id="m-1")
        halted = await movant.view_when(
            "m-1", lambda view: str(view["state"].get("blocked")).startswith("halted")
        )
        offices.answers["inspected"] = "stairs"
        await movant("run.signal", id="m-1", name="motion.resume", data={"who": "ann"})
        view = await movant.ended("m-1")
        await until(lambda: witness.of("m-1", "completed"))

    assert halted["state"]["state"] == "INSPECTED"
    assert [each["detail"] for each in halted["waiting"]] == ["motion.resume"]
    assert view["status"] == "completed"
    assert witness.way("m-1") == [
        "FILED",
        "REVIEWED",
        "BUILDING",
        "REVIEWED",
        "BUILDING",
        "INSPECTED",
        "DONE",
    ]
    assert [each["directive"] for each in witness.of("m-1", "directive")] == [
        "return_to_previous",
        "retry",
        "fallback",
        "review",
        "halt_and_alert",
    ]
    assert [each["error"]["class"] for each in witness.of("m-1", "incident")] == ["compliance"]


async def test_a_running_motion_keeps_its_machine(nats_server: NatsServer, tmp_path: Path) -> None:
    """A new version is deployed beside it, without a restart; what starts then has the new one."""
    offices, witness = Offices(), Witness()
    file = tmp_path / "permit.yaml"
    file.write_text(PERMIT_FILE.read_text())
    async with daemon(nats_server.url, workflows=[file], services=offices.services) as movant:
        await movant.transport.subscribe("movant.event.permit.>", witness)
        offices.answers["vote"] = Failed("system")  # it halts, until somebody resumes it
        await movant("run.start", workflow="permit", input=None, id="old")
        await until(lambda: any(name == "council.vote" for name, _ in offices.requests))
        text = file.read_text().replace("next: INSPECTED", "next: DONE")
        short = text[: text.index("  INSPECTED:")] + text[text.index("  DONE:") :]
        file.write_text(short)
        await movant.daemon.register(file)
        offices.answers["vote"] = {"ayes": 3, "noes": 1}
        new = await movant.run("permit", None, id="new")
        old = await movant("run.show", id="old")
        await until(lambda: witness.of("new", "completed"))

    assert new["status"] == "completed"
    assert witness.way("new") == ["FILED", "REVIEWED", "BUILDING", "DONE"]
    assert old["status"] == "running"
    assert old["definition"] != new["definition"]


async def all_ended(api: Api) -> None:
    """Wait until every motion has ended, whoever is killed meanwhile."""
    page: Any = None
    with trio.move_on_after(ALL_S):
        while True:
            try:
                page = await api("run.ls", status="completed", limit=1, answer_s=3.0)
            except MovantError as error:
                page = error
            if isinstance(page, dict) and page["total"] == MOTIONS:
                return
            await trio.sleep(0.05)
    raise AssertionError(page)


@pytest.mark.slow
async def test_a_daemon_that_is_killed_in_the_middle_of_motions(nats_server: NatsServer) -> None:
    """Again and again, at random: every motion ends, in its order, each work done once."""
    offices, witness = Offices(), Witness()
    chance = random.Random(3)  # noqa: S311 - a seed that replays it

    def build(request: Any) -> Any:
        first = request["entry"] == 1 and request["input"]["plot"] % 5 == 0
        return Refused("validation", "too high") if first else "a house"

    offices.answers["build"] = build
    offices.work_s = 0.15
    under_way = []
    items = [{"id": f"m{n}", "input": {"plot": n}} for n in range(MOTIONS)]
    async with (
        offered(nats_server.url, *offices.services),
        daemon_process(nats_server.url, workflows=[PERMIT_FILE]) as (process, api),
    ):
        await api.transport.subscribe("movant.event.permit.>", witness)
        await api("run.start_many", workflow="permit", items=items)
        for _ in range(ROUNDS):
            await trio.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            under_way.append(sum(not witness.of(f"m{n}", "completed") for n in range(MOTIONS)))
            process.start()
        await all_ended(api)
        await until(lambda: all(witness.of(f"m{n}", "completed") for n in range(MOTIONS)))

    assert under_way[0] == MOTIONS
    assert max(offices.keys.values()) == 1
    for n in range(MOTIONS):
        back = ["BUILDING", "REVIEWED"] if n % 5 == 0 else []
        way = ["FILED", "REVIEWED", *back, "BUILDING", "INSPECTED", "DONE"]
        assert witness.way(f"m{n}") == way
        assert witness.of(f"m{n}", "transition_refused") == []
