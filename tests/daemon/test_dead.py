"""Dead letters: strays are found once, letters can be looked at, sent again and removed."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from actors.store import streams
from actors.store.dead_letters import DeadLetters
from actors.store.kv import Kv
from actors.store.strays import KEY, Strays
from actors.store.stream_writer import StreamWriter
from protocols import headers
from protocols.errors import BadValueError, NotFoundError
from runtime.api import operations
from runtime.bridge import NatsTransport, connect
from runtime.clock import SystemEntropy
from tests.support.daemon import Running, daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

STRAYS = ("movant.to.A", "movant.to.*.x", "movant.to.A.>", "movant.to.B")


async def test_strays_are_found_by_a_restarted_daemon_and_counted_once(
    nats_server: NatsServer,
) -> None:
    """What came while none ran is found; what was found before is not found again."""
    with Raw(nats_server.url) as raw:
        async with daemon(nats_server.url) as movant:
            raw.put(STRAYS[0], b"1")
            await until(lambda: raw.messages("DEAD") == 1)
            await until(lambda: raw.stored("KV_movant_checkpoints", _key()) is not None)
            first = await movant("dead.ls")
        for subject in STRAYS[1:]:
            raw.put(subject, b"2")
        async with daemon(nats_server.url) as movant:
            await until(lambda: raw.messages("DEAD") >= len(STRAYS))
            await trio.sleep(0.2)
            listed = await movant("dead.ls")

    assert [each["subject"] for each in first["letters"]] == [STRAYS[0]]
    assert [each["subject"] for each in listed["letters"]] == list(STRAYS)
    assert listed["reasons"] == {"stray": len(STRAYS)}
    assert "wildcard" in listed["letters"][1]["detail"]


async def test_a_stray_that_is_found_twice_has_one_id(nats_server: NatsServer) -> None:
    """A crash before the position was stored: the second letter is the same one."""
    async with _strays(nats_server) as (transport, first):
        with Raw(nats_server.url) as raw:
            raw.put(STRAYS[0], b"1")
            await until(lambda: raw.messages("DEAD") == 1)
            letter = raw.stored("DEAD", "movant.dead.stray")
            async with _more(transport, lambda: True) as second:
                await until(lambda: second.position > 0)
                kept = raw.messages("DEAD")

    assert letter is not None
    assert b"Movant-Id: MAIL-1\r\n" in letter["hdrs"]
    assert first.position == second.position == 1
    assert kept == 1


async def test_only_who_owns_them_reads_strays_and_the_next_one_goes_on(
    nats_server: NatsServer,
) -> None:
    """Ownership moves: nothing is lost between the two, nothing is read by both."""
    mine = {"first": True, "second": False}
    async with (
        _strays(nats_server, lambda: mine["first"]) as (transport, first),
        _more(transport, lambda: mine["second"]) as second,
    ):
        with Raw(nats_server.url) as raw:
            raw.put(STRAYS[0], b"1")
            await until(lambda: first.position == 1)
            await until(lambda: raw.stored("KV_movant_checkpoints", _key()) is not None)
            mine["first"] = False
            await trio.sleep(1.2)
            raw.put(STRAYS[1], b"2")
            await trio.sleep(0.2)
            between = raw.messages("DEAD")
            mine["second"] = True
            await until(lambda: second.position == 2)
            kept = raw.messages("DEAD")

    assert between == 1
    assert kept == 2
    assert first.position == 1


async def test_a_letter_is_shown_with_all_its_bytes(nats_server: NatsServer) -> None:
    """Also those that are no text; a letter that is not there is told as that."""
    payload = bytes(range(256))
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.signal.go", payload, {"X-Color": "red"})
            await until(lambda: raw.messages("DEAD") == 1)
        shown = await movant("dead.show", seq=1)
        with pytest.raises(NotFoundError):
            await movant("dead.show", seq=2)

    assert base64.b64decode(shown["payload"]) == payload
    assert b"X-Color: red" in base64.b64decode(shown["headers"])
    assert (shown["reason"], shown["size"], shown["source_seq"]) == ("value", 256, _first(shown))


async def test_letters_are_sent_again_when_they_may_be(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that was too new is folded after the upgrade; it is sent once, as itself."""
    newer = {"Movant-Schema": "2", "Movant-Id": "payment-7"}
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.signal.go", b'"paid"', newer)
            raw.put("movant.to.a.signal.went", b'"paid"', {"Movant-Schema": "2"})
            raw.put("movant.to.a.control.stop", b"1")
            raw.put("movant.to.a.reply.s.1.token", b"1")
            raw.put("movant.to.Z", b"1")
            await until(lambda: raw.messages("DEAD") == 5)
            before = await movant("dead.ls")
            monkeypatch.setattr(headers, "SCHEMA_VERSION", 2)  # the upgrade
            told = [
                result
                for reason in before["reasons"]
                for result in (await movant("dead.replay", reason=reason))["letters"]
            ]
            ended = await movant.ended("a")
            left = await movant("dead.ls")
            for wrong in ({}, {"sequence": 1}, {"seq": 1, "reason": "value"}):
                with pytest.raises(BadValueError, match="`seq`, `reason` and `all`"):
                    await movant("dead.replay", **wrong)

    sent = [each for each in told if not each.get("error")]
    assert [each["subject"] for each in sent] == ["movant.to.a.signal.go"]
    errors = [each["error"]["message"] for each in told if each not in sent]
    assert ["would count twice" in each for each in errors].count(True) == 1
    assert ["is not sent again" in each for each in errors].count(True) == 3
    assert ended["status"] == "completed"
    assert len(left["letters"]) == 4


async def test_a_letter_that_is_still_wrong_is_one_again(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost by trying; the next page does not send it once more, for ever."""
    monkeypatch.setattr(operations, "REPLAY_MAX", 1)
    sent, page = [], {"next": 0, "through": 0}
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for name in ("a", "b"):
                raw.put(f"movant.to.{name}.start.probe.echo", b"{")
            await until(lambda: raw.messages("DEAD") == 2)
            for back in (3, 4):
                page = await movant(
                    "dead.replay", all=True, after=page["next"], through=page["through"]
                )
                sent += page["letters"]
                await until(lambda seq=back: raw.stored("DEAD", "movant.dead.value")["seq"] == seq)  # type: ignore[index,misc]
        listed = await movant("dead.ls")

    subject = "movant.to.%s.start.probe.echo"
    assert sent == [
        {"seq": 1, "subject": subject % "a", "error": None},
        {"seq": 2, "subject": subject % "b", "error": None},
    ]
    assert not page["next"]
    assert [each["seq"] for each in listed["letters"]] == [3, 4]


async def test_letters_are_removed_by_number_reason_or_all(nats_server: NatsServer) -> None:
    """And nothing else is."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for subject in (*STRAYS, "movant.to.a.noise.x", "movant.to.$x.signal.go"):
                raw.put(subject, b"1")
            await until(lambda: raw.messages("DEAD") == 6)
        first = (await movant("dead.ls", reason="stray"))["letters"][0]
        one = await _purge(movant, seq=first["seq"])
        strays = await _purge(movant, reason="stray")
        with pytest.raises(BadValueError, match="`seq`, `reason` and `all`"):
            await movant("dead.purge", sequence=1)
        rest = await _purge(movant, all=True)

    assert one[0] == 1
    assert sum(one[1].values()) == 5
    assert strays[1] == {"id": 1, "kind": 1}
    assert rest == (2, {})


async def test_pages_of_letters_follow_each_other(nats_server: NatsServer) -> None:
    """Each letter is on one page."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for number in range(7):
                raw.put(f"movant.to.a.noise.x{number}", b"1")
            await until(lambda: raw.messages("DEAD") == 7)
        found, after, pages = [], 0, 0
        while pages == 0 or after:
            page = await movant("dead.ls", limit=3, after=after)
            found += [each["seq"] for each in page["letters"]]
            after = page["next"]
            pages += 1

    assert found == list(range(1, 8))
    assert pages == 3


async def _purge(movant: Running, **which: Any) -> tuple[int, dict[str, int]]:
    told = await movant("dead.purge", **which)
    return told["purged"], (await movant("dead.ls"))["reasons"]


def _key() -> str:
    return f"$KV.movant_checkpoints.{KEY}"


def _first(shown: Any) -> int:
    """Return the first place in MAIL behind the markers of the daemon's 64 partitions."""
    assert shown["subject"].endswith(".a.signal.go")
    return 65


@asynccontextmanager
async def _strays(
    server: NatsServer, is_mine: Any = lambda: True
) -> AsyncIterator[tuple[NatsTransport, Strays]]:
    async with connect(server.url, name="test") as transport:
        await streams.ensure(transport, streams.wanted(partitions=64, replicas=1))
        async with _more(transport, is_mine) as found:
            yield transport, found


@asynccontextmanager
async def _more(transport: NatsTransport, is_mine: Any) -> AsyncIterator[Strays]:
    entropy = SystemEntropy()
    writer = StreamWriter(transport, entropy, name="DEAD")
    kv = Kv(transport, "movant_checkpoints")
    found = Strays(transport, entropy, kv, DeadLetters(writer), is_mine)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        await nursery.start(found.run)
        yield found
        nursery.cancel_scope.cancel()
