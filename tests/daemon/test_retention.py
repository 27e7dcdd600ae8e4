"""Packs, bundles and purges: whatever is collected, everything goes on as if nothing had been."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest
import trio

from actors.kernel.instance import Instance
from actors.owning.generations import replaced_by
from actors.owning.inbound import parse
from actors.owning.late import Late
from actors.owning.letters import Delivery, Letter
from actors.owning.outbox import Outbox, first_of
from actors.retention import packs
from actors.retention.collector import Collector
from actors.store import strays
from actors.store.direct_reader import DirectReader
from actors.store.kv import Kv
from actors.store.writing import Writing
from protocols.errors import AlreadyExistsError, MovantError
from protocols.subjects import mailbox, partition_of
from runtime.config import RetentionConfig
from runtime.retention import OwnerTerritory
from tests.support.daemon import Running, daemon, daemon_process, offered, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

PARTITIONS = 4
CHUNK = 16
KEPT_S = 3.2
"""After this, what is kept for a second is old, also for a clock that is 2 s behind."""


def by_hand(**changes: Any) -> dict[str, Any]:
    """Return settings of a daemon that collects only when it is told to."""
    chosen: dict[str, Any] = {"enabled": False, "chunk": CHUNK, "busy_max": 1.0, **changes}
    return {"partitions": PARTITIONS, "retention": RetentionConfig(**chosen)}


async def fill(movant: Running, count: int = 40) -> None:
    """Let other instances write enough for a pass to move."""
    for number in range(0, count, 20):
        items = [{"input": number + n} for n in range(20)]
        await movant("run.start_many", workflow="probe.echo", items=items)
    owner = movant.daemon.parts.owner
    await until(lambda: not owner.live or all(not each.backlog for each in owner.live.values()))
    await until(lambda: not movant.daemon.parts.outbox._recording)


async def collect(movant: Running) -> None:
    """Do a pass."""
    with trio.fail_after(20):
        await movant.daemon.parts.collector.collect()


async def collected(movant: Running, instance: str) -> None:
    """Do passes until nothing of an instance stands raw below the mark."""
    await fill(movant)
    await collect(movant)
    with Raw(movant.daemon.url) as raw:
        partition = partition_of(instance, PARTITIONS)
        names = raw.subjects("MAIL", mailbox(instance, partition))
    kinds = {name.split(".")[4] for name in names}
    assert kinds <= {"pack"}, names


async def passivate(movant: Running, instance: str) -> None:
    """Let an instance leave memory."""
    owner = movant.daemon.parts.owner
    owner.live[instance].touched = float("-inf")
    await until(lambda: instance not in owner.live)


async def test_a_waiting_run_goes_on_from_its_pack(nats_server: NatsServer) -> None:
    """Its messages are purged; its state is the same, and it ends as it would have."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=3, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        history = await movant("run.history", id="a")
        await passivate(movant, "a")
        await collected(movant, "a")
        after = await movant("run.history", id="a")
        listed = await movant("run.ls", workflow="probe.signals")
        view = await movant("run.show", id="a")
        await movant("run.signal", id="a", name="go", data=2)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 2})
        await movant("run.signal", id="a", name="go", data=3)
        ended = await movant.ended("a")

    assert after == history
    assert [each["id"] for each in listed["runs"]] == ["a"]
    assert view["state"] == {"seen": 1}
    assert ended["result"] == [1, 2, 3]


async def test_a_finished_run_is_answered_from_the_archive(nats_server: NatsServer) -> None:
    """Show, history and list know it; a repeated start returns it and runs nothing."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await movant.run("probe.steps", {"steps": 3}, id="a")
        view = await movant("run.show", id="a")
        history = await movant("run.history", id="a")
        await collected(movant, "a")
        shown = await movant("run.show", id="a")
        kept = await movant("run.history", id="a")
        again = await movant("run.start", workflow="probe.steps", input={"steps": 3}, id="a")
        with pytest.raises(AlreadyExistsError):
            await movant(
                "run.start", workflow="probe.steps", input={"steps": 3}, id="a", if_exists="refuse"
            )
        statistics = movant.daemon.parts.collector.statistics()

    assert shown == view
    assert kept == history
    assert (again["created"], again["status"], again["result"]) == (False, "completed", [0, 1, 2])
    assert len(shop.keys) == 3
    assert statistics.purged > 0
    assert statistics.bundled > 0


# The fold is the same at every moment


async def fold(movant: Running, instance: str) -> str:
    """Return the state hash of the fold of what is stored now."""
    parts = movant.daemon.parts
    partition = partition_of(instance, PARTITIONS)
    owned = parts.owner.partitions.owned[partition]
    mark = owned.mark
    stored = await parts.mailboxes.mailbox(mailbox(instance, partition))
    box = packs.expand(stored, mark=mark)
    assert not box.unreadable
    mails = []
    for each in box.messages:
        parsed = parse(each, parts.keys)
        if type(parsed) is Letter and not owned.is_void(parsed.mail):
            mails.append(parsed.mail)
    await parts.owner.activation.load(mails)
    fresh = Instance(instance, parts.definitions.workflow, replaced=replaced_by(mails))
    fresh.refolding = True
    for mail in mails:
        fresh.fold(mail)
    return fresh.state_hash()


Step = Callable[[str], Awaitable[None]]


def watched(monkeypatch: pytest.MonkeyPatch, told: Step) -> None:
    """Tell of every step of a pass, before and after it."""

    def around(owner: type[Any], name: str) -> None:
        real = getattr(owner, name)

        async def both(self: Any, *args: Any) -> Any:
            await told(f"before {name}")
            result = await real(self, *args)
            await told(f"after {name}")
            return result

        monkeypatch.setattr(owner, name, both)

    around(Writing, "write")
    around(Writing, "done")
    around(OwnerTerritory, "set_marks")
    around(Collector, "purge")


async def test_packs_and_the_rest_fold_to_the_whole_at_every_moment(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each pack, bundle, mark and purge, through several passes."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=9, id="a")
        for number in range(3):
            await movant("run.signal", id="a", name="go", data=number)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 3})
        wanted = await fold(movant, "a")
        seen: list[str] = []

        async def compare(step: str) -> None:
            seen.append(step)
            assert await fold(movant, "a") == wanted, step

        watched(monkeypatch, compare)
        for _ in range(3):
            await fill(movant)
            await collect(movant)
        monkeypatch.undo()
        statistics = movant.daemon.parts.collector.statistics()

    kinds = {f"{when} {name}" for when in ("before", "after") for name in ("write", "purge")}
    assert kinds <= set(seen)
    assert statistics.packed >= 3
    assert statistics.purged > 100


# Ended at any point of a pass, it goes on


POINTS = [
    ("before write", 0),
    ("after write", 0),
    ("after done", 0),
    ("after done", 1),
    ("before set_marks", 0),
    ("after set_marks", 0),
    ("before purge", 0),
    ("after purge", 0),
    ("before set_marks", 2),
]


async def passed(movant: Running) -> None:
    """Do a pass; one that loses its connection is done again."""
    while True:
        try:
            await movant.daemon.parts.collector.collect()
        except MovantError:
            await trio.sleep(0.1)
        else:
            return


def cut_at(
    monkeypatch: pytest.MonkeyPatch, point: str, skip: int, end: Callable[[], Awaitable[None]]
) -> trio.Event:
    """Call ``end`` when a pass is at a point, once; return what is set then."""
    reached = trio.Event()
    left = skip

    async def told(step: str) -> None:
        nonlocal left
        if step != point or reached.is_set():
            return
        left -= 1
        if left < 0:
            reached.set()
            await end()

    watched(monkeypatch, told)
    return reached


@pytest.mark.parametrize("who", ["daemon", "server"])
async def test_a_pass_that_is_cut_short_loses_and_doubles_nothing(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The daemon, or the server, is killed at each point in turn, and is there again."""
    shop = Shop()
    for number, (point, skip) in enumerate(POINTS):
        async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
            await movant("run.start", workflow="probe.signals", input=2, id=f"w{number}")
            await movant("run.signal", id=f"w{number}", name="go", data=1)
            await movant.run("probe.steps", {"steps": 2}, id=f"e{number}")
            await fill(movant)

            async def end(movant: Running = movant) -> None:
                if who == "daemon":
                    movant.crash()
                    await trio.sleep_forever()
                nats_server.kill()
                nats_server.start()

            reached = cut_at(monkeypatch, point, skip, end)
            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(passed, movant)
                    await reached.wait()
                    if who == "daemon":
                        nursery.cancel_scope.cancel()
            monkeypatch.undo()
    await _all_is_there(nats_server, shop)


async def _all_is_there(nats_server: NatsServer, shop: Shop) -> None:
    numbers = range(len(POINTS))
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await fill(movant)
        await collect(movant)
        listed = await movant("run.ls", limit=1_000)
        for n in numbers:
            await movant("run.signal", id=f"w{n}", name="go", data=2)
        ended = [await movant.ended(f"w{n}") for n in numbers]
        shown = [await movant("run.show", id=f"e{n}") for n in numbers]
        items = [{"id": f"e{n}", "input": {"steps": 2}} for n in numbers]
        again = await movant("run.start_many", workflow="probe.steps", items=items)
    rows = {each["id"]: each["status"] for each in listed["runs"]}

    assert all(each["result"] == [1, 2] for each in ended)
    assert all(each["result"] == [0, 1] for each in shown)
    assert not any(each["created"] for each in again["results"])
    assert shop.doubled == []
    assert len(shop.keys) == 2 * len(POINTS)
    assert {rows[f"w{n}"] for n in numbers} == {"running"}
    assert {rows[f"e{n}"] for n in numbers} == {"completed"}


# What comes late


async def test_a_raw_start_of_a_finished_run_does_not_run_it_again(
    nats_server: NatsServer,
) -> None:
    """With the server's proof that its mailbox is empty, or without, now and after a restart."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await movant.run("probe.steps", {"steps": 2}, id="a")
        await collected(movant, "a")
        with Raw(nats_server.url) as raw:
            block = b"NATS/1.0\r\n" + first_of("a", PARTITIONS) + b"\r\n"
            raw.publish_with_headers(b"movant.to.a.start.probe.steps", block, b'{"steps":2}')
            raw.put("movant.to.a.start.probe.steps", b'{"steps":2}')
            late = movant.daemon.parts.owner.tombstones.late
            await until(lambda: late.counts["start"] == 2)
        movant.crash()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        shown = await movant("run.show", id="a")
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.start.probe.steps", b'{"steps":2}')
            late = movant.daemon.parts.owner.tombstones.late
            await until(lambda: late.counts["start"] >= 1)
            await until(lambda: "a" not in movant.daemon.parts.owner.live)
        await collected(movant, "a")
        kept = await movant("run.show", id="a")

    assert len(shop.keys) == 2
    assert shown["result"] == kept["result"] == [0, 1]


async def test_a_child_that_is_started_again_after_its_end_is_answered(
    nats_server: NatsServer,
) -> None:
    """A spawn repeated after a crash gets the result; another run's spawn is told of the clash."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        child = {"workflow": "probe.echo", "input": 7, "id": "child"}
        first = await movant.run("probe.parent", child, id="p1")
        with Raw(nats_server.url) as raw:
            name = f"movant.mail.{partition_of('child', PARTITIONS)}.child.start.probe.echo"
            start = raw.stored("MAIL", name)
        assert start is not None
        await collected(movant, "child")
        second = await movant.run("probe.parent", child, id="p2")
        kept = [line for line in start["hdrs"].split(b"\r\n") if line.startswith(b"Movant-")]
        block = b"NATS/1.0\r\n" + b"\r\n".join(kept) + b"\r\n\r\n"
        with Raw(nats_server.url) as raw:
            raw.publish_with_headers(b"movant.to.child.start.probe.echo", block, start["data"])
        late = movant.daemon.parts.owner.tombstones.late
        await until(lambda: late.counts["start"] == 2)
        await collected(movant, "p1")
        told = await movant("run.history", id="p1")

    assert first["result"] == 7
    assert second["result"]["kind"] == "exists"
    assert [each["kind"] for each in told["entries"]].count("owner.child") == 1


async def test_a_child_s_id_of_a_packed_run_is_taken(nats_server: NatsServer) -> None:
    """The server knows no start of it any more; the pack does. The API sees it too."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        await collected(movant, "a")
        child = {"workflow": "probe.echo", "input": 7, "id": "a"}
        parent = await movant.run("probe.parent", child, id="p")
        again = await movant("run.start", workflow="probe.signals", input=1, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        ended = await movant.ended("a")

    assert parent["result"]["kind"] == "exists"
    assert again["created"] is False
    assert ended["result"] == [1]


async def test_a_late_success_is_counted_and_told(nats_server: NatsServer) -> None:
    """A reply after the purge: an event, once; a failure and a signal are only counted."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await movant.run("probe.steps", {"steps": 1}, id="a")
        partition = partition_of("a", PARTITIONS)
        with Raw(nats_server.url) as raw:
            (name,) = raw.subjects("MAIL", f"movant.mail.{partition}.a.reply.>")
        await collected(movant, "a")
        late = movant.daemon.parts.owner.tombstones.late
        movant.daemon.parts.owner.tombstones.finished.clear()
        to = f"movant.to.a.{name.split('.', 4)[4]}"
        with Raw(nats_server.url) as raw:
            raw.put(to, b"0")
            await until(lambda: late.counts["success"] == 1)
            raw.put(to, b"", {"Nats-Service-Error": "no", "Nats-Service-Error-Code": "500"})
            raw.put("movant.to.a.signal.go", b"1")
            await until(lambda: movant.daemon.parts.owner.tombstones.count == 3)
            events = raw.subjects("EVENTS", "movant.event.*.a.late")
        shown = await movant("run.show", id="a")

    assert events == {"movant.event.probe-steps.a.late": 1}
    assert shown["status"] == "completed"
    assert len(shop.keys) == 1


# Large, foreign and orphaned mailboxes


async def test_a_long_mailbox_is_packed_in_parts(nats_server: NatsServer) -> None:
    """Thousands of messages and one of nearly the largest size: everything is still there."""
    count = 2_000
    large = "x" * 250_000
    async with daemon(nats_server.url, **by_hand(chunk=512)) as movant:
        await movant("run.start", workflow="probe.signals", input=count + 3, id="a")
        for start in range(0, count, 500):
            items = [{"id": "a", "data": [start + n, "y" * 300]} for n in range(500)]
            await movant("run.signal_many", name="go", items=items)
        await movant("run.signal", id="a", name="go", data=large)
        await movant.view_when("a", lambda view: view["state"] == {"seen": count + 1})
        wanted = await fold(movant, "a")
        await passivate(movant, "a")
        await fill(movant, 600)
        await collect(movant)
        first = movant.daemon.parts.collector.statistics().purged
        await fill(movant, 600)
        await collect(movant)
        again = await fold(movant, "a")
        with Raw(nats_server.url) as raw:
            names = raw.subjects("MAIL", mailbox("a", partition_of("a", PARTITIONS)))
        entries: list[Any] = []
        after = 0
        while True:
            page = await movant("run.history", id="a", after=after, limit=400)
            entries += page["entries"]
            after = page["next"]
            if not after:
                break
        await movant("run.signal", id="a", name="go", data="last")
        await movant.view_when("a", lambda view: view["state"] == {"seen": count + 2})

    assert first > count
    assert again == wanted
    assert len(names) >= 3
    assert {name.split(".")[4] for name in names} == {"pack"}
    assert len(entries) == count + 2
    assert [each["seq"] for each in entries] == sorted({each["seq"] for each in entries})
    assert [each["body"] for each in entries[1:-1]] == [[n, "y" * 300] for n in range(count)]
    assert entries[-1]["body"] == large


async def test_messages_without_a_start_wait_and_then_are_dead_letters(
    nats_server: NatsServer,
) -> None:
    """Young ones are packed, and a start finds them; old ones go to the dead letters."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        for instance in ("early", "orphan"):
            await movant("run.signal", id=instance, name="go", data=1)
        await collected(movant, "early")
        collector = movant.daemon.parts.collector
        young = collector.statistics().orphaned
        await movant("run.start", workflow="probe.signals", input=1, id="early")
        ended = await movant.ended("early")
    async with daemon(nats_server.url, **by_hand(orphan_s=0.001)) as movant:
        await fill(movant)
        await collect(movant)
        await fill(movant)
        await collect(movant)
        collector = movant.daemon.parts.collector
        with Raw(nats_server.url) as raw:
            dead = raw.stored("DEAD", "movant.dead.orphan")
            left = raw.subjects("MAIL", mailbox("orphan", partition_of("orphan", PARTITIONS)))
        await movant("run.start", workflow="probe.signals", input=1, id="orphan")
        waits = await movant.waits("orphan", "signal")

    assert young == 0
    assert ended["result"] == [1]
    assert collector.statistics().orphaned == 1
    assert dead is not None
    assert dead["data"] == b"1"
    assert left == {}
    assert waits["status"] == "running"


async def test_a_started_run_whose_start_is_packed_above_is_no_orphan(
    nats_server: NatsServer,
) -> None:
    """Its later messages alone stand in the chunk, and they are old."""
    async with daemon(nats_server.url, **by_hand(orphan_s=0.001)) as movant:
        await movant("run.start", workflow="probe.signals", input=2, id="a")
        await movant.waits("a", "signal")
        await passivate(movant, "a")
        await fill(movant)
        with Raw(nats_server.url) as raw:
            head = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"]
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        await passivate(movant, "a")
        await collect(movant)  # the pack stands above the signal
        await fill(movant, 20)
        await collect(movant)
        owner = movant.daemon.parts.owner
        mark = owner.partitions.owned[partition_of("a", PARTITIONS)].mark
        await movant("run.signal", id="a", name="go", data=2)
        ended = await movant.ended("a")

    assert mark > head + 1
    assert ended["result"] == [1, 2]


async def strays_kept(movant: Running) -> None:
    """Wait until the reader of strays has stored that it has read one."""
    kv = Kv(movant.daemon.parts.transport, "movant_checkpoints")
    with trio.fail_after(10):
        while await kv.get(strays.KEY) is None:
            await trio.sleep(0.05)


async def test_a_stray_is_purged_only_as_a_dead_letter(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but its reader sees it; while that has not stored its position, MAIL keeps it."""
    store = strays.Strays._store

    async def never(_: strays.Strays) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(strays.Strays, "_store", never)
    async with daemon(nats_server.url, **by_hand()) as movant:
        await fill(movant)
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.A", b"1")
            stray = raw.stored("MAIL", "movant.to.A")
            await fill(movant)
            await collect(movant)
            await fill(movant)
            await collect(movant)
            held = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"]
            monkeypatch.setattr(strays.Strays, "_store", store)
            await strays_kept(movant)
            await fill(movant)
            await collect(movant)
            first = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"]
            dead = raw.stored("DEAD", "movant.dead.stray")

    assert stray is not None
    assert held == stray["seq"]
    assert first > stray["seq"]
    assert dead is not None


async def test_foreign_and_invalid_mailboxes_hold_no_pass_up(nats_server: NatsServer) -> None:
    """Subjects that name no mailbox, ids that are none, and packs that are none."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        with Raw(nats_server.url) as raw:
            for subject in (
                "movant.to.A",
                "movant.to.*.x",
                "movant.to._x.signal.go",
                "movant.to.A.noise.x",
                "movant.to.a.pack.5.junk",
                "movant.to.a.pack.x.junk.0.2",
                "movant.to.b.pack.9.aa.1.2",
                "movant.to.a.pack.99999999999.aa.0.999999999",
            ):
                raw.put(subject, b"1")
        await strays_kept(movant)
        await collected(movant, "a")
        await fill(movant)
        await collect(movant)
        collector = movant.daemon.parts.collector
        with Raw(nats_server.url) as raw:
            first = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"]
        await movant("run.signal", id="a", name="go", data=1)
        ended = await movant.ended("a")

    assert collector.statistics().purged == first - 1
    assert first > 60
    assert ended["result"] == [1]


# The store is behind, full, or changes


async def test_a_replica_that_is_behind_hides_no_record(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers say up to where they speak: they are asked again, and nothing is packed."""
    real = DirectReader.latest
    stale = 3

    async def behind(self: DirectReader, names: Sequence[str]) -> tuple[list[Delivery], int]:
        nonlocal stale
        found, up_to = await real(self, names)
        if stale > 0 and "ARCHIVE" in self._subject:
            stale -= 1
            return ([], 0) if stale == 1 else (found[:0], max(up_to - 1, 0))
        return found, up_to

    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant.run("probe.echo", 1, id="a")
        await fill(movant)
        monkeypatch.setattr(movant.daemon.parts.archive, "_replicas", 3)
        monkeypatch.setattr(DirectReader, "latest", behind)
        await collect(movant)
        monkeypatch.undo()
        with Raw(nats_server.url) as raw:
            left = raw.subjects("MAIL", mailbox("a", partition_of("a", PARTITIONS)))
        shown = await movant("run.show", id="a")

    assert stale == 0
    assert left == {}  # it was bundled, not packed
    assert shown["result"] == 1


async def test_a_full_stream_makes_a_pass_wait(nats_server: NatsServer) -> None:
    """MAIL refuses what is new; with room again the same pass ends as it should."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        await fill(movant)
        with Raw(nats_server.url) as raw:
            info = raw.ask("$JS.API.STREAM.INFO.MAIL")
            full = {**info["config"], "max_bytes": info["state"]["bytes"]}
            raw.ask("$JS.API.STREAM.UPDATE.MAIL", json.dumps(full).encode())
            collector = movant.daemon.parts.collector
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collector.collect)
                await until(lambda: collector.statistics().packed)
                await trio.sleep(0.3)
                waited = collector.statistics().purged
                room = {**info["config"], "max_bytes": -1}
                raw.ask("$JS.API.STREAM.UPDATE.MAIL", json.dumps(room).encode())
                nursery.cancel_scope.deadline = trio.current_time() + 10
        await movant("run.signal", id="a", name="go", data=1)
        ended = await movant.ended("a")

    assert waited == 0
    assert collector.statistics().purged > 0
    assert ended["result"] == [1]


@pytest.mark.parametrize("moment", ["_get", "_info"])
async def test_a_purge_while_a_mailbox_is_read_is_seen(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A whole pass happens between two requests of one activation: nothing is missing."""
    real = getattr(DirectReader, moment)
    done = False

    async with daemon(nats_server.url, **by_hand()) as movant:
        parts = movant.daemon.parts

        async def meanwhile(self: DirectReader, *args: Any) -> Any:
            nonlocal done
            result = await real(self, *args)
            if not done and self is parts.mailboxes:
                done = True
                await parts.collector.collect()
            return result

        await movant("run.start", workflow="probe.signals", input=2, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        wanted = await fold(movant, "a")
        await passivate(movant, "a")
        await fill(movant)
        monkeypatch.setattr(DirectReader, moment, meanwhile)
        found = await fold(movant, "a")
        monkeypatch.undo()
        with Raw(nats_server.url) as raw:
            first = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"]
        await movant("run.signal", id="a", name="go", data=2)
        ended = await movant.ended("a")

    assert done
    assert first > 1
    assert found == wanted
    assert ended["result"] == [1, 2]


@pytest.mark.parametrize("verb", ["run.show", "run.history"])
async def test_a_run_that_is_bundled_while_somebody_looks_is_there(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The mark was read before the pass, and the mailbox behind it: neither has the run."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await fill(movant)
        await collect(movant)  # something is purged: from now on the mark counts
        await movant.run("probe.echo", 1, id="a")
        await fill(movant)
        reads = [DirectReader.mailbox, DirectReader.whole]

        def late(read: Any) -> Any:
            async def behind_a_pass(self: DirectReader, *asked: Any, **how: Any) -> Any:
                for name, each in zip(("mailbox", "whole"), reads, strict=True):
                    monkeypatch.setattr(DirectReader, name, each)
                await collect(movant)
                return await read(self, *asked, **how)

            return behind_a_pass

        for name, each in zip(("mailbox", "whole"), reads, strict=True):
            monkeypatch.setattr(DirectReader, name, late(each))
        found = await movant(verb, id="a")

    assert found.get("status", "completed") == "completed"
    assert found["entries"] if verb == "run.history" else found["result"] == 1


async def test_firings_that_mail_has_leave_timers(nats_server: NatsServer) -> None:
    """Timers that wait stay armed; a restart of the server imports nothing again."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.sleep", input=4.0, id="sleeper")
        for number in range(5):
            await movant.run("probe.sleep", 0.01, id=f"s{number}")
        await fill(movant)
        with Raw(nats_server.url) as raw:
            before = raw.subjects("TIMERS", "movant.fired.>")
            await collect(movant)
            after = raw.subjects("TIMERS", ">")
            head = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"]
        movant.crash()
    nats_server.restart()
    async with daemon(nats_server.url, **by_hand()) as movant:
        with Raw(nats_server.url) as raw:
            again = raw.subjects("MAIL", "movant.mail.*.*.timer.>")
        ended = await movant.ended("sleeper")

    assert len(before) == 5
    assert head
    assert [name.split(".")[1:4:2] for name in after] == [["timer", "sleeper"]]
    assert again == {}
    assert ended["result"] == "awake"


async def test_a_history_over_many_chunks_is_bundled_whole(nats_server: NatsServer) -> None:
    """Its beginning was packed above the chunk in which it ended."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.signal", id="a", name="go", data=0)
        await movant("run.start", workflow="probe.signals", input=4, id="a")
        for number in range(1, 3):
            await fill(movant, 20)
            await movant("run.signal", id="a", name="go", data=number)
        await fill(movant, 20)
        await collect(movant)
        await fill(movant, 20)
        await movant("run.signal", id="a", name="go", data=3)
        ended = await movant.ended("a")
        view = await movant("run.show", id="a")
        history = await movant("run.history", id="a")
        for _ in range(3):
            await fill(movant)
            await collect(movant)
        with Raw(nats_server.url) as raw:
            left = raw.subjects("MAIL", mailbox("a", partition_of("a", PARTITIONS)))
        shown = await movant("run.show", id="a")
        kept = await movant("run.history", id="a")

    assert ended["result"] == [0, 1, 2, 3]
    assert left == {}
    assert kept == history
    assert len(kept["entries"]) == 5
    assert shown == view


async def test_effects_of_a_run_that_ended_are_done_though_it_was_collected(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stood, the parent was not told, MAIL was purged, the daemon died."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        with monkeypatch.context() as patched:
            patched.setattr(Outbox, "_report", lambda *_: None)
            child = {"workflow": "probe.echo", "input": 7, "id": "child"}
            await movant("run.start", workflow="probe.parent", input=child, id="p")
            await until(lambda: movant.daemon.parts.writers["ARCHIVE"].statistics().messages)
            await collected(movant, "child")
            await movant.daemon.parts.checkpoints.store(
                await movant.daemon.parts.owner.checkpoint()
            )
            waits = await movant("run.show", id="p")
        movant.crash()
    async with daemon(nats_server.url, **by_hand()) as movant:
        ended = await movant.ended("p")

    assert waits["status"] == "running"
    assert ended["result"] == 7


async def test_a_daemon_that_is_killed_again_and_again_collects_all_the_same(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 of the process, with passes all the time and work under way."""
    for name, value in {"MESSAGES_MIN": "50", "CHUNK": "32", "BUSY_MAX": "1"}.items():
        monkeypatch.setenv(f"MOVANT_RETENTION__{name}", value)
    monkeypatch.setenv("MOVANT_PARTITIONS", str(PARTITIONS))
    shop = Shop()
    ids = [f"k{number}" for number in range(120)]
    async with (
        offered(nats_server.url, shop.service),
        daemon_process(nats_server.url) as (process, api),
    ):
        for number, part in enumerate((ids[:40], ids[40:80], ids[80:])):
            items = [{"id": each, "input": {"steps": 5}} for each in part]
            await api("run.start_many", workflow="probe.steps", items=items)
            await trio.sleep(1.2 if number else 0.4)
            process.kill()
            process.start()
            await api.ready()
        views = [await api.ended(each) for each in ids]
        items = [{"id": each, "input": {"steps": 5}} for each in ids]
        again = await api("run.start_many", workflow="probe.steps", items=items)
        with Raw(nats_server.url) as raw:
            await until(lambda: raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["first_seq"] > 100)

    assert {each["status"] for each in views} == {"completed"}
    assert all(each["result"] == [0, 1, 2, 3, 4] for each in views)
    assert not any(each["created"] for each in again["results"])
    assert shop.doubled == []


async def test_a_listing_knows_packed_and_purged_runs_after_a_restart(
    nats_server: NatsServer,
) -> None:
    """With their workflow, definition and start, as before."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="waits")
        await movant.run("probe.fail", 1, id="failed")
        await fill(movant)
        before = {each["id"]: each for each in (await movant("run.ls", limit=900))["runs"]}
        await collect(movant)
        movant.crash()
    async with daemon(nats_server.url, **by_hand()) as movant:
        after = {each["id"]: each for each in (await movant("run.ls", limit=900))["runs"]}
        resolved = await movant("run.resolve", prefix="wai")

    before["waits"].pop("waiting", None)
    after["waits"].pop("waiting", None)
    assert after == before
    assert resolved["id"] == "waits"
    assert after["failed"]["status"] == "failed"


async def test_passes_begin_by_themselves(nats_server: NatsServer) -> None:
    """When MAIL has grown enough; then not again before it has doubled."""
    settings = RetentionConfig(messages_min=50, chunk=16, busy_max=1.0)
    async with daemon(nats_server.url, partitions=PARTITIONS, retention=settings) as movant:
        collector = movant.daemon.parts.collector
        await fill(movant, 100)
        await until(lambda: collector.statistics().passes)
        status = await movant("status")

    assert status["counters"]["collector_purged"] > 50
    assert collector.statistics().passes >= 1
    assert isinstance(movant.daemon.parts.owner.tombstones.late, Late)


async def test_partitions_are_collected_one_by_one_too(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a daemon does that owns few of them; and large chunks end early. Nothing is purged."""
    ids = [f"i{number}" for number in range(12)]
    async with daemon(nats_server.url, **by_hand(chunk=64)) as movant:
        collector = movant.daemon.parts.collector
        small = msgspec.structs.replace(collector._settings, chunk_bytes_max=600)
        collector._settings = collector._scan._settings = small
        for each in ids:
            await movant("run.start", workflow="probe.signals", input=2, id=each)
            await movant("run.signal", id=each, name="go", data=1)
        await fill(movant, 80)
        wanted = {each: await fold(movant, each) for each in ids}
        for mine in ([0], [1, 2], [3]):
            monkeypatch.setattr("actors.retention.scan.READ", 4)
            owned = movant.daemon.parts.owner.partitions.owned
            chosen = [owned[number] for number in mine]
            monkeypatch.setattr(OwnerTerritory, "owned", lambda _, chosen=chosen: chosen)
            before = [owned[number].mark for number in range(PARTITIONS)]
            await collect(movant)
            after = [owned[number].mark for number in range(PARTITIONS)]
            moved = [n for n in range(PARTITIONS) if after[n] > before[n]]
            assert moved == mine
            assert (collector.statistics().purged > 0) == (mine == [3])
            assert {each: await fold(movant, each) for each in ids} == wanted
        monkeypatch.undo()
        for each in ids:
            await movant("run.signal", id=each, name="go", data=2)
        ended = [await movant.ended(each) for each in ids]

    assert all(each["result"] == [1, 2] for each in ended)


async def test_what_a_stale_owner_wrote_stays_void_without_its_markers(
    nats_server: NatsServer,
) -> None:
    """It is left out of packs, because the markers that say so are forgotten with the purge."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        value = {"steps": 1, "operation": "slow"}
        await movant("run.start", workflow="probe.steps", input=value, id="a")
        await until(lambda: shop.calls)
        movant.crash()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        owner = movant.daemon.parts.owner
        await movant.waits("a", "step")
        failure = {"kind": "refused", "message": "by a former owner", "retryable": False}
        stale = {"epoch": 1, "step": "s", "attempt": 1, "failure": failure}
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.owner.refused", json.dumps(stale).encode())
        await until(lambda: movant.daemon.parts.intake.void == 1)
        wanted = await fold(movant, "a")
        await collected(movant, "a")
        found = await fold(movant, "a")
        partition = partition_of("a", PARTITIONS)
        markers = (await owner.checkpoint())[partition].markers
        movant.crash()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        shop.hold.set()
        ended = await movant.ended("a")

    assert found == wanted
    assert len(markers) == 1
    assert ended["result"] == [0]


async def test_a_record_stays_until_nothing_in_mail_needs_it(nats_server: NatsServer) -> None:
    """However old it is: MAIL has to be purged past all that stood there when it was bundled."""
    async with daemon(nats_server.url, **by_hand(finished_s=1, events_s=1)) as movant:
        parts = movant.daemon.parts
        await movant.run("probe.echo", 1, id="ended")
        await fill(movant, 20)  # one record alone would not be worth it
        await trio.sleep(KEPT_S)
        await collected(movant, "ended")
        await parts.forgetting.look()
        early = (await movant("run.show", id="ended"))["status"]
        await fill(movant)
        await collect(movant)
        await parts.forgetting.look()
        with pytest.raises(MovantError, match="no instance"):
            await movant("run.show", id="ended")
        with Raw(nats_server.url) as raw:
            left = raw.subjects("MAIL", mailbox("ended", partition_of("ended", PARTITIONS)))
            events = raw.subjects("EVENTS", "movant.event.*.ended.*")
        counts = (await movant("status"))["counters"]
        again = await movant.run("probe.echo", 2, id="ended")

    assert early == "completed"
    assert left == events == {}
    assert counts["collector_forgotten_archive"] >= 1
    assert counts["collector_forgotten_events"] >= 2
    assert again["result"] == 2


async def test_the_next_daemon_knows_what_was_copied_forward(nats_server: NatsServer) -> None:
    """Else it would copy everything once more, however little can go."""
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="waits")
        await movant("run.start", workflow="probe.signals", input=1, id="waits-as-well")
        await collected(movant, "waits")
        kept = await movant.daemon.parts.collector._territory.kept()
    with Raw(nats_server.url) as raw:
        packs_there = raw.subjects("MAIL", "movant.mail.*.*.pack.>")
    async with daemon(nats_server.url, **by_hand()) as movant:
        known = await movant.daemon.parts.collector._territory.kept()

    assert 2 <= kept == known <= len(packs_there)


async def test_what_has_to_be_kept_for_ever_is_kept(nats_server: NatsServer) -> None:
    """0 seconds are no time at which something is old enough."""
    async with daemon(nats_server.url, **by_hand(finished_s=0, events_s=0)) as movant:
        await movant.run("probe.echo", 1, id="ended")
        await trio.sleep(KEPT_S)
        await collected(movant, "ended")
        await collected(movant, "ended")
        await movant.daemon.parts.forgetting.look()
        shown = await movant("run.show", id="ended")
        with Raw(nats_server.url) as raw:
            events = raw.subjects("EVENTS", "movant.event.*.ended.*")

    assert shown["status"] == "completed"
    assert len(events) == 2


async def test_a_small_mail_is_collected_while_its_records_are_kept(
    nats_server: NatsServer,
) -> None:
    """However little there is: half of the time that records are kept is the latest."""
    settings = RetentionConfig(finished_s=2, busy_max=1.0)
    async with daemon(nats_server.url, partitions=PARTITIONS, retention=settings) as movant:
        collector = movant.daemon.parts.collector
        await movant("run.start", workflow="probe.signals", input=1, id="waits")
        await movant.run("probe.echo", 1, id="ended")
        await until(lambda: collector.statistics().bundled)
        await until(lambda: collector.statistics().purged)
        await movant("run.signal", id="waits", name="go", data=1)
        ended = await movant.ended("waits")

    assert ended["result"] == [1]
