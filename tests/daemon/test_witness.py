"""The witness on a real server: nothing is found in what nobody touched, and each change is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from protocols.errors import NotFoundError
from protocols.subjects import partition_of
from tests.daemon.test_retention import by_hand, collected, passivate
from tests.support.blocks import Record, rewrite
from tests.support.daemon import PROBE, Running, daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

LOOPS = PROBE.parent / "loops.py"


async def story(movant: Running) -> None:
    """Let one run end, and another one wait."""
    await movant.run("probe.steps", {"steps": 3}, id="done")
    await movant("run.start", workflow="probe.signals", input=3, id="open")
    for number in range(2):
        await movant("run.signal", id="open", name="go", data=number)
    await movant.view_when("open", lambda view: view["state"] == {"seen": 2})


async def ended(movant: Running) -> None:
    """Let the waiting run end as well."""
    await movant("run.signal", id="open", name="go", data=2)
    await movant.ended("open")


def said(found: Any) -> list[tuple[str, str, int]]:
    """Return kind, stream and sequence of each finding."""
    return [(each["kind"], each["stream"], each.get("seq", 0)) for each in found["findings"]]


async def verified(movant: Running, *ids: str) -> list[Any]:
    """Return what a verification finds of runs whose end may be a moment old."""
    return [await movant("run.verify", id=each) for each in ids]


async def test_runs_that_nobody_touched_are_clean(nats_server: NatsServer) -> None:
    """Running, ended, and after a restart; the statements name each message."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await story(movant)
        before = await verified(movant, "done", "open")
        await ended(movant)
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        after = await verified(movant, "done", "open")
        with pytest.raises(NotFoundError):
            await movant("run.verify", id="nobody")

    assert [said(each) for each in (*before, *after)] == [[], [], [], []]
    assert [each["covered"] for each in before] == [4, 1]
    assert [each["covered"] for each in after] == [4, 4]
    assert [each["statements"] for each in after] == [2, 2]


async def test_collecting_changes_nothing(nats_server: NatsServer) -> None:
    """The same heads from packs and bundles; an edit of MAIL's copy would be found there too."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await story(movant)
        before = await verified(movant, "done", "open")
        await passivate(movant, "open")
        await collected(movant, "open")
        after = await verified(movant, "done", "open")
        await ended(movant)
        last = await verified(movant, "open")

    assert [said(each) for each in (*before, *after, *last)] == [[], [], [], [], []]
    assert [each["head"] for each in before] == [each["head"] for each in after]
    assert after[0]["covered"] == 4
    assert last[0]["covered"] == 4


async def test_a_changed_byte_of_a_stored_message_is_named(nats_server: NatsServer) -> None:
    """One byte in a block of MAIL, with its checksum mended."""
    victim = await _doctored(nats_server, "signal.go", _other_digit)

    async with daemon(nats_server.url, **by_hand()) as movant:
        (found,) = await verified(movant, "open")
        (other,) = await verified(movant, "done")

    assert said(found) == [("edited", "MAIL", victim[1].seq)]
    assert found["findings"][0]["subject"] == victim[1].subject
    assert said(other) == []


async def test_a_dropped_message_is_named(nats_server: NatsServer) -> None:
    """It is gone from its block, as if it had never been there."""
    victim = await _doctored(nats_server, "signal.go", lambda found: [found[0], found[2]])

    async with daemon(nats_server.url, **by_hand()) as movant:
        (found,) = await verified(movant, "open")

    assert said(found) == [("dropped", "MAIL", victim[1].seq)]


async def test_messages_that_changed_places_are_named(nats_server: NatsServer) -> None:
    """Both, with sequence and time of the other one."""
    victim = await _doctored(nats_server, "signal.go", _exchanged)

    async with daemon(nats_server.url, **by_hand()) as movant:
        (found,) = await verified(movant, "open")

    assert said(found) == [
        ("reordered", "MAIL", victim[0].seq),
        ("reordered", "MAIL", victim[1].seq),
    ]


async def test_a_message_that_was_put_in_is_named(nats_server: NatsServer) -> None:
    """What was another run's message becomes one of this run's."""
    shop = Shop()
    partition = partition_of("open", 4)
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=2, id="open")
        await movant("run.signal", id="open", name="go", data=1)
        await movant("run.signal", id="other", name="go", data=1)
        await movant("run.signal", id="open", name="go", data=2)
        await movant.ended("open")
    put: list[Record] = []

    def change(records: list[Record]) -> Sequence[Record]:
        for at, each in enumerate(records):
            if ".other.signal." in each.subject:
                subject = f"movant.mail.{partition}.open.signal.go"
                records[at] = msgspec.structs.replace(each, subject=subject)
                put.append(records[at])
        return records

    nats_server.stop()
    rewrite(nats_server.directory, "MAIL", change)
    nats_server.start()
    async with daemon(nats_server.url, **by_hand()) as movant:
        (found,) = await verified(movant, "open")

    assert said(found) == [("forged", "MAIL", put[0].seq)]


async def test_an_edited_bundle_is_named(nats_server: NatsServer) -> None:
    """The history of a finished run stands in ARCHIVE: one byte of it, checksum mended."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        await story(movant)
        await collected(movant, "open")

    def change(records: list[Record]) -> Sequence[Record]:
        for at, each in enumerate(records):
            if "._bundle." in each.subject:
                payload = bytearray(each.payload)
                payload[len(payload) // 2] ^= 1
                records[at] = msgspec.structs.replace(each, payload=bytes(payload))
        return records

    nats_server.stop()
    rewrite(nats_server.directory, "ARCHIVE", change)
    nats_server.start()
    async with daemon(nats_server.url, services=[shop.service], **by_hand()) as movant:
        (found,) = await verified(movant, "done")

    assert found["findings"] != []


async def test_without_events_the_record_still_tells(nats_server: NatsServer) -> None:
    """EVENTS forgets: what was edited is not named, but that something was is found."""
    await _doctored(nats_server, "signal.go", _other_digit)
    with Raw(nats_server.url) as raw:
        raw.ask("$JS.API.STREAM.PURGE.EVENTS", b"{}")

    async with daemon(nats_server.url, **by_hand()) as movant:
        (done, found) = await verified(movant, "done", "open")

    assert said(done) == []
    assert "older than what EVENTS keeps" in done["notes"][0]
    assert [each["stream"] for each in found["findings"]] == ["ARCHIVE"]


async def test_who_did_it_by_hand_stands_in_history_and_statement(
    nats_server: NatsServer,
) -> None:
    """A cancel, a signal and a migration, with who, from where and why."""
    by = {"who": "ann", "where": "desk 7", "why": "too late: 100 %"}
    async with daemon(nats_server.url, **by_hand()) as movant:
        await movant("run.start", workflow="probe.signals", input=3, id="a")
        await movant("run.signal", id="a", name="go", data=1, by=by)
        await movant("run.migrate", id="a", by=by)
        await movant("run.cancel", id="a", reason="enough", by=by)
        await movant.ended("a")
        history = await movant("run.history", id="a")
        (found,) = await verified(movant, "a")
        with Raw(nats_server.url) as raw:
            stored = [
                raw.stored("EVENTS", f"movant.event.*.a.{kind}")
                for kind in ("migrated", "cancelled")
            ]
    told = [msgspec.json.decode(each["data"])["witness"] for each in stored if each is not None]

    assert [each["kind"] for each in history["entries"] if each.get("by") == by] == [
        "signal",
        "control.migrate",
        "control.cancel",
    ]
    assert [each["what"] for each in told] == ["migrated", "cancelled"]
    assert [each["by"] for each in told] == [by, by]
    assert said(found) == []


async def test_generations_are_verified_before_and_after_collecting(
    nats_server: NatsServer,
) -> None:
    """The chain goes on from snapshot to snapshot."""
    workflows = (PROBE, LOOPS)
    async with daemon(nats_server.url, workflows=workflows, **by_hand()) as movant:
        given = {"left": 9, "every": 2}
        await movant("run.start", workflow="loops.signals", input=given, id="a")
        for number in range(7):
            await movant("run.signal", id="a", name="add", data=number)
        await movant.view_when("a", lambda view: view["generation"] == 4)
        (before,) = await verified(movant, "a")
        await passivate(movant, "a")
        await collected(movant, "a")
        (after,) = await verified(movant, "a")

    assert said(before) == []
    assert said(after) == []
    assert before["head"] == after["head"]
    assert any("collected" in each for each in after["notes"])


async def _doctored(server: NatsServer, kind: str, change: Any) -> list[Record]:
    """Let two runs end, and change the messages of a kind of the second; return what they were."""
    shop = Shop()
    async with daemon(server.url, services=[shop.service], **by_hand()) as movant:
        await story(movant)
        await ended(movant)
    victims: list[Record] = []

    def changed(records: list[Record]) -> Sequence[Record]:
        chosen = [each for each in records if f".open.{kind}" in each.subject]
        victims.extend(chosen)
        kept = [each for each in records if each not in chosen]
        return sorted([*kept, *change(chosen)], key=lambda each: each.seq)

    server.stop()
    rewrite(server.directory, "MAIL", changed)
    server.start()
    assert len(victims) == 3
    return victims


def _other_digit(found: list[Record]) -> list[Record]:
    return [found[0], msgspec.structs.replace(found[1], payload=b"7"), found[2]]


def _exchanged(found: list[Record]) -> list[Record]:
    one, two, three = found
    return [
        msgspec.structs.replace(two, seq=one.seq, at=one.at),
        msgspec.structs.replace(one, seq=two.seq, at=two.at),
        three,
    ]
