"""Many motions at once through seven offices, with failures of every kind, told beforehand.

``MOVANT_TEST_MOTIONS=1000`` lets that many run; it takes a minute on two busy processors.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from actors.store.direct_reader import DirectReader
from protocols import events
from protocols import headers as h
from protocols.ports import Frame
from protocols.service import Call, Failed, Refused, Service
from tests.motions.story import KINDS, OWNERS, THEN, Fates, Story, story
from tests.support.blocks import Record, rewrite
from tests.support.daemon import Api, daemon_process, offered
from tests.support.nats import NatsServer

BILL: Final = Path(__file__).parent.parent / "motions" / "bill.yaml"
SEED: Final = 7
MOTIONS: Final = int(os.environ.get("MOVANT_TEST_MOTIONS", "80"))
ALL_S: Final = 150.0
PATIENT: Final = """
reask_s = 600
[flow."*"]
breaker_open_s = 0.5
breaker_open_max_s = 2
"""
"""A fate counts calls: on a busy machine an answer may be under way for longer than 30 s. Where
calls of ill fate follow each other a breaker opens: 10, 20 and 40 s would be most of the test."""

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]


class Offices:
    """All services: each answers, or fails, as it is fated."""

    def __init__(self, fates: Fates) -> None:
        self._fates = fates
        self._calls: Counter[tuple[Any, ...]] = Counter()
        self.services = [
            self._service(name, "work", self._work) for name in sorted({*OWNERS.values()})
        ]
        self.services.append(self._service("deputy", "work", self._stand_in))
        self.services.append(self._service("auditor", "review", self._review))

    def _service(self, name: str, operation: str, answer: Any) -> Service:
        service = Service(name)

        async def handle(request: Any, call: Call) -> Any:
            visit = (request["motion_id"], request["state"], request["entry"])
            self._calls[call.service, *visit] += 1
            return answer(visit, self._calls[call.service, *visit] - 1)

        service.operation(operation)(handle)
        return service

    def _work(self, visit: tuple[str, str, int], before: int) -> Any:
        kind, failing = self._fates.trouble(*visit)
        if before >= failing:
            return self._fates.answer(*visit)
        if kind in {"validation", "permission", "compliance", "refused"}:
            raise Refused(kind, "as it is fated")
        raise Failed(kind, "as it is fated")

    def _stand_in(self, visit: tuple[str, str, int], before: int) -> Any:
        if self._fates.deputy_fails(*visit, before):
            raise Failed("system", "as it is fated")
        return self._fates.answer(*visit)

    def _review(self, visit: tuple[str, str, int], before: int) -> Any:
        return self._fates.ruling(*visit, before)


class Operator:
    """Has halted motions go on, or leaves them halted."""

    def __init__(self, api: Api, fates: Fates) -> None:
        self._api = api
        self._fates = fates
        self._told: set[str] = set()
        self._halts: Counter[str] = Counter()
        self._send, self._receive = trio.open_memory_channel[str](float("inf"))

    def take(self, frames: Sequence[Frame]) -> None:
        """Take incidents, each once."""
        for frame in frames:
            event = events.from_wire(h.decode(frame.headers) or {}, frame.payload)
            if event.id not in self._told:
                self._told.add(event.id)
                self._send.send_nowait(event.instance)

    async def run(self) -> None:
        """Work until cancelled."""
        async for motion in self._receive:
            self._halts[motion] += 1
            number = self._halts[motion]
            if self._fates.resumes(motion, number):
                await self._api(
                    "run.signal",
                    id=motion,
                    name="motion.resume",
                    data={"do": "retry", "who": "ann"},
                    message_id=f"{motion}.resume.{number}",
                )


async def all_told(api: Api, stories: dict[str, Story]) -> dict[str, Story]:
    """Return what EVENTS tells when every motion is where it has to be, or time is over."""
    wanted = sum(len(each.way) + each.halts for each in stories.values())
    ends = Counter(each.end for each in stories.values())
    with trio.move_on_after(ALL_S):
        while True:
            told = [
                (await api("run.ls", status=status, limit=1, answer_s=10.0))["total"]
                for status in ("completed", "failed")
            ]
            if told == [ends["completed"], ends["failed"]]:
                found = await read(api)
                if sum(len(each.way) + each.halts for each in found.values()) >= wanted:
                    return found
            await trio.sleep(0.3)
    return await read(api)


async def read(api: Api) -> dict[str, Story]:
    """Return the story of each motion as the events tell it, each once."""
    found: dict[str, Story] = defaultdict(Story)
    numbers: dict[str, list[int]] = defaultdict(list)
    seen = set()
    async with DirectReader(api.transport, "EVENTS") as reader:
        stored = await reader.subject("movant.event.bill.>")
    for each in stored:
        event = events.from_wire(h.decode(each.headers) or {}, each.payload)
        if event.id in seen:
            continue
        seen.add(event.id)
        data: Any = event.data
        one = found[event.instance]
        match event.kind:
            case "transition":
                assert data["witness"]["what"] == "transition"
                numbers[event.instance].append(data["number"])
                one.way.append((data["from"], data["to"], data["cause"]))
                one.end = ""
            case "directive":
                error = data["error"]
                one.directives.append((data["state"], error["class"], data["directive"]))
            case "incident":
                one.halts += 1
                one.end = "halted"
            case "completed" | "failed":
                one.end = event.kind
            case _:
                pass
    for motion, given in numbers.items():
        assert given == list(range(1, len(given) + 1)), motion
    return found


async def verified(url: str) -> str:
    """Return what ``movant verify --all`` says."""
    command = [sys.executable, "-m", "runtime", "verify", "--all", "--nats", url]
    ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    return (ended.stdout + ended.stderr).decode()


def differing(told: dict[str, Story], stories: dict[str, Story]) -> list[str]:
    """Return the motions that went another way."""
    return [
        f"{motion}: {told.get(motion)}, and not {each}"
        for motion, each in stories.items()
        if told.get(motion) != each
    ]


def with_other_byte(chance: random.Random, motions: set[str], victim: list[Record]) -> Any:
    """Return a change of one byte of one answer; what it was is put into ``victim``."""

    def change(records: list[Record]) -> Sequence[Record]:
        if victim:
            return records
        answers = [
            number
            for number, each in enumerate(records)
            if ".reply." in each.subject and each.payload and each.subject.split(".")[3] in motions
        ]
        at = chance.choice(answers)
        payload = bytearray(records[at].payload)
        payload[chance.randrange(len(payload))] ^= 1
        victim.append(records[at])
        records[at] = msgspec.structs.replace(records[at], payload=bytes(payload))
        return records

    return change


async def test_many_motions_end_where_the_directives_say(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Seven owners, 5 % failures of each of nine kinds; then one byte is changed, and named."""
    fates = Fates(SEED)
    stories = {f"m{n}": story(fates, f"m{n}") for n in range(MOTIONS)}
    items = [{"id": motion} for motion in stories]
    victim: list[Record] = []
    settings = tmp_path / "movant.toml"
    settings.write_text(PATIENT)
    async with (
        offered(nats_server.url, *Offices(fates).services),
        daemon_process(nats_server.url, workflows=[BILL], configuration=settings) as (
            process,
            api,
        ),
        trio.open_nursery() as nursery,
    ):
        operator = Operator(api, fates)
        await api.transport.subscribe("movant.event.bill.*.incident", operator.take)
        nursery.start_soon(operator.run)
        for start in range(0, MOTIONS, 100):
            await api("run.start_many", workflow="bill", items=items[start : start + 100])
        told = await all_told(api, stories)
        wrong = differing(told, stories)
        assert not wrong, "\n".join(wrong)
        clean = await verified(nats_server.url)
        nursery.cancel_scope.cancel()
        process.terminate()
    nats_server.stop()
    ended = {motion for motion, each in stories.items() if each.end == "completed"}
    change = with_other_byte(random.Random(SEED), ended, victim)  # noqa: S311 - a seed replays it
    rewrite(nats_server.directory, "MAIL", change)
    nats_server.start()
    motion = victim[0].subject.split(".")[3]
    async with daemon_process(nats_server.url, workflows=[BILL]) as (_, api):
        found = await api("run.verify", id=motion)
        others = [
            await api("run.verify", id=each) for each in list(stories)[:10] if each != motion
        ]

    met = {each[1:] for one in stories.values() for each in one.directives}
    assert met >= {(kind, THEN[kind][0]) for kind in KINDS}
    assert {do for _, do in met} == {do for each in THEN.values() for do in each}
    assert f"{MOTIONS:,} of {MOTIONS:,} runs verified, 0 with findings, 0 not" in clean
    assert [(x["kind"], x["stream"], x["seq"], x["subject"]) for x in found["findings"]] == [
        ("edited", "MAIL", victim[0].seq, victim[0].subject)
    ]
    assert [each["findings"] for each in others] == [[]] * len(others)
