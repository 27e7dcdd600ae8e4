"""A value that nobody has blocks its run until it is put back or given up. A real server."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from actors.owning import resolving
from actors.store import blobs, storing
from actors.store.blobs import Blobs
from protocols import blobs as b
from protocols import headers as h
from protocols.errors import NotFoundError, OverloadedError, RefusedError
from protocols.ports import Outgoing
from protocols.witness import Operator
from runtime.client.client import Client
from runtime.config import LimitsConfig
from runtime.why import why
from tests.daemon.test_payloads import LARGE, press
from tests.daemon.test_retention import by_hand, collected, passivate
from tests.support.daemon import PROBE, Running, daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

ANN = Operator(who="ann", where="desk", why="the disk is lost")
LINES = h.encode({h.CONTENT_TYPE: b.BLOB})
NOWHERE = b.encoded(b.blob_of(b"y" * 400_000))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a value count as missing at once: here nobody is a moment ahead of its chunks."""
    monkeypatch.setattr(resolving, "LOOKS_S", (0.01,))
    monkeypatch.setattr(storing, "AGAIN_S", 0.1)
    monkeypatch.setattr(blobs, "ROOM_S", 0.0)


async def blocked(movant: Running, client: Client, run: str) -> Any:
    """Return the view of a run that lacks a value."""
    await movant.view_when(run, lambda view: view["status"] == "blocked")
    return await client.show(run)


async def test_an_answer_whose_value_nobody_has_is_given_up(nats_server: NatsServer) -> None:
    """The step is asked again with its key; every fold of the mailbox honours it, for ever."""
    keys: list[str] = []

    async with (
        daemon(nats_server.url, workflows=[LARGE, PROBE], **by_hand()) as movant,
        Client.connect(nats_server.url) as client,
    ):
        transport = movant.transport

        def take(frames: Any) -> None:
            for each in frames:
                if h.TRACE_ONLY.encode() in each.headers:
                    continue
                keys.append((h.decode(each.headers) or {})[h.KEY])
                lost = len(keys) == 1
                lines = LINES if lost else b""
                body = NOWHERE if lost else b'{"text":"ab"}'
                transport.publish(Outgoing(each.reply, body, lines))

        subscribed = await transport.subscribe("movant.svc.press.>", take, queue="q")
        await client.start("large.chain", 1, id="a")
        view = await blocked(movant, client, "a")
        said = why(view, 0).sentence
        with pytest.raises(RefusedError, match="not blocked by the value of message 1;"):
            await client.discard("a", 1)
        await client.discard("a", view.blocked_at, by=ANN)
        ended = await client.wait("a", timeout_s=20)
        with pytest.raises(RefusedError, match="not blocked"):
            await client.discard("a", view.blocked_at)
        history = [each async for each in client.history("a")]
        verified = await client.verify("a")
        await collected(movant, "a")
        archived = await client.verify("a")
        subscribed.unsubscribe()

    assert f"movant run discard a {view.blocked_at}" in said
    assert "movant run supply a FILE" in said
    assert ended.result == {"text": "ab"}
    assert keys[0] == keys[1] == "a/1/press.make"
    assert len(keys) == 4
    (repair,) = [each for each in history if each.kind == "control.repair"]
    assert repair.by == ANN
    assert repair.summary == f"message {view.blocked_at} discarded"
    assert verified.findings == archived.findings == []


async def test_the_right_bytes_heal_whatever_stands_in_their_place(
    nats_server: NatsServer,
) -> None:
    """A chunk is gone and another is forged: the value itself, put back, is all it takes."""
    value = msgspec.json.encode("x" * 700_000)
    blob = b.blob_of(value)
    async with (
        daemon(nats_server.url, workflows=[LARGE], **by_hand()) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x" * 700_000, id="a")
        await movant.waits("a", "signal")
        await passivate(movant, "a")
        with Raw(nats_server.url) as raw:
            raw.ask("$JS.API.STREAM.PURGE.BLOBS", b'{"filter":"movant.blob.*.a.>"}')
            raw.ask(b.put_subject("a", blob.digest, 1), b"forged")
        await client.signal("a", "more", "yy")
        view = await blocked(movant, client, "a")
        with pytest.raises(RefusedError, match="what was put has the digest"):
            await client.supply("a", b'"another one"')
        with pytest.raises(NotFoundError, match="no value"):
            await movant("run.supply", id="a", digest="0" * 64, size=1)
        await client.supply("a", value, by=ANN)
        ended = await client.wait("a", timeout_s=20)
        verified = await client.verify("a")
        with pytest.raises(RefusedError, match="not blocked"):
            await client.supply("a", value)
        with Raw(nats_server.url) as raw:
            stands = raw.subjects("BLOBS", "movant.blob.*.a.>")

    assert f"message {view.blocked_at}: " in view.blocked
    assert ended.result == {"given": 700_000, "said": 2}
    assert verified.findings == []
    # What was staged is gone.
    assert {each.split(".")[4] for each in stands} == {
        blob.digest,
        hashlib.sha256(b'"another one"').hexdigest(),
    }


async def test_a_run_whose_input_nobody_has_is_given_up(nats_server: NatsServer) -> None:
    """It has failed: with a record, and a parent would be told. So does one that nobody pinned."""
    async with (
        daemon(nats_server.url, workflows=[LARGE], **by_hand()) as movant,
        Client.connect(nats_server.url) as client,
    ):
        for run in ("raw", "again"):
            where = f"movant.to.{run}.start.large.given"
            await movant.transport.request(Outgoing(where, NOWHERE, LINES), 3.0)
            view = await blocked(movant, client, run)
            await client.discard(run, view.blocked_at, by=ANN)
        ended = await client.wait("raw", timeout_s=20)
        row = await client.show("again")

    assert ended.status == row.status == "failed"
    assert ended.failure is not None
    assert (ended.failure.kind, ended.blocked) == ("blob", "")
    assert "given up by ann" in ended.failure.message


async def test_a_service_heals_what_was_forged_under_its_answer(nats_server: NatsServer) -> None:
    """Alone it may not replace a chunk: it lays its own beside it, and the daemon does."""
    content = msgspec.json.encode("z" * 600_000)
    blob = b.blob_of(content)
    async with daemon(nats_server.url, workflows=[LARGE]) as movant:
        for run in ("a", "b"):
            await movant.transport.request(
                Outgoing(b.put_subject(run, blob.digest, 2), b"forged"), 3.0
            )
        await Blobs(movant.transport, alone=True).put("a", content)
        got = await Blobs(movant.transport).get("a", blob)
        with Raw(nats_server.url) as raw:
            names = {each.split(".")[4] for each in raw.subjects("BLOBS", "movant.blob.*.a.>")}
        # Whoever stages something else for a digest changes nothing.
        staged = await Blobs(movant.transport).stage("b", b"z" * blob.size)
        with pytest.raises(RefusedError, match="another digest"):
            await movant("run.mend", id="b", digest=blob.digest, size=blob.size, staged=staged)
        with pytest.raises(RefusedError, match="32 hexadecimal"):
            await movant("run.mend", id="b", digest=blob.digest, size=1, staged=blob.digest)

    assert got == content
    assert names == {blob.digest}


async def test_a_full_store_loses_nothing(nats_server: NatsServer) -> None:
    """Whoever begins is told; what has begun waits, says for what, and ends when there is room."""
    limits = LimitsConfig(blobs_bytes_max=2_000_000)
    async with (
        daemon(nats_server.url, workflows=[LARGE], services=[press()], limits=limits) as movant,
        Client.connect(nats_server.url, patience_s=0.5) as client,
    ):
        store = Blobs(movant.transport)
        await store.put("other", b"x" * 1_700_000)
        await client.start("large.made", 400_000, id="a")
        full = await movant.view_when("a", lambda view: "full" in str(view.get("waiting")))
        with pytest.raises(OverloadedError, match="BLOBS is full: maximum bytes"):
            await client.start("large.given", "x" * 600_000, id="b")
        found = {each["check"]: each for each in (await movant("check"))["findings"]}
        with Raw(nats_server.url) as raw:
            config = raw.ask("$JS.API.STREAM.INFO.BLOBS")["config"]
            config["max_bytes"] = 8_000_000
            raw.ask("$JS.API.STREAM.UPDATE.BLOBS", msgspec.json.encode(config))
        ended = await client.wait("a", timeout_s=20)
        await store.put("other", b"y" * 4_800_000)
        with pytest.raises(OverloadedError, match=r"BLOBS is nearly full: 7 MiB of 8 MiB"):
            await client.start("large.given", "x" * 300_000, id="b")

    assert config["max_bytes"] == 8_000_000
    assert "BLOBS is full" in full["waiting"][0]["detail"]
    assert found["streams"]["verdict"] == "ok"
    assert found["blobs"]["found"] == "large values and artifacts: 2 MiB of 2 MiB"
    assert ended.result == {"text": "ba" * 200_000}
