"""Generations against the real server: many in one mailbox, across crashes and migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from actors.owning.letters import Delivery
from actors.store.direct_reader import DirectReader
from protocols.errors import RefusedError
from tests.support.daemon import WORKFLOWS, Running, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

LOOPS: Final = WORKFLOWS / "loops.py"


async def _add(movant: Running, run: str, times: int) -> None:
    for start in range(0, times, 1_000):
        many = [{"id": run, "data": 1} for _ in range(min(1_000, times - start))]
        await movant("run.signal_many", name="add", items=many)


async def _stored(movant: Running, stream: str, subject: str) -> list[Delivery]:
    async with DirectReader(movant.transport, stream) as reader:
        return await reader.subject(subject)


async def _recorded(movant: Running, run: str, generation: int) -> None:
    """Wait until the run stands in a generation that is recorded, and has left memory."""
    await movant.view_when(run, lambda view: view["generation"] == generation)
    owner = movant.daemon.parts.owner
    await until(lambda: run not in owner.live or owner.live[run].settled)


async def test_a_loop_goes_on_for_a_thousand_generations(nats_server: NatsServer) -> None:
    """In one mailbox; each generation is a few messages, and the whole adds up."""
    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        await movant("run.start", workflow="loops.signals", input={"left": 999}, id="a")
        await _add(movant, "a", 999)
        view = await movant.view_when("a", lambda view: view["generation"] == 1_000)
        await _add(movant, "a", 1)
        ended = await movant.ended("a")

    assert view["state"] == {"total": 999}
    assert view["counters"]["messages"] < 5
    assert ended["result"] == 1_000
    assert ended["generation"] == 1_000


async def test_an_activation_reads_only_the_newest_generation(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there were; what is above its beginning is folded, and nothing else."""
    read: list[int] = []
    whole = DirectReader.mailbox

    async def counting(self: DirectReader, *args: Any, **more: Any) -> list[Delivery]:
        found = await whole(self, *args, **more)
        read.append(len(found))
        return found

    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        start = {"left": 100, "every": 60}
        await movant("run.start", workflow="loops.signals", input=start, id="a")
        for generation in range(2, 22):  # more messages than one answer of the server holds
            await _add(movant, "a", 60)
            await _recorded(movant, "a", generation)
        await _add(movant, "a", 5)
        await movant.view_when("a", lambda view: view["counters"]["messages"] == 5)
    monkeypatch.setattr(DirectReader, "mailbox", counting)
    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        shown = await movant("run.show", id="a")
        await _add(movant, "a", 55)
        await movant.view_when("a", lambda view: view["generation"] == 22)

    assert shown["generation"] == 21
    assert len(shown["waiting"]) == 1
    assert max(read) < 70


async def test_a_crash_between_generations_loses_and_doubles_nothing(
    nats_server: NatsServer,
) -> None:
    """What a generation asked for last is done, though the next one is what is folded."""
    shop = Shop()
    rounds = 40
    async with daemon(nats_server.url, workflows=[LOOPS], services=[shop.service]) as movant:
        start = {"left": rounds - 1}
        await movant("run.start", workflow="loops.steps", input=start, id="a")
        await movant.view_when("a", lambda view: view["generation"] > 5)
        movant.crash()
    async with daemon(nats_server.url, workflows=[LOOPS], services=[shop.service]) as movant:
        ended = await movant.ended("a")
        told = await _stored(movant, "EVENTS", "movant.event.loops-steps.a.round")
        sent = await _stored(movant, "MAIL", "movant.mail.*.other.signal.round")

    assert ended["result"] == rounds
    assert shop.doubled == []
    assert len(shop.keys) == rounds
    assert len(told) >= rounds
    assert {int(each.payload) for each in sent} == set(range(1, rounds))


async def test_a_migration_folds_the_current_generation(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Code that could not fold former generations goes on with this one."""
    source = tmp_path / "moving.py"
    source.write_text("""
import movant

@movant.workflow("moving")
async def moving(ctx: movant.Context, value: int) -> object:
    first = await ctx.call("shop", "buy", {"n": value}, name="first")
    await ctx.signal("go")
    if value == 1:
        ctx.continue_as(2)
    return 1 // 0
""")
    shop = Shop()
    services = [shop.service]
    async with daemon(nats_server.url, workflows=[source], services=services) as movant:
        await movant("run.start", workflow="moving", input=1, id="a")
        await movant("run.signal", id="a", name="go")
        await movant("run.signal", id="a", name="go")
        await movant.view_when("a", lambda view: view["status"] == "blocked")
        source.write_text("""
import movant

@movant.workflow("moving")
async def moving(ctx: movant.Context, value: int) -> object:
    await ctx.signal("other")
""")
        await movant.daemon.register(source)
        with pytest.raises(RefusedError, match="mismatch"):
            await movant("run.migrate", id="a")
        source.write_text("""
import movant

@movant.workflow("moving")
async def moving(ctx: movant.Context, value: int) -> object:
    if value == 2:
        await ctx.call("shop", "buy", {"n": value}, name="first")
    await ctx.signal("go")
    return [value, ctx.generation]
""")
        await movant.daemon.register(source)
        await movant("run.migrate", id="a")
        ended = await movant.view_when("a", lambda view: view["status"] == "completed")

    assert ended["result"] == [2, 2]
    assert len(shop.keys) == 2


async def test_a_record_of_a_former_epoch_is_void(nats_server: NatsServer) -> None:
    """Behind a higher marker a former owner cannot move a run to another generation."""
    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        await movant("run.start", workflow="loops.signals", input={"left": 9}, id="a")
        await _add(movant, "a", 1)
        await _recorded(movant, "a", 2)
        (record,) = await _stored(movant, "MAIL", "movant.mail.*.a.owner.continued")
        body = msgspec.json.decode(record.payload)
        with Raw(nats_server.url) as raw:
            body["epoch"] = 0
            body["generation"] = body["snapshot"]["generation"] = 7
            raw.put("movant.to.a.owner.continued", msgspec.json.encode(body))
        await until(lambda: movant.daemon.parts.intake.void)
        before = await movant("run.show", id="a")
    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        after = await movant("run.show", id="a")

    assert before["generation"] == after["generation"] == 2


async def test_what_is_recorded_counts(nats_server: NatsServer) -> None:
    """A valid record of a generation that this fold has not come to is folded from."""
    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        await movant("run.start", workflow="loops.signals", input={"left": 9}, id="a")
        await _add(movant, "a", 1)
        await _recorded(movant, "a", 2)
        (record,) = await _stored(movant, "MAIL", "movant.mail.*.a.owner.continued")
        body = msgspec.json.decode(record.payload)
        with Raw(nats_server.url) as raw:
            body["generation"] = body["snapshot"]["generation"] = 7
            raw.put("movant.to.a.owner.continued", msgspec.json.encode(body))
        await movant.view_when("a", lambda view: view["generation"] == 7)
        await _add(movant, "a", 1)
        await movant.view_when("a", lambda view: view["generation"] == 8)

    async with daemon(nats_server.url, workflows=[LOOPS]) as movant:
        after = await movant("run.show", id="a")

    assert after["generation"] == 8
