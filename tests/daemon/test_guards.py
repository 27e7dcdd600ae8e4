"""Deadlines: their timers are stored only when the block that they bound lasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio

from actors.kernel.instance import Instance
from actors.owning import passivation
from actors.owning.guards import FAR_S, GUARD_S, Guards
from actors.owning.workflow import WorkflowActor
from protocols.definition import workflow
from protocols.effects import AnyEffect, Arm
from protocols.mail import Reply, Start
from protocols.subjects import step_token
from runtime.clock import SystemClock
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

NOW = 1_000_000_000


class Outbox:
    """Remembers what it was to write."""

    def __init__(self) -> None:
        self.written: list[AnyEffect] = []

    def perform(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        """Remember an effect, and that it is under way."""
        assert actor.unsettled[effect.identity] is effect
        self.written.append(effect)


class Clock(SystemClock):
    """A clock that stands still."""

    def monotonic(self) -> float:
        """Return seconds."""
        return 5.0

    def now_ns(self) -> int:
        """Return the time of the messages."""
        return NOW


@workflow("probe.bounded")
async def bounded(ctx: Any, seconds: float) -> None:
    """Ask somebody within so many seconds, and sleep as long."""
    with ctx.timeout(seconds):
        await ctx.call("shop", "charge")
    await ctx.sleep(seconds)


def actor_of(seconds: float) -> tuple[WorkflowActor, Guards, Any]:
    """Return an actor that has asked, with what is kept and what is written of its timers."""
    nothing: Any = None
    instance = Instance("a", lambda _name, _hash: bounded)
    actor = WorkflowActor(nothing, instance, 0)
    outbox: Any = Outbox()
    kept = Guards(Clock())
    body = str(seconds).encode()
    effects = instance.fold(
        Start(seq=7, at=NOW, workflow="probe.bounded", body=body, definition="d")
    )
    take(actor, kept, effects)
    return actor, kept, outbox


def take(actor: WorkflowActor, kept: Guards, effects: Iterable[AnyEffect]) -> list[AnyEffect]:
    """Do with the timers what an owner does; return those that are to be armed at once."""
    arms = [each for each in effects if type(each) is Arm]
    return [each for each in arms if not kept.keep(actor, each)]


def test_a_deadline_that_is_kept_in_time_is_never_stored() -> None:
    """Until then its cause keeps the instance unsettled; a sleep is no guard."""
    actor, kept, outbox = actor_of(FAR_S)
    lowest = actor.lowest_cause()
    step = step_token("/shop.charge")
    reply = Reply(seq=9, at=NOW, step=step, attempt=1, body=b"1", content_type="")
    slept = take(actor, kept, actor.instance.fold(reply))

    actor.decided(reply)
    kept.arm(actor, outbox, before=5.0 + GUARD_S)

    assert lowest == 7
    assert outbox.written == []
    assert actor.settled
    assert len(slept) == 1


def test_a_deadline_that_lasts_is_armed() -> None:
    """Not before it was kept for a while; then it is like every timer."""
    actor, kept, outbox = actor_of(FAR_S)

    kept.arm(actor, outbox, before=5.0 - 0.1)
    early = list(outbox.written)
    kept.arm(actor, outbox, before=5.0)

    assert early == []
    assert [each.identity for each in outbox.written] == list(actor.unsettled)
    assert not actor.guards
    assert actor.lowest_cause() == 7


def test_a_deadline_that_is_near_is_armed_at_once() -> None:
    """A firing must not be late because somebody hoped that it would not be needed."""
    actor, _, _ = actor_of(FAR_S - 0.1)

    assert not actor.guards


@pytest.mark.server
async def test_a_deadline_is_stored_before_its_instance_leaves_memory(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the daemon that kept it was killed: the next one is asked for it again."""
    async with daemon(nats_server.url, name="first") as running:
        await running("run.start", workflow="probe.timeout", input=3_600, id="a")
        await running.view_when("a", lambda view: view["waiting"])
        await trio.sleep(1.2)  # a checkpoint lists it
        kept = set(running.daemon.parts.owner.live["a"].guards)
        running.crash()
    with Raw(nats_server.url) as raw:
        before = raw.subjects("TIMERS", "movant.timer.>")
    monkeypatch.setattr(passivation, "IDLE_S", 0.3)
    async with daemon(nats_server.url, name="second") as running:
        owner = running.daemon.parts.owner
        await until(lambda: owner.statistics().passivations)
        with Raw(nats_server.url) as raw:
            after = raw.subjects("TIMERS", "movant.timer.>")
        live = list(owner.live)

    assert len(kept) == 1
    assert before == {}
    assert [name.split(".")[3] for name in after] == ["a"]
    assert live == []
