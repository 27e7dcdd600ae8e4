"""Blobs against a real server: whole or not at all, once, and nobody replaces a chunk."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
import trio

from actors.owning.late import Late
from actors.retention.purging import Purging
from actors.store import blobs
from actors.store.blobs import BlobForgedError, BlobMissingError, Blobs
from actors.store.stream_writer import StreamWriter
from protocols import blobs as b
from protocols import subjects
from protocols.archive import ArchiveRecord
from protocols.errors import BadValueError, OversizedError, UnavailableError
from protocols.mail import Parent, Start
from protocols.ports import Frame, Outgoing
from runtime.bridge import NatsTransport
from runtime.clock import SystemEntropy
from tests.store.conftest import PARTITIONS
from tests.support.nats import NatsServer

CONTENT = bytes(range(256)) * 12_000 + b"end"
"""3 MB in 12 chunks, none like the other."""


async def _ask(transport: NatsTransport, verb: str, request: object = None) -> dict[str, object]:
    body = b"" if request is None else msgspec.json.encode(request)
    answer = await transport.request(Outgoing(f"$JS.API.{verb}", body), 3.0)
    found: dict[str, object] = msgspec.json.decode(answer.payload)
    return found


async def _messages(transport: NatsTransport) -> int:
    found = await _ask(transport, "STREAM.INFO.BLOBS")
    return found["state"]["messages"]  # type: ignore[index, no-any-return]


async def _publish(transport: NatsTransport, subject: str, payload: bytes) -> Frame:
    return await transport.request(Outgoing(subject, payload), 3.0)


async def test_a_blob_comes_back_whole_and_is_stored_once(transport: NatsTransport) -> None:
    """Put twice, by two processes, it is there once, in the partition of its run."""
    blob = await Blobs(transport).put("order-1", CONTENT, "text/plain")
    again = await Blobs(transport).put("order-1", CONTENT, "text/plain")

    assert again == blob
    assert blob.digest == hashlib.sha256(CONTENT).hexdigest()
    assert await _messages(transport) == blob.chunks == 12
    assert await Blobs(transport).get("order-1", blob) == CONTENT
    partition = subjects.partition_of("order-1", PARTITIONS)
    stands = b.stored_subject("order-1", blob.digest, 11, partition)
    found = await _ask(transport, "STREAM.MSG.GET.BLOBS", {"last_by_subj": stands})
    assert found["message"]["subject"] == stands  # type: ignore[index]


async def test_a_blob_belongs_to_one_run(transport: NatsTransport) -> None:
    """A reference to the value of another run names nothing."""
    blob = await Blobs(transport).put("order-1", CONTENT)

    with pytest.raises(BlobMissingError, match="missing"):
        await Blobs(transport).get("order-2", blob)


async def test_nobody_replaces_a_chunk(transport: NatsTransport) -> None:
    """The server refuses a second message for a chunk, whoever sends it."""
    reader = Blobs(transport)
    blob = await reader.put("order-1", CONTENT)

    refused = await _publish(transport, b.put_subject("order-1", blob.digest, 0), b"forged")

    assert b"maximum messages per subject exceeded" in refused.payload
    assert await reader.get("order-1", blob) == CONTENT


async def test_a_chunk_under_a_wrong_digest_is_replaced(transport: NatsTransport) -> None:
    """Who reads gets nothing rather than a wrong value; who has the real one puts it there."""
    blob = b.blob_of(CONTENT)
    await _publish(transport, b.put_subject("order-1", blob.digest, 3), b"forged")
    for number, chunk in enumerate(b.chunks(CONTENT)):
        await _publish(transport, b.put_subject("order-1", blob.digest, number), chunk)
    with pytest.raises(BlobMissingError, match="not what it was"):
        await Blobs(transport).get("order-1", blob)
    # A reference may lie about the size: what it makes of a blob proves nothing against that.
    lie = msgspec.structs.replace(blob, size=b.CHUNK_BYTES)
    with pytest.raises(BlobMissingError, match="not what it was"):
        await Blobs(transport).get("order-1", lie)

    await Blobs(transport).put("order-1", CONTENT)

    assert await Blobs(transport).get("order-1", blob) == CONTENT
    assert await _messages(transport) == 12


async def test_two_who_replace_one_chunk_do_each_other_no_harm(transport: NatsTransport) -> None:
    """Each removes the very message that it has seen, never the right one of the other."""
    blob = b.blob_of(CONTENT)
    for number in range(blob.chunks):
        await _publish(transport, b.put_subject("order-1", blob.digest, number), b"forged")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(Blobs(transport).put, "order-1", CONTENT)

    assert await Blobs(transport).get("order-1", blob) == CONTENT
    assert await _messages(transport) == 12


async def test_a_put_does_not_run_after_whoever_forges_again_and_again(
    transport: NatsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with an error that says so; nothing waits for ever."""
    blob = b.blob_of(CONTENT)
    where = b.put_subject("order-1", blob.digest, 3)
    await _publish(transport, where, b"forged")
    purge = Purging.purge

    async def forged(purging: Purging, stream: str, request: Any) -> int:
        purged = await purge(purging, stream, request)
        await _publish(transport, where, b"forged")
        return purged

    monkeypatch.setattr(Purging, "purge", forged)
    with pytest.raises(BlobForgedError, match=r"chunk 3 .* again and again"):
        await Blobs(transport).put("order-1", CONTENT)


async def test_a_put_goes_on_where_one_was_cut_off(transport: NatsTransport) -> None:
    """Chunks of a put that died are no blob, and are used by the next one."""
    blob = b.blob_of(CONTENT)
    for number, chunk in list(enumerate(b.chunks(CONTENT)))[:5]:
        await _publish(transport, b.put_subject("order-1", blob.digest, number), chunk)
    with pytest.raises(BlobMissingError):
        await Blobs(transport).get("order-1", blob)

    await Blobs(transport).put("order-1", CONTENT)

    assert await Blobs(transport).get("order-1", blob) == CONTENT
    assert await _messages(transport) == 12


async def test_a_put_survives_a_killed_server(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """A server that dies in the middle of many puts and comes back has each of them whole."""
    store = Blobs(transport)
    contents = [bytes([number]) * 2_000_000 for number in range(6)]
    found: dict[int, b.Blob] = {}

    async def put(number: int) -> None:
        found[number] = await store.put("order-1", contents[number])

    async with trio.open_nursery() as nursery:
        for number in range(len(contents)):
            nursery.start_soon(put, number)
        while await _messages(transport) < 4:
            await trio.sleep(0.001)
        nats_server.kill()
        await trio.to_thread.run_sync(nats_server.restart)

    for number, blob in found.items():
        assert await store.get("order-1", blob) == contents[number]


async def test_what_was_put_long_ago_may_be_gone_and_is_put_again(
    transport: NatsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run never began, so it was swept; a start that names it now needs it."""
    store = Blobs(transport)
    blob = await store.put("order-1", CONTENT)
    await _ask(transport, "STREAM.PURGE.BLOBS", {})
    await store.put("order-1", CONTENT)
    assert await _messages(transport) == 0

    monkeypatch.setattr(blobs, "KNOWN_S", 0.0)
    await store.put("order-1", CONTENT)

    assert await store.get("order-1", blob) == CONTENT


class _Interrupted(Blobs):
    """Blobs of a stream that has no leader when it is asked first."""

    async def get(self, instance: str, blob: b.Blob) -> bytes:
        """Fail once."""
        if not self.lacking:
            self.lacking = 1
            raise UnavailableError("no leader")
        return await super().get(instance, blob)


async def test_a_parent_is_told_late_of_a_large_result_only_when_it_can_be_read(
    transport: NatsTransport, entropy: SystemEntropy
) -> None:
    """Its fold would be blocked by a reference to nothing, for a moment without a leader."""
    blob = await Blobs(transport).put("child", CONTENT)
    writer = StreamWriter(transport, entropy, name="MAIL")
    record = ArchiveRecord(
        id="child",
        workflow="w",
        definition="d",
        status="completed",
        started_at=1,
        finished_at=2,
        through=3,
        start_id="s",
        blob=blob,
    )
    parent = Parent(instance="parent", path="/w")
    start = Start(seq=9, at=9, workflow="w", body=b"", message_id="s", parent=parent)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        await Late({"MAIL": writer, "EVENTS": writer}, _Interrupted(transport)).take(
            record, [start]
        )
        nursery.cancel_scope.cancel()

    assert await Blobs(transport).get("parent", blob) == CONTENT


async def test_a_value_above_the_limit_is_refused(transport: NatsTransport) -> None:
    """The limit of a process holds before anything is sent."""
    with pytest.raises(OversizedError, match="above the limit of 1000000"):
        await Blobs(transport, bytes_max=1_000_000).put("order-1", CONTENT)
    assert await _messages(transport) == 0


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[1]",
        b'{"digest":"../../x","size":1}',
        b'{"digest":"%s","size":-1}' % (b"a" * 64),
        b'{"digest":"%s","size":99999999999}' % (b"a" * 64),
        b'{"digest":"%s","size":1,"content_type":"a\\nb"}' % (b"a" * 64),
        b'{"digest":"%s","size":1}' % (b"A" * 64),
    ],
)
def test_what_is_no_reference_is_refused(payload: bytes) -> None:
    """Nothing of a foreign reference reaches a subject before it was checked."""
    with pytest.raises(BadValueError):
        b.reference(payload)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\\b", "a\nb", "-r", "x" * 121])
def test_an_artifact_has_a_plain_name(name: str) -> None:
    """A name is one file name on every system: no directory, no option, no hidden file."""
    with pytest.raises(BadValueError):
        b.check_artifact_name(name)
