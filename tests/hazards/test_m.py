"""The smaller hazards, M1 to M11, each by its number."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from protocols import errors
from tests.support.daemon import daemon, plainly, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_m1_a_clock_that_steps_back_moves_no_workflow_back(
    nats_server: NatsServer,
) -> None:
    """A mail that is older than the one before it: now stays, and the next timer is right."""
    from actors.kernel.instance import Instance  # noqa: PLC0415 - only here
    from protocols.mail import Signal, Start  # noqa: PLC0415

    async with daemon(nats_server.url) as movant:
        digest, _ = await movant.daemon.parts.definitions.latest("probe.signals")
        instance = Instance("a", movant.daemon.parts.definitions.workflow)
        body = b"2"
        instance.fold(
            Start(seq=1, at=10**18, workflow="probe.signals", body=body, definition=digest)
        )
        instance.fold(Signal(seq=2, at=10**18 - 10**9, name="go", body=b"1"))

    assert instance.now == 10**18


async def test_m2_values_outside_the_domain_are_refused_at_every_edge(
    nats_server: NatsServer,
) -> None:
    """NaN, 65-bit integers, doubled keys, depth: refused by the API, dead letters when raw."""
    bad = [
        (b'{"a":1,"a":2}', None),
        (b"99999999999999999999", None),
        (b"[" * 70 + b"]" * 70, None),
        (msgspec.msgpack.encode(float("nan")), {"Content-Type": "application/msgpack"}),
        (b"\x82\xa1a\x01\xa1a\x02", {"Content-Type": "application/msgpack"}),
        (b'"\xff"', None),
    ]
    async with daemon(nats_server.url) as movant:
        for body, lines in bad:
            if lines is None:
                with pytest.raises(errors.BadValueError):
                    await movant.raw("run.signal", b'{"id":"a","name":"go","data":%b}' % body)
        await plainly(nats_server.url, [("movant.to.a.signal.go", *each) for each in bad])
        with Raw(nats_server.url) as raw:
            await until(lambda: raw.messages("DEAD") == len(bad))
            kept = raw.subjects("DEAD", ">")

    assert kept == {"movant.dead.value": len(bad)}


async def test_m5_long_paths_work_end_to_end(nats_server: NatsServer) -> None:
    """The subject holds a hash, the request's header the path, the key stays readable."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.run("probe.deep", id="a")
        history = await movant("run.history", id="a")

    assert ended["result"] == 0
    assert len(shop.keys[0]) > 100
    assert shop.keys[0].endswith("/a-step-with-a-long-name")
    assert history["entries"][-1]["path"].startswith("/~")


async def test_m8_ids_with_a_leading_underscore_are_reserved(nats_server: NatsServer) -> None:
    """Nobody's mailbox is _owner."""
    async with daemon(nats_server.url) as movant:
        with pytest.raises(errors.InvalidIdError):
            await movant("run.start", workflow="probe.echo", id="_owner")
        with pytest.raises(errors.InvalidIdError):
            await movant("run.signal", id="_owner", name="go")


async def test_m8_a_signal_to_the_reserved_id_is_no_epoch_marker(
    nats_server: NatsServer,
) -> None:
    """Whoever may send signals could otherwise fence every daemon, for ever."""
    forged = b'{"epoch":1000000,"daemon":"nobody"}'
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for kind in ("signal.go", "start.probe.echo", "reply.s.1.t"):
                raw.put(f"movant.to._owner.{kind}", forged)
            await until(lambda: raw.messages("DEAD") == 3)
            kept = raw.subjects("DEAD", ">")
        ended = await movant.run("probe.echo", 1)

    assert kept == {"movant.dead.id": 3}
    assert ended["status"] == "completed"
    assert movant.error is None


async def test_m9_a_question_about_a_passivated_instance_dispatches_nothing(
    nats_server: NatsServer,
) -> None:
    """The query folds the open step again, and nobody is asked again."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        owner, requests = movant.daemon.parts.owner, movant.daemon.parts.requests
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        sent = requests.sent + requests.reasked
        views = [await movant("run.show", id="a") for _ in range(5)]
        unsent = requests.sent + requests.reasked
        calls = len(shop.calls)
        shop.hold.set()
        ended = await movant.ended("a")

    assert views[0]["waiting"][0]["path"] == "/s"
    assert (unsent, calls) == (sent, 1)
    assert ended["status"] == "completed"


@asynccontextmanager
async def flooded(nats_binary: str) -> AsyncIterator[NatsServer]:
    """Start a server that takes a flood faster than the daemon: it does not fsync each."""
    with NatsServer(nats_binary, sync_interval="2m") as server:
        yield server


async def test_m11_a_flood_to_one_mailbox_delays_nobody_else(nats_binary: str) -> None:
    """20,000 signals to one id: what waits in memory stays bounded, another run ends soon."""
    flood = 20_000
    shop = Shop()
    async with (
        flooded(nats_binary) as server,
        daemon(server.url, services=[shop.service]) as movant,
    ):
        owner = movant.daemon.parts.owner
        most = 0
        await movant("run.start", workflow="probe.signals", input=flood, id="flooded")
        with Raw(server.url) as raw:
            line = b"PUB movant.to.flooded.signal.go 1\r\n1\r\n"
            await trio.to_thread.run_sync(raw.send, line * flood)
            began = trio.current_time()
            ended = await movant.run("probe.steps", {"steps": 3}, id="other")
            took_s = trio.current_time() - began
            while (await movant("run.show", id="flooded"))["status"] != "completed":
                most = max(most, owner.statistics().backlog)
                await trio.sleep(0.01)
            whole_s = trio.current_time() - began

    assert ended["result"] == [0, 1, 2]
    assert took_s < whole_s / 2  # behind the flood it would take nearly all of it
    assert most <= 20_000
