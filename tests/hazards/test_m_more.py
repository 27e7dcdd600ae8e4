"""The smaller hazards of definitions, batches, schedules and fan-outs: M3, M4, M6, M7, M10."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from protocols.subjects import partition_of
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

MAIN = """
import movant
from parts import answer

@movant.workflow("built")
async def built(ctx, value):
    await ctx.signal("go")
    return answer()
"""
BROKEN = """
import movant

@movant.workflow("broken")
async def broken(ctx, value):
    await ctx.signal("go")
    return 1 // 0
"""
FAN = """
import movant

@movant.workflow("fan")
async def fan(ctx, value):
    return len(await ctx.gather(*(ctx.child("leaf", n) for n in range(value))))

@movant.workflow("leaf")
async def leaf(ctx, value):
    return value
"""
SAMPLE = 30
BATCH_ID_CHARS_MAX = 24
"""96 random bits: they stay in every message of a batch."""


async def test_m3_a_definition_holds_the_modules_that_it_imports(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Only the imported module changes: what runs keeps the old one, also after a restart."""
    main = tmp_path / "main.py"
    main.write_text(MAIN)
    parts = tmp_path / "parts.py"
    parts.write_text("def answer():\n    return 'old'\n")
    async with daemon(nats_server.url, workflows=[main]) as movant:
        before = await movant("run.start", workflow="built", id="before")
        parts.write_text("def answer():\n    return 'new'\n")
        await movant.daemon.register(main)
        after = await movant("run.start", workflow="built", id="after")
        movant.crash()
    async with daemon(nats_server.url, workflows=[]) as movant:
        for instance in ("before", "after"):
            await movant("run.signal", id=instance, name="go")
        ended = [await movant.ended(instance) for instance in ("before", "after")]

    assert before["definition"] != after["definition"]
    assert [each["result"] for each in ended] == ["old", "new"]


async def test_m4_being_blocked_is_not_recorded(nats_server: NatsServer, tmp_path: Path) -> None:
    """The mailbox says nothing of it: every fold with the same code finds it anew."""
    source = tmp_path / "broken.py"
    source.write_text(BROKEN)
    async with daemon(nats_server.url, workflows=[source]) as movant:
        await movant("run.start", workflow="broken", id="a")
        await movant("run.signal", id="a", name="go")
        blocked = await movant.ended("a")
        with Raw(nats_server.url) as raw:
            stored = raw.subjects("MAIL", "movant.mail.*.a.>")
            archived = raw.messages("ARCHIVE")
        movant.crash()
    async with daemon(nats_server.url, workflows=[source]) as movant:
        again = await movant.ended("a")
        source.write_text(BROKEN.replace("1 // 0", "1 // 1"))
        await movant.daemon.register(source)
        await movant("run.migrate", id="a")
        ended = await movant.view_when("a", lambda view: view["status"] == "completed")

    assert blocked["status"] == again["status"] == "blocked"
    assert {subject.split(".")[4] for subject in stored} == {"start", "signal"}
    assert archived == 0
    assert ended["result"] == 1


async def test_m6_what_a_batch_leaves_in_a_message_is_short(nats_server: NatsServer) -> None:
    """Runs that are started together are stored in batches, whose ids have 24 characters."""
    async with daemon(nats_server.url) as movant:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(movant.run, "probe.send", {"times": 20, "to": f"x{number}"})
        with Raw(nats_server.url) as raw:
            subjects = raw.subjects("MAIL", "movant.mail.*.*.signal.>")
            lines = [raw.stored("MAIL", subject) for subject in list(subjects)[:SAMPLE]]

    headers = b"".join(each["hdrs"] for each in lines if each)
    ids = re.findall(rb"Nats-Batch-Id: (.*)\r\n", headers)
    assert ids
    assert max(len(each) for each in ids) <= BATCH_ID_CHARS_MAX


async def test_m7_a_cron_schedule_has_no_power_over_mailboxes(nats_server: NatsServer) -> None:
    """MAIL refuses it; the firings of one in TIMERS come as timers that nobody waits for."""
    instance = "a"
    partition = partition_of(instance, 64)
    fired = f"movant.fired.{partition}.{instance}.tick"
    schedule = {"Nats-Schedule": "@every 1s"}
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id=instance)
        with Raw(nats_server.url) as raw:
            refused = raw.ask(
                "movant.to.b.signal.go",
                b"1",
                {**schedule, "Nats-Schedule-Target": f"movant.to.{instance}.control.cancel"},
            )
            raw.ask(
                f"movant.timer.{partition}.{instance}.tick",
                b"{}",
                {**schedule, "Nats-Schedule-Target": fired},
            )
            pattern = f"movant.mail.{partition}.{instance}.timer.tick"
            await until(lambda: raw.subjects("MAIL", pattern).get(pattern, 0) > 1)
            others = raw.subjects("MAIL", "movant.mail.*.*.control.>")
        view = await movant("run.show", id=instance)
        await movant("run.signal", id=instance, name="go", data=1)
        ended = await movant.ended(instance)

    assert "schedule" in refused["error"]["description"]
    assert others == {}
    assert view["status"] == "running"
    assert ended["result"] == [1]


async def test_m10_children_are_started_in_batches_and_count_as_mail_of_their_parent(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """300 at once: one result each in the parent's mailbox, and starts that went together."""
    children = 300
    source = tmp_path / "fan.py"
    source.write_text(FAN)
    async with daemon(nats_server.url, workflows=[source]) as movant:
        ended = await movant.run("fan", children, id="parent")
        with Raw(nats_server.url) as raw:
            results = raw.subjects("MAIL", f"movant.mail.{partition_of('parent', 64)}.parent.>")
            starts = list(raw.subjects("MAIL", "movant.mail.*.*.start.leaf"))
            lines = [raw.stored("MAIL", subject) for subject in starts[:SAMPLE]]

    batches = [
        found[1]
        for each in lines
        if each
        for found in [re.search(rb"Batch-Id: (.*)", each["hdrs"])]
        if found
    ]
    assert ended["result"] == children
    assert sum(results.values()) == 1 + children
    assert len(starts) == children
    assert len(set(batches)) < len(batches)
