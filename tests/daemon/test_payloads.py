"""Values above 256 kB travel by reference; artifacts are kept with their run. A real server."""

from __future__ import annotations

import hashlib
import runpy
from typing import Any

import msgspec
import pytest
import trio

from actors.owning.detours import Reference
from actors.owning.outbox import Outbox
from actors.store.blobs import Blobs
from protocols import blobs as b
from protocols import headers as h
from protocols.errors import NotFoundError
from protocols.events import from_wire
from protocols.ports import Outgoing
from protocols.service import Service
from runtime.client import recording as client_recording
from runtime.client.client import Client
from runtime.config import LimitsConfig
from tests.daemon.test_retention import by_hand, collected, passivate
from tests.docs.tables import DOCS
from tests.support.daemon import PROBE, WORKFLOWS, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

LARGE = WORKFLOWS / "large.py"
SIZE = 10_000_000


def press() -> Service:
    """Return a service that makes large values, and files."""
    found = Service("press")

    @found.operation("make")
    async def make(request: dict[str, int]) -> dict[str, str]:
        return {"text": "ab" * (request["size"] // 2)}

    @found.operation("turn")
    def turn(request: dict[str, str]) -> dict[str, str]:
        return {"text": request["text"][::-1]}

    return found


def subjects_of(url: str, run: str = "*") -> list[str]:
    """Return where the chunks of blobs stand."""
    with Raw(url) as raw:
        return list(raw.subjects("BLOBS", f"movant.blob.*.{run}.>"))


async def test_ten_megabytes_go_from_step_to_step(nats_server: NatsServer) -> None:
    """With no word of the author; history and verify know them."""
    async with (
        daemon(nats_server.url, workflows=[LARGE], services=[press()]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        ended = await client.start("large.chain", SIZE, id="a", wait_s=30)
        history = [each async for each in client.history("a")]
        verified = await client.verify("a")
        view = await movant("run.show", id="a")
        stored = subjects_of(nats_server.url, "a")

    assert ended.result == {"text": "ab" * (SIZE // 2)}
    assert view["result_blob"]["size"] == SIZE + 11
    replies = [each for each in history if each.kind == "reply"]
    assert [each.body["size"] for each in replies] == [SIZE + 11] * 3
    assert verified.findings == []
    # The value of the first step and that of the third are one.
    assert len(stored) == 2 * -(-(SIZE + 11) // b.CHUNK_BYTES)


async def test_what_a_client_gives_may_be_large(nats_server: NatsServer) -> None:
    """Input and signal; the run is folded again in between, exported, and folded elsewhere."""
    async with (
        daemon(nats_server.url, workflows=[LARGE]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x" * 800_000, id="a")
        await movant.waits("a", "signal")
        await passivate(movant, "a")
        await client.signal("a", "more", "y" * 600_000)
        outcome = await client.wait("a", timeout_s=20)
        recording = await client_recording.record(client, "a", 1)

    assert outcome.result == {"given": 800_000, "said": 600_000}
    read = client_recording.read(msgspec.json.encode(recording))
    assert client_recording.replay(read).differences == ()
    without = msgspec.structs.replace(read, blobs={})
    assert "blob" in client_recording.replay(without).outcome.blocked


async def test_children_events_and_signals_may_be_large(nats_server: NatsServer) -> None:
    """Each stands with the run that it goes to."""
    async with (
        daemon(nats_server.url, workflows=[LARGE]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x", id="other")
        ended = await client.start("large.family", 700_000, id="a", wait_s=20)
        other = await client.wait("other", timeout_s=20)
        await until(lambda: {"a", "other"}.isdisjoint(movant.daemon.parts.owner.live))
        with Raw(nats_server.url) as raw:
            told = raw.stored("EVENTS", "movant.event.large-family.a.mirrored")
        verified = [await client.verify(each) for each in ("a", "other")]
        events = Blobs(movant.transport)
        assert told is not None
        event = from_wire(h.decode(told["hdrs"]) or {}, told["data"])
        content = await events.get("a", b.reference(told["data"]))

    assert ended.result == 700_000
    assert other.result == {"given": 1, "said": 700_000}
    assert f"ce-datacontenttype: {b.BLOB}".encode() in told["hdrs"]
    assert event.data["size"] == len(content)
    assert msgspec.json.decode(content) == {"text": "x" * 700_000}
    assert [each.findings for each in verified] == [[], []]


async def test_files_are_kept_and_read(nats_server: NatsServer) -> None:
    """As docs/payloads.md has it: a service's, the workflow's own, and those of a graph's step."""
    examples = [DOCS / "examples" / "report.py", DOCS / "examples" / "report.yaml"]
    press = runpy.run_path(str(examples[0]))["press"]
    text = "x" * 600_000
    async with (
        daemon(nats_server.url, workflows=examples, services=[press]),
        Client.connect(nats_server.url) as client,
    ):
        await client.start("report", text, id="a", wait_s=20)
        await client.start("report-graph", {"text": "short"}, id="g", wait_s=20)
        listed = {each: await client.artifacts(each) for each in ("a", "g")}
        book = await client.artifact("a", "book.pdf")
        totals = await client.artifact("a", "totals.json")
        summary = await client.artifact("g", "summary.txt")
        with pytest.raises(NotFoundError, match="no artifact"):
            await client.artifact("a", "../book.pdf")
        verified = [await client.verify(each) for each in listed]

    assert [(each.name, each.content_type, each.path) for each in listed["a"]] == [
        ("book.pdf", "application/pdf", "/press.print"),
        ("notes.txt", "text/plain; charset=utf-8", "/artifact"),
        ("totals.json", "application/json", "/artifact#2"),
    ]
    assert listed["a"][0].digest == hashlib.sha256(book).hexdigest()
    assert book == b"%PDF-1.4\n" + text.encode()
    assert totals == b'{"pages":1}'
    assert [each.name for each in listed["g"]] == ["book.pdf", "summary.txt", "totals.json"]
    assert summary == b"short: 1 page"
    assert [each.findings for each in verified] == [[], []]


async def test_a_crash_between_blob_and_message_loses_nothing(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each large effect: its blob is stored, the daemon dies, the next one goes on."""
    died: list[str] = []
    perform = Outbox._write

    def stop_before(outbox: Outbox, actor: Any, effect: Any) -> None:
        kind = f"{actor.id}/{type(effect).__name__}"
        if type(getattr(effect, "body", None)) is Reference and kind not in died:
            died.append(kind)  # as if it were killed here
        else:
            perform(outbox, actor, effect)

    monkeypatch.setattr(Outbox, "_write", stop_before)
    ended: list[Any] = []
    with trio.fail_after(60):
        while not ended:
            dead = len(died)
            async with daemon(nats_server.url, workflows=[LARGE], **by_hand()) as movant:
                if not died:
                    await movant("run.start", workflow="large.given", input="x", id="other")
                    await movant("run.start", workflow="large.family", input=400_000, id="a")
                while not ended and len(died) == dead:
                    await trio.sleep(0.02)
                    views = [await movant("run.show", id=each) for each in ("a", "other")]
                    if all(each["status"] == "completed" for each in views):
                        ended = views
                        await until(lambda: not movant.daemon.parts.owner.live)
                        ended += [await movant("run.verify", id=each) for each in ("a", "other")]
                if len(died) > dead:
                    ended = []
                    movant.crash()

    assert {each.rpartition("/")[2] for each in died} == {"Spawn", "Finish", "Emit", "Send"}
    assert [each["result"] for each in ended[:2]] == [400_000, {"given": 1, "said": 400_000}]
    assert [each.get("findings", []) for each in ended[2:]] == [[], []]


async def test_a_missing_value_blocks_and_is_put_back(nats_server: NatsServer) -> None:
    """Nothing is skipped: with the blob back the same mailbox folds to its end."""
    async with (
        daemon(nats_server.url, workflows=[LARGE]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x" * 400_000, id="a")
        await movant.waits("a", "signal")
        await passivate(movant, "a")
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.PURGE.BLOBS", b'{"filter":"movant.blob.*.a.>"}')
        await client.signal("a", "more", "yy")
        blocked = await movant.ended("a")
        await Blobs(movant.transport).put("a", b'"' + b"x" * 400_000 + b'"')
        await movant("run.migrate", id="a")
        ended = await movant.view_when("a", lambda view: view["status"] == "completed")

    assert blocked["status"] == "blocked"
    assert blocked["input"]["size"] == 400_002
    assert f"blob: message {blocked['blocked_at']}: chunk" in blocked["blocked"]
    assert ended["result"] == {"given": 400_000, "said": 2}


async def test_a_service_without_movant_reads_and_answers_references(
    nats_server: NatsServer,
) -> None:
    """It needs requests and replies of NATS alone. What is no reference is a dead letter."""
    text = "z" * 500_000
    asked: list[Any] = []

    async with daemon(nats_server.url, workflows=[LARGE]) as movant, trio.open_nursery() as tasks:
        transport = movant.transport

        async def answer(frame: Any) -> None:
            reply, run = frame.reply, frame.reply.split(".")[2]
            lines = h.encode({h.CONTENT_TYPE: b.BLOB})
            asked.append((h.decode(frame.headers) or {}).get(h.CONTENT_TYPE, ""))
            body = msgspec.json.encode({"text": text})
            if frame.subject.endswith(".turn"):
                told = msgspec.json.decode(frame.payload)
                where = f"$JS.API.DIRECT.GET.BLOBS.{told['subject']}.1"
                got = await transport.request(Outgoing(where, b""), 3.0)
                assert len(got.payload) == told["size"] - b.CHUNK_BYTES
            digest = hashlib.sha256(body).hexdigest()
            for number, start in enumerate(range(0, len(body), b.CHUNK_BYTES)):
                chunk = body[start : start + b.CHUNK_BYTES]
                await transport.request(
                    Outgoing(f"movant.put.{run}.{digest}.{number}", chunk), 3.0
                )
            if len(asked) == 1:
                wrong = b'{"digest":"../../../x","size":5}'
                await transport.request(Outgoing(reply, wrong, lines), 3.0)
            said = msgspec.json.encode({"digest": digest, "size": len(body)})
            await transport.request(Outgoing(reply, said, lines), 3.0)

        def take(frames: Any) -> None:
            for each in frames:
                if h.TRACE_ONLY.encode() not in each.headers:
                    tasks.start_soon(answer, each)

        subscribed = await transport.subscribe("movant.svc.press.>", take, queue="q")
        await movant("run.start", workflow="large.chain", input=500_000, id="a")
        ended = await movant.ended("a")
        dead = await movant("dead.ls")
        subscribed.unsubscribe()

    assert asked == ["", b.BLOB, b.BLOB]
    assert ended["status"] == "completed"
    assert ended["result_blob"]["size"] == len(text) + 11
    assert [each["reason"] for each in dead["letters"]] == ["value"]


async def test_what_is_over_the_limit_fails_its_step(nats_server: NatsServer) -> None:
    """With a clear kind, at once and for good: the run goes on to its end."""
    limits = LimitsConfig(value_bytes_max=300_000)
    async with daemon(
        nats_server.url, workflows=[LARGE], services=[press()], limits=limits
    ) as movant:
        small = await movant.run("large.chain", 290_000)
        large = await movant.run("large.chain", 400_000)
        huge = await movant.run("large.chain", b.BLOB_BYTES_MAX)

    assert small["status"] == "completed"
    assert large["status"] == huge["status"] == "failed"
    assert large["failure"]["kind"] == huge["failure"]["kind"] == "over_limit"
    assert "/press.turn" in large["failure"]["message"]
    assert "/press.make" in huge["failure"]["message"]


async def test_blobs_go_with_the_last_of_their_run(nats_server: NatsServer) -> None:
    """A run that waits, and one that the archive knows, keep theirs; a young orphan does too."""
    async with (
        daemon(
            nats_server.url, workflows=[LARGE, PROBE], services=[press()], **by_hand(orphan_s=0.5)
        ) as movant,
        Client.connect(nats_server.url) as client,
    ):
        sweep = movant.daemon.parts.sweep
        await client.start("large.given", "x" * 300_000, id="waits")
        await movant.waits("waits", "signal")
        await passivate(movant, "waits")
        await movant.run("large.chain", 300_000, id="done")
        await movant.run("large.short", 300_000, id="short")
        await collected(movant, "done")
        stored = {name.split(".")[3] for name in subjects_of(nats_server.url)}
        await collected(movant, "waits")
        await trio.sleep(0.6)
        await sweep.sweep()
        before = {name.split(".")[3] for name in subjects_of(nats_server.url)}
        kept = await client.show("done")
        verified = await client.verify("done")
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.PURGE.ARCHIVE", b"")
        await Blobs(movant.transport).put("young", b"x" * 300_000)
        await sweep.sweep()
        after = {name.split(".")[3] for name in subjects_of(nats_server.url)}
        await client.signal("waits", "more", "yy")
        ended = await client.wait("waits", timeout_s=20)

    assert stored == {"waits", "done", "short"}
    assert before == {"waits", "done"}  # the other one's definition keeps it for 0.1 s
    assert kept.result == {"text": "ab" * 150_000}
    assert verified.findings == []
    assert after == {"waits", "young"}
    assert ended.result == {"given": 300_000, "said": 2}
