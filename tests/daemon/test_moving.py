"""Passes while partitions move between daemons: nothing is lost, nothing is done twice."""

from __future__ import annotations

import copy
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.owning.partitions import Partition
from actors.retention.collection import Fate
from actors.retention.collector import Collector
from actors.retention.fates import Fates, Key
from actors.retention.scan import Chunk
from protocols import subjects
from protocols.errors import UnavailableError
from protocols.subjects import partition_of
from runtime.config import RetentionConfig
from runtime.retention import OwnerTerritory
from tests.daemon.test_retention import (
    CHUNK,
    PARTITIONS,
    by_hand,
    collect,
    collected,
    fill,
    passivate,
)
from tests.support.daemon import (
    PROBE,
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

SMALL: dict[str, Any] = {
    "partitions": 8,
    "retention": RetentionConfig(messages_min=60, chunk=32, busy_max=1.0),
}
"""A pass every second or so, in many chunks."""
SMALL_TOML = """
partitions = 8
[retention]
messages_min = 60
chunk = 32
busy_max = 1.0
"""
STEPS = 3
LOOPS = WORKFLOWS / "loops.py"


def owned(running: Running) -> set[int]:
    """Return the partitions that a daemon owns."""
    return set(running.daemon.parts.owner.partitions.owned)


def first_seq(url: str) -> int:
    """Return where MAIL begins."""
    with Raw(url) as raw:
        return int(raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"])


def is_recorded(url: str, instance: str) -> bool:
    """Tell whether ARCHIVE has the record of an instance."""
    with Raw(url) as raw:
        subject = subjects.done(partition_of(instance, PARTITIONS), instance)
        return raw.stored("ARCHIVE", subject) is not None


def is_in(generation: int, view: Any) -> bool:
    """Tell whether a run is in a generation."""
    return bool(view["generation"] == generation)


class All(Api):
    """Asks all daemons at once, as a client does that got no answer: one may be gone."""

    prefix = subjects.API_AGAIN


async def signal_once(api: Api, instance: str, value: int) -> None:
    """Signal a run; however often it is asked for, it counts once."""
    message_id = f"{instance}-{value}"
    await api("run.signal", id=instance, name="go", data=value, message_id=message_id)


class Load:
    """Runs that end at once, and runs that wait through everything."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ended: list[str] = []
        self.waiting: list[str] = []
        self._seen = 0

    async def wave(self, api: Api, *, ended: int = 40, waiting: int = 6) -> None:
        """Start some more of both."""
        new = [f"e{len(self.ended) + n}" for n in range(ended)]
        items = [{"id": each, "input": {"steps": STEPS}} for each in new]
        await api("run.start_many", workflow="probe.steps", items=items)
        self.ended += new
        for _ in range(waiting):
            instance = f"w{len(self.waiting)}"
            await api("run.start", workflow="probe.signals", input=2, id=instance)
            await signal_once(api, instance, 1)
            self.waiting.append(instance)

    async def settled(self, api: Api) -> None:
        """Wait until all that can end has ended."""
        for each in self.ended[self._seen :]:
            assert (await api.ended(each))["result"] == list(range(STEPS))
        self._seen = len(self.ended)

    async def until_purged(self, api: Api, url: str) -> int:
        """Go on until MAIL begins above where it begins now; return where that was."""
        before = first_seq(url)
        with trio.fail_after(30):
            while first_seq(url) <= before:
                await self.wave(api, waiting=0)
                await self.settled(api)
        return before

    async def check(self, *apis: Api) -> None:
        """See through each daemon that everything is there, once; then end what waits."""
        for api in apis:
            listed = await api("run.ls", limit=1_000)
            assert len(listed["runs"]) == len(self.ended) + len(self.waiting)
            for each in self.ended:
                history = await api("run.history", id=each)
                kinds = [entry["kind"] for entry in history["entries"]]
                assert kinds[0] == "start", (each, kinds)
                # Who took over, or met no leader, may have asked again with the same key.
                assert kinds.count("reply") >= STEPS, (each, kinds)
        items = [{"id": each, "input": {"steps": STEPS}} for each in self.ended]
        again = await apis[0]("run.start_many", workflow="probe.steps", items=items)
        assert not any(each["created"] for each in again["results"])
        for each in self.waiting:
            await signal_once(apis[-1], each, 2)
        for each in self.waiting:
            assert (await apis[0].ended(each))["result"] == [1, 2]
        assert self.shop.doubled == []
        assert len(self.shop.keys) == STEPS * len(self.ended)


@pytest.mark.long
async def test_passes_go_on_while_daemons_join_drain_and_crash(nats_server: NatsServer) -> None:
    """Each of them collects what it owns; the floor follows the least mark of all."""
    load = Load(Shop())
    url = nats_server.url
    async with (
        offered(url, load.shop.service),
        daemon(url, name="a", **SMALL) as first,
    ):
        await load.wave(first)
        async with daemon(url, name="b", **SMALL) as second:
            for _ in range(3):  # while partitions move to it
                await load.wave(second)
            async with daemon(url, name="c", **SMALL) as third:
                await load.wave(third)
                await load.wave(first)
                second.crash()
                await load.wave(All(third.transport))
            await load.wave(first)  # the third has drained
        async with daemon(url, name="d", **SMALL) as fourth:
            await until(lambda: len(owned(fourth)) == 4)
            await load.wave(first)
            await load.settled(fourth)
            await load.until_purged(fourth, url)
            await load.check(fourth, first)
            passes = [each.daemon.parts.collector.statistics() for each in (first, fourth)]

    assert all(each.passes and each.scanned for each in passes)
    assert sum(each.bundled for each in passes) > 0


async def test_status_tells_who_holds_the_floor_down(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that does not collect keeps all of MAIL, whatever the others do."""
    monkeypatch.setattr("actors.retention.collector.STUCK_S", 0.5)
    monkeypatch.setattr("actors.retention.collector.PURGE_S", 0.1)
    lazy = {**SMALL, "retention": RetentionConfig(enabled=False)}
    load = Load(Shop())
    url = nats_server.url
    async with (
        offered(url, load.shop.service),
        daemon(url, name="busy", **SMALL) as busy,
    ):
        async with daemon(url, name="lazy", **lazy) as other:
            await until(lambda: len(owned(other)) == 4)
            await load.wave(busy)
            await until(lambda: any("lazy" in each for each in busy.daemon.problems()))
            status = await All(busy.transport)("status")
            kept = first_seq(url)
        await load.until_purged(busy, url)
        await until(lambda: not busy.daemon.problems())

    assert kept == 1
    told = [each for each in status["problems"] if "not purged" in each]
    assert "of daemon lazy is not collected" in told[0]
    assert status["counters"].get("collector_mark", 0) >= 0


class Frozen(OwnerTerritory):
    """As an owner sees it that was frozen in the middle of a pass: all is still its own."""

    def holds(self, partition: Partition) -> bool:
        """Believe it."""
        return partition is not None


class Gated(Fates):
    """Stands still before it reads what else belongs to the history of one instance."""

    def stop_at(self, key: Key) -> None:
        """Choose the instance."""
        self.key = key
        self.reached, self.go = trio.Event(), trio.Event()

    async def complete(self, chunk: Chunk, fates: Mapping[Key, Fate], head: int) -> None:
        """Wait here."""
        if fates.get(self.key) is Fate.BUNDLE:
            self.reached.set()
            await self.go.wait()
        await super().complete(chunk, fates, head)


def frozen(movant: Running, instance: str) -> tuple[Collector, Gated]:
    """Return a collector that will not learn that its partitions have gone."""
    territory = Frozen(movant.daemon, movant.daemon.parts.collector._purging)
    found = copy.copy(movant.daemon.parts.collector)
    found._territory = territory
    found._scan = copy.copy(found._scan)
    found._scan._territory = territory
    parts = movant.daemon.parts
    gate = found._fates = Gated(parts.mailboxes, parts.archive, found._pause, PARTITIONS)
    gate.stop_at((partition_of(instance, PARTITIONS), instance))
    return found, gate


async def give_all(movant: Running) -> None:
    """Let a daemon hand over what it has, and live on."""
    await movant.daemon.parts.leases.drain()
    await until(lambda: not owned(movant))


async def test_half_a_history_is_no_bundle_when_an_owner_wakes_up_late(
    nats_server: NatsServer,
) -> None:
    """It met the end of a run, and slept while the next owner bundled and purged the whole."""
    url = nats_server.url
    async with daemon(url, name="a", **by_hand()) as first:
        await first("run.start", workflow="probe.signals", input=2, id="a")
        await first("run.signal", id="a", name="go", data=1)
        await first.view_when("a", lambda view: view["state"] == {"seen": 1})
        await passivate(first, "a")
        await collected(first, "a")  # its beginning stands in a pack
        with Raw(url) as raw:  # its end, and the position of its record, lie in one chunk
            while raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"] % CHUNK != 2:
                raw.put("movant.to.pad.signal.x", b"1")
        await first("run.signal", id="a", name="go", data=2)
        await until(lambda: is_recorded(url, "a"))
        history = await first("run.history", id="a")
        await fill(first)
        stale, gate = frozen(first, "a")
        woken: list[str] = []

        async def late() -> None:
            try:
                await stale.collect()
            except UnavailableError as error:
                woken.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            with trio.fail_after(10):
                await gate.reached.wait()
            async with daemon(url, name="b", **by_hand()) as second:
                await give_all(first)
                await until(lambda: len(owned(second)) == PARTITIONS)
                while first_seq(url) <= history["entries"][-1]["seq"] + 64:
                    await fill(second)
                    await collect(second)
                gate.go.set()
                await until(lambda: woken)
                found = await second("run.history", id="a")
                shown = await second("run.show", id="a")

    assert "other owners" in woken[0]
    assert found == history
    assert shown["result"] == [1, 2]


async def test_a_record_that_comes_late_does_not_cost_the_history(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its position is below a mark that was raised before anybody could see it."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        parts = movant.daemon.parts
        held: list[Any] = []
        archive = parts.writers["ARCHIVE"]
        write = archive.write

        def hold(message: Any, written: Any) -> None:
            if message.subject.endswith(".a"):
                held.append((message, written))
            else:
                write(message, written)

        async def not_waiting(_: OwnerTerritory) -> None:
            await trio.lowlevel.checkpoint()

        monkeypatch.setattr(archive, "write", hold)
        monkeypatch.setattr(OwnerTerritory, "finishing", not_waiting)
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await until(lambda: held)
        history = await movant("run.history", id="a")
        parts.outbox._recording.clear()
        await collected(movant, "a")
        write(*held[0])
        await movant.ended("a")
        for _ in range(3):
            await fill(movant)
            await collect(movant)
        found = await movant("run.history", id="a")
        shown = await movant("run.show", id="a")
        with Raw(nats_server.url) as raw:
            partition = partition_of("a", PARTITIONS)
            left = raw.subjects("MAIL", f"movant.mail.{partition}.a.>")

    assert found == history
    assert shown["result"] == [1]
    assert not left


async def test_never_ending_runs_do_not_grow(nats_server: NatsServer) -> None:
    """Of former generations nothing is copied on but the start; the fold stays the same."""
    sizes = []
    async with daemon(nats_server.url, workflows=[PROBE, LOOPS], **by_hand()) as movant:
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="loops.signals", input={"left": 199}, id="a")
        for done in range(40, 161, 40):
            items = [{"id": "a", "data": 1} for _ in range(40)]
            await movant("run.signal_many", name="add", items=items)
            await movant.view_when("a", partial(is_in, done + 1))
            await until(lambda: "a" not in owner.live or owner.live["a"].settled)
            if "a" in owner.live:
                await passivate(movant, "a")
            before = await movant("run.show", id="a")
            await collected(movant, "a")
            after = await movant("run.show", id="a")
            assert after["state_hash"] == before["state_hash"]
            messages = (await movant("run.messages", id="a"))["messages"]
            sizes.append(len(messages))
            assert ".start." in messages[0]["subject"]
        again = await movant("run.start", workflow="loops.signals", input={"left": 199}, id="a")
        items = [{"id": "a", "data": 1} for _ in range(40)]
        await movant("run.signal_many", name="add", items=items)
        ended = await movant.ended("a")

    assert max(sizes) < 100  # of 160 and more: what came since the pass before the last
    assert not again["created"]
    assert ended["result"] == 200


@pytest.mark.slow
async def test_a_daemon_that_was_frozen_in_its_passes_does_no_harm(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Others take over, collect and purge; it wakes, and what it wrote late counts for nothing."""
    load = Load(Shop())
    url = nats_server.url
    configuration = tmp_path / "movant.toml"
    configuration.write_text(SMALL_TOML)
    async with (
        offered(url, load.shop.service),
        daemon_process(url, name="frozen", configuration=configuration) as (process, _),
        daemon(url, name="other", **SMALL) as other,
    ):
        api = All(other.transport)
        await until(lambda: len(owned(other)) == 4)
        for number in range(2):
            await load.wave(api)
            await trio.sleep(0.31 * number)
            process.signal(signal.SIGSTOP)
            await until(lambda: len(owned(other)) == 8)
            await load.until_purged(api, url)
            process.signal(signal.SIGCONT)
            await until(lambda: len(owned(other)) == 4)
        await load.settled(other)
        await load.check(other)
        assert process.running
