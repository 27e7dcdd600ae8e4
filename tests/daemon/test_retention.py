"""Packs, bundles and purges: whatever is collected, everything goes on as if nothing had been."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from protocols.errors import AlreadyExistsError
from protocols.subjects import mailbox, partition_of
from runtime.config import RetentionConfig
from tests.support.daemon import Running, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

PARTITIONS = 4
CHUNK = 16


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
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="probe.signals", input=3, id="a")
        await movant("run.signal", id="a", name="go", data=1)
        await movant.view_when("a", lambda view: view["state"] == {"seen": 1})
        before = owner.live["a"].instance.state_hash()
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
