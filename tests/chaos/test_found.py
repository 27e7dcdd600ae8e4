"""What campaigns and their reading of the code have found: each a behaviour to keep."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.owning import passivation
from actors.owning.workflow import WorkflowActor
from actors.routing.requests import REASK_S
from actors.routing.router import Presence
from protocols.ports import Frame, Outgoing
from tests.chaos.campaign import FLOWS
from tests.support.daemon import Api, Running, asking, daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


class Plain:
    """A service with nothing but NATS: it counts what reaches it, repeats too."""

    def __init__(self, running: Api, *, answers: bool) -> None:
        self._transport = running.transport
        self._answers = answers
        self._replies: list[str] = []

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self._replies)

    async def come(self, operation: str = "shop.buy") -> None:
        """Begin to serve."""
        await self._transport.subscribe(f"movant.svc.{operation}", self._take, queue="q")

    def answer(self) -> None:
        """Answer what was asked so far, and from now on at once."""
        self._answers = True
        for each in self._replies:
            self._transport.publish(Outgoing(each, b"0"))

    def _take(self, frames: Sequence[Frame]) -> None:
        for each in frames:
            self._replies.append(each.reply)
            if self._answers:
                self._transport.publish(Outgoing(each.reply, b"0"))


async def parked(running: Running) -> WorkflowActor:
    """Start a step that may be sent once, and wait until it is parked."""
    await running("run.start", workflow="probe.once", id="a")
    live = running.daemon.parts.owner.live

    def absent() -> bool:
        states = list(live["a"].asks.values()) if "a" in live else []
        return any(each.route and each.route.presence is Presence.ABSENT for each in states)

    await until(absent)
    return live["a"]


async def test_a_parked_step_under_a_wake_is_sent_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service comes when the wake is armed already; the run leaves memory; the wake fires."""
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 1.5)
    async with daemon(nats_server.url) as running:
        shop = Plain(running, answers=False)
        actor = await parked(running)
        owner = running.daemon.parts.owner
        route = next(iter(actor.asks.values())).route
        assert route is not None

        owner.passivation.cover(actor)
        await until(lambda: actor.settled)
        await shop.come()
        await until(lambda: route.presence is Presence.PRESENT)
        owner._drop(actor)
        await until(lambda: "a" in owner.live and owner.live["a"].instance.folded > 1)
        await until(lambda: shop.calls)
        shop.answer()
        ended = await running.ended("a")

    assert ended["result"] == 0
    assert shop.calls == 1


async def test_a_parked_step_whose_wake_fires_in_memory_is_sent(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for the wake although its service had come, and is not forgotten then."""
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 1.0)
    monkeypatch.setattr(passivation, "IDLE_S", 60.0)
    async with daemon(nats_server.url) as running:
        shop = Plain(running, answers=True)
        actor = await parked(running)

        running.daemon.parts.owner.passivation.cover(actor)
        await until(lambda: actor.settled)
        await shop.come()
        ended = await running.ended("a")

    assert ended["result"] == 0
    assert shop.calls == 1


async def test_a_step_that_is_due_for_two_reasons_is_sent_once(nats_server: NatsServer) -> None:
    """It was parked, and a try to send it failed: presence and the next try find it both."""
    async with daemon(nats_server.url) as running:
        shop = Plain(running, answers=False)
        actor = await parked(running)
        state = next(iter(actor.asks.values()))
        requests = running.daemon.parts.requests

        await shop.come()
        await until(lambda: shop.calls)
        requests._send_later(actor, state, 0.05)
        await until(lambda: not requests._later)
        await running.transport.request(Outgoing("movant.api.status", b"{}"), 5.0)
        shop.answer()
        ended = await running.ended("a")

    assert ended["result"] == 0
    assert shop.calls == 1


async def test_a_step_that_a_dead_owner_sent_at_a_wake_is_sent_once(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wake says that it was parked, but the one who read it first may have sent it."""
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 1.0)
    monkeypatch.setattr(passivation, "IDLE_S", 60.0)
    async with asking(nats_server.url) as api:
        shop = Plain(api, answers=False)
        async with daemon(nats_server.url, name="first") as running:
            actor = await parked(running)
            running.daemon.parts.owner.passivation.cover(actor)
            await until(lambda: actor.settled)
            running.daemon.parts.owner._drop(actor)
            await shop.come()
            await until(lambda: shop.calls)
            running.crash()

        async with daemon(nats_server.url, name="second") as running:
            ended = await running.ended("a")

    assert ended["failure"]["kind"] == "timeout"
    assert shop.calls == 1


async def test_a_service_that_came_while_nobody_looked_is_asked(nats_server: NatsServer) -> None:
    """It was absent for the last step; that says nothing about the next one."""
    async with daemon(nats_server.url, workflows=[FLOWS]) as running:
        before = await running.run("chaos.nobody")

        await Plain(running, answers=True).come("nobody.do")
        after = await running.run("chaos.nobody")

    assert before["result"] == "no_responders"
    assert after["result"] == 0


async def test_a_reconnect_does_not_put_the_next_reask_off(nats_server: NatsServer) -> None:
    """Only silence makes the interval longer: after each reconnect it is the first one again."""
    async with daemon(nats_server.url) as running:
        shop = Plain(running, answers=False)
        await shop.come()
        await running("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        await until(lambda: shop.calls == 1)
        requests = running.daemon.parts.requests
        state = next(iter(running.daemon.parts.owner.live["a"].asks.values()))

        for _ in range(3):
            requests.reconnected()
        wait_s = state.reask_at - running.daemon.clock.monotonic()
        await until(lambda: shop.calls == 4)

    assert REASK_S - 5.0 < wait_s <= REASK_S
