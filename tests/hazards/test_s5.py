"""S5: batches that strangers leave open stop no writer, and nobody commits another's batch."""

from __future__ import annotations

import re

import pytest
import trio
import trio.lowlevel

from actors.store.stream_writer import ALARM_REFUSALS
from protocols.ports import Outgoing
from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

OPEN_MAX = 60
"""Above the 50 batches that the server keeps open for one stream."""


def _leave_open(raw: Raw) -> None:
    for number in range(OPEN_MAX):
        raw.put(
            f"movant.to.x.reply.s.{number}.t",
            b"1",
            {"Nats-Batch-Id": f"open{number}", "Nats-Batch-Sequence": "1"},
        )
    raw.sync()


async def test_a_writer_goes_on_singly_and_says_so(nats_server: NatsServer) -> None:
    """Runs end while batches are refused; the problem is visible, and none is lost."""
    async with daemon(nats_server.url) as movant:
        writer = movant.daemon.parts.writers["MAIL"]
        with Raw(nats_server.url) as raw:
            _leave_open(raw)
            stored: list[int] = []
            errors: list[object] = []

            def written(seq: int, error: object) -> None:
                (stored if error is None else errors).append(seq)

            with trio.fail_after(8):
                for number in range(ALARM_REFUSALS * 10):
                    writer.write(Outgoing(f"movant.to.a.signal.s{number}", b"1"), written)
                    if number % 10 == 9:
                        await writer.drained()
            ended = await movant.run("probe.echo", 1)
            status = await movant("status")
            kept = raw.subjects("MAIL", "movant.mail.*.a.signal.>")

    assert writer.statistics().singly >= 30
    assert writer.alarm
    writer._broken.append(float("-inf"))  # as if it were long ago
    writer._broken.rotate(1)
    assert not writer.alarm
    assert (len(stored), errors) == (30, [])
    assert set(kept.values()) == {1}
    assert len(kept) == 30
    assert ended["status"] == "completed"
    assert [each for each in status["problems"] if "leaves batches open in MAIL" in each]
    assert status["state"] == "degraded"


async def test_nobody_commits_a_batch_without_its_id(nats_server: NatsServer) -> None:
    """A stranger with another id commits nothing; ours are 96 random bits, new for each batch."""
    async with daemon(nats_server.url) as movant:
        writer = movant.daemon.parts.writers["MAIL"]
        for number in range(30):
            writer.write(Outgoing(f"movant.to.b.signal.s{number}", b"1"), lambda *_: None)
            await trio.lowlevel.checkpoint()
        await writer.drained()
        with Raw(nats_server.url) as raw:
            begun = {"Nats-Batch-Id": "somebody's", "Nats-Batch-Sequence": "1"}
            raw.put("movant.to.a.signal.first", b"1", begun)
            raw.sync()
            forged = {
                "Nats-Batch-Id": "guessed",
                "Nats-Batch-Sequence": "2",
                "Nats-Batch-Commit": "1",
            }
            answer = raw.ask("movant.to.a.signal.forged", b"1", forged)
            kept = raw.subjects("MAIL", "movant.mail.*.a.>")
            lines = [
                raw.stored("MAIL", subject)
                for subject in raw.subjects("MAIL", "movant.mail.*.b.signal.>")
            ]

    found = [re.search(rb"Nats-Batch-Id: (\S+)", each["hdrs"]) for each in lines if each]
    ids = {each[1] for each in found if each}
    assert "error" in answer
    assert kept == {}
    assert ids
    assert all(re.fullmatch(rb"[0-9a-f]{24}", each) for each in ids)
