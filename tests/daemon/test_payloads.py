"""Values above 256 kB travel by reference; artifacts are kept with their run. A real server."""

from __future__ import annotations

import msgspec
import pytest

from actors.blobs import Blobs
from protocols import blobs as b
from protocols.blobs import File, Result
from protocols.service import Service
from runtime import client_recording
from runtime.client import Client
from tests.daemon.test_retention import passivate
from tests.support.daemon import WORKFLOWS, daemon
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

    @found.operation("turn", blocking=True) if False else found.operation("turn")
    def turn(request: dict[str, str]) -> dict[str, str]:
        return {"text": request["text"][::-1]}

    @found.operation("print")
    async def print_(request: dict[str, int]) -> Result:
        content = bytes(range(256)) * (request["size"] // 256)
        return Result("printed", (File("book.pdf", content, "application/pdf"),))

    return found


def subjects_of(url: str, stream: str, pattern: str) -> list[str]:
    """Return the subjects of a stream that match."""
    with Raw(url) as raw:
        return list(raw.subjects(stream, pattern))


async def test_ten_megabytes_go_from_step_to_step(nats_server: NatsServer) -> None:
    """With no word of the author; history, verify, export and replay know them."""
    async with (
        daemon(nats_server.url, workflows=[LARGE], services=[press()]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        ended = await client.start("large.chain", SIZE, id="a", wait_s=30)
        shown = await client.show("a")
        history = [each async for each in client.history("a")]
        verified = await client.verify("a")
        recording = await client_recording.record(client, "a", 1)
        await movant.view_when("a", lambda view: view["status"] == "completed")
        stored = subjects_of(nats_server.url, "BLOBS", "movant.blob.*.a.>")

    assert ended.result == shown.result == {"text": "ab" * (SIZE // 2)}
    assert shown.result_blob is not None
    assert shown.result_blob.size == SIZE + 11
    replies = [each for each in history if each.kind == "reply"]
    assert [each.body["size"] for each in replies] == [SIZE + 11] * 3
    assert verified.findings == []
    # The value of the first step and that of the third are one.
    assert len(stored) == 2 * shown.result_blob.chunks
    read = client_recording.read(msgspec.json.encode(recording))
    assert client_recording.replay(read).differences == ()


async def test_what_a_client_gives_may_be_large(nats_server: NatsServer) -> None:
    """Input and signal; the run is dropped from memory in between and folded again."""
    async with (
        daemon(nats_server.url, workflows=[LARGE]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x" * 3_000_000, id="a")
        await movant.waits("a", "signal")
        await passivate(movant, "a")
        await client.signal("a", "more", "y" * 2_000_000)
        outcome = await client.wait("a", timeout_s=20)

    assert outcome.result == {"given": 3_000_000, "said": 2_000_000}


async def test_children_events_and_signals_may_be_large(nats_server: NatsServer) -> None:
    """Each stands with the run that it goes to."""
    async with (
        daemon(nats_server.url, workflows=[LARGE]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("large.given", "x", id="other")
        ended = await client.start("large.family", 700_000, id="a", wait_s=20)
        other = await client.wait("other", timeout_s=20)
        with Raw(nats_server.url) as raw:
            (told,) = raw.messages("EVENTS", "movant.event.*.a.mirrored")
        verified = [await client.verify(each) for each in ("a", "other")]
        events = Blobs(movant.transport)
        content = await events.get("a", b.reference(told.data))

    assert ended.result == 700_000
    assert other.result == {"given": 1, "said": 700_000}
    assert told.headers["ce-datacontenttype"] == b.BLOB
    assert msgspec.json.decode(content) == {"text": "x" * 700_000}
    assert [each.findings for each in verified] == [[], []]
