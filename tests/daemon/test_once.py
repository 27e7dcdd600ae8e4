"""Steps that may be sent once: sent when nobody can have sent them, and never a second time."""

from __future__ import annotations

import pytest

from actors.owning.outbox import first_of
from tests.support.daemon import Running, daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def dormant(running: Running) -> None:
    """Start a run that waits for its signal, and see it leave memory."""
    await running("run.start", workflow="probe.once_later", id="a")
    await running.waits("a", "signal")
    await until(lambda: not running.daemon.parts.owner.live)


async def test_a_run_that_was_out_of_memory_asks_once(nats_server: NatsServer) -> None:
    """The signal that wakes it asks for the step: nobody can have sent it before."""
    shop = Shop()
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url) as running,
    ):
        await dormant(running)
        await running("run.signal", id="a", name="go")
        ended = await running.ended("a")

    assert ended["status"] == "completed", ended
    assert len(shop.calls) == 1


async def test_what_a_former_owner_may_have_sent_is_not_sent_by_the_next(
    nats_server: NatsServer,
) -> None:
    """What was asked for before the marker, and is folded after it was read, may have been."""
    shop = Shop()
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, name="first") as running:
            await dormant(running)
            running.crash()
        with Raw(nats_server.url) as raw:  # stored while nobody reads: a dead owner may have
            raw.put("movant.to.a.signal.go", b"null")
        async with daemon(nats_server.url, name="second") as running:
            ended = await running.ended("a")

    assert ended["failure"]["kind"] == "timeout"
    assert shop.calls == []


async def test_a_start_that_a_former_owner_may_have_read_sends_nothing_twice(
    nats_server: NatsServer,
) -> None:
    """It comes in one batch with the marker, and is folded after that: still it is older."""
    shop = Shop()
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, name="first") as running:
            view = await running("workflow.show", name="probe.once")
            running.crash()
        with Raw(nats_server.url) as raw:
            lines = {"Movant-Definition": view["definition"]}
            proof = first_of("a", 64).decode().split("\r\n")
            lines |= dict(line.split(": ") for line in proof if line)
            raw.put("movant.to.a.start.probe.once", b"null", lines)
        async with daemon(nats_server.url, name="second") as running:
            ended = await running.ended("a")

    assert ended["failure"]["kind"] == "timeout"
    assert shop.calls == []


async def test_what_a_crashed_fold_had_asked_for_is_done_with_the_next_message(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that raised is tried again, and what it asks for is due then."""
    shop = Shop()
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url) as running,
    ):
        owner = running.daemon.parts.owner
        await running("run.start", workflow="probe.steps", input={"steps": 1}, id="warm")
        await running.ended("warm")
        monkeypatch.setattr(owner.guard, "fold", _no_memory)
        await running("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        await until(lambda: "a" in owner.crashes)
        monkeypatch.undo()
        await running("run.signal", id="a", name="whatever")
        ended = await running.ended("a")

    assert ended["result"] == [0]


def _no_memory(*_: object) -> None:
    raise MemoryError
