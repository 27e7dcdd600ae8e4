"""Streams, leases, timers and partitions against the real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from actors.owning.outbox import schedule
from actors.store import streams
from actors.store.direct_reader import DirectReader
from actors.store.stream_writer import StreamWriter
from protocols.errors import ConfigurationError
from protocols.subjects import partition_of
from runtime.bridge import NatsTransport, connect
from runtime.clock import SystemClock, SystemEntropy
from tests.bridge.support import QUICK
from tests.support.daemon import until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

WANTED = {each["name"]: each for each in streams.wanted(partitions=64, replicas=1)}


async def test_streams_are_made_once_and_known_again(transport: NatsTransport) -> None:
    """What was created is accepted by the next start."""
    await streams.ensure(transport, list(WANTED.values()))


DIFFERENT: list[tuple[str, dict[str, Any], str]] = [
    ("MAIL", {"allow_rollup_hdrs": True}, "allow_rollup_hdrs"),
    ("MAIL", {"allow_msg_ttl": True}, "allow_msg_ttl"),
    ("MAIL", {"discard": "old"}, "discard"),
    ("MAIL", {"deny_delete": False}, "deny_delete"),
    ("MAIL", {"duplicate_window": 120 * 10**9}, "duplicate_window"),
    ("MAIL", {"sources": None, "duplicate_window": 10**8}, "sources"),
    ("MAIL", {"subject_transform": None}, "subject_transform"),
    ("MAIL", {"allow_atomic": False}, "allow_atomic"),
    ("MAIL", {"allow_direct": False}, "allow_direct"),
    ("MAIL", {"max_age": 3600 * 10**9}, "max_age"),
    ("MAIL", {"max_msgs": 10}, "max_msgs"),
    ("MAIL", {"storage": "memory"}, "storage"),
    ("TIMERS", {"allow_msg_schedules": False}, "allow_msg_schedules"),
    ("ARCHIVE", {"max_bytes": 10_000}, "max_bytes"),
    ("BLOBS", {"duplicate_window": 120 * 10**9}, "duplicate_window"),
    ("BLOBS", {"discard_new_per_subject": False}, "discard_new_per_subject"),
]


@pytest.mark.parametrize(
    ("name", "change", "says"), DIFFERENT, ids=[f"{d[0]}-{d[2]}" for d in DIFFERENT]
)
async def test_a_stream_with_other_settings_is_refused(
    nats_server: NatsServer, name: str, change: dict[str, Any], says: str
) -> None:
    """Each setting that is a safety rule: refused with both values, never overwritten."""
    wanted = dict(WANTED[name], **change)
    wanted = {key: value for key, value in wanted.items() if value is not None}
    with Raw(nats_server.url) as raw:
        if name == "MAIL":
            raw.ask("$JS.API.STREAM.CREATE.TIMERS", json.dumps(WANTED["TIMERS"]).encode())
        created = raw.ask(f"$JS.API.STREAM.CREATE.{name}", json.dumps(wanted).encode())
        assert "error" not in created, created
        async with connect(nats_server.url, name="test", limits=QUICK) as transport:
            with pytest.raises(ConfigurationError) as refused:
                await streams.ensure(transport, list(WANTED.values()))
        after = raw.ask(f"$JS.API.STREAM.INFO.{name}")

    assert f"{says} is" in refused.value.message
    assert after["config"] == created["config"]


async def test_a_stream_that_has_our_subjects_is_refused(nats_server: NatsServer) -> None:
    """Somebody captures movant's subjects already: the start says what to look at."""
    other = {"name": "OTHER", "subjects": ["movant.to.x.>"]}
    with Raw(nats_server.url) as raw:
        raw.ask("$JS.API.STREAM.CREATE.OTHER", json.dumps(other).encode())
    async with connect(nats_server.url, name="test", limits=QUICK) as transport:
        with pytest.raises(ConfigurationError) as refused:
            await streams.ensure(transport, list(WANTED.values()))

    assert "MAIL" in refused.value.message
    assert "stream OTHER" in refused.value.message
    assert "account of its own" in refused.value.hint


# Timers


async def test_2_000_timers_fire_and_none_is_early_or_lost(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """The server is killed twice while they fire: all arrive in MAIL, none before its time."""
    count, clock = 2_000, SystemClock()
    due: dict[str, int] = {}
    writer = StreamWriter(transport, SystemEntropy(), name="TIMERS")
    async with trio.open_nursery() as nursery, DirectReader(transport, "MAIL") as reader:
        await nursery.start(writer.run)
        start = clock.now_ns() + 10**9
        for number in range(count):
            instance = f"t{number}"
            due[instance] = start + number * 10**6
            partition = partition_of(instance, 64)
            writer.write(
                schedule(partition, instance, "sleep", due[instance], b"{}"), lambda _, __: None
            )
        await writer.drained()
        with Raw(nats_server.url) as raw:
            await until(lambda: raw.messages("MAIL") > 200)
        nats_server.kill()
        nats_server.start()
        with Raw(nats_server.url) as raw:
            await until(lambda: raw.messages("MAIL") > 1_000)
        nats_server.kill()
        nats_server.start()
        with Raw(nats_server.url) as raw:
            await until(lambda: len(raw.subjects("MAIL", "movant.mail.*.*.timer.>")) == count)
        fired = await reader.subject("movant.mail.*.*.timer.sleep")
        nursery.cancel_scope.cancel()

    assert {each.subject.split(".")[3] for each in fired} == due.keys()
    assert [each for each in fired if each.at < due[each.subject.split(".")[3]]] == []
    assert len(fired) <= count + 20  # a firing may come twice around a kill: the fold drops it


async def test_the_partition_of_an_id_is_the_servers(
    transport: NatsTransport, nats_server: NatsServer
) -> None:
    """Computed here as the server computes it, for ids of every length."""
    ids = [f"{'a' * (n % 128)}{n}"[-128:] for n in range(300)]
    with Raw(nats_server.url) as raw:
        for each in ids:
            raw.put(f"movant.to.{each}.signal.go", b"1")
        await until(lambda: raw.messages("MAIL") == len(ids))
    async with DirectReader(transport, "MAIL") as reader:
        stored = await reader.subject("movant.mail.>")

    assert {each.subject.split(".")[3]: int(each.subject.split(".")[2]) for each in stored} == {
        each: partition_of(each, 64) for each in ids
    }
