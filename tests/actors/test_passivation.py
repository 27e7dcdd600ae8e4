"""Instances that wait are looked at when there is something to do about them, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from actors.kernel.instance import Instance
from actors.owning.guards import FAR_S, GUARD_S
from actors.owning.passivation import COVER_AFTER_S, EVERY_S, Passivation
from actors.owning.workflow import OpenAsk, WorkflowActor
from protocols.archive import Wake
from protocols.definition import workflow
from protocols.effects import AnyEffect, Ask
from protocols.mail import Reply, Start
from protocols.subjects import step_token
from runtime.clock import SystemClock

NOW = 1_000_000_000


class Clock(SystemClock):
    """The time of the test, by which messages are as old as they say."""

    def monotonic(self) -> float:
        """Return seconds."""
        return trio.current_time()

    def now_ns(self) -> int:
        """Return the time of the messages."""
        return NOW


class Looked(WorkflowActor):
    """An actor that counts how often it was looked at thoroughly."""

    looks = 0

    def close_asks(self) -> None:
        """Count, and do it."""
        self.looks += 1
        super().close_asks()


class World:
    """One instance in memory, and what was written about it: what, and after how long."""

    def __init__(self, code: Any) -> None:
        nothing: Any = None
        self.clock = Clock()
        self.began = self.clock.monotonic()
        self.written: dict[str, float] = {}
        self.actor = Looked(nothing, Instance("a", lambda _name, _hash: code), 0)
        self.actor.holding = False
        self.live: dict[str, WorkflowActor] = {"a": self.actor}
        places: Any = self
        self.passivation = Passivation(
            self.clock,
            self.live,
            self.drop,
            lambda _: 1,
            lambda _: True,
            places=places,
            live_max=10,
        )
        outbox: Any = self
        self.passivation.outbox = outbox
        self.passivation.requests = outbox
        self.parking = self
        self.fold(Start(seq=1, at=NOW, workflow=code.name, body=b"", definition="d"))

    def fold(self, mail: Any) -> None:
        """Fold a message, and take note of what it asks for as an owner does."""
        effects = self.actor.instance.fold(mail)
        self.actor.touched = self.clock.monotonic()
        self.actor.decided(mail)
        for each in effects:
            if type(each) is Ask:
                self.actor.asks[each.identity] = OpenAsk(each)
            elif not self.passivation.guards.keep(self.actor, each):
                assert each.identity[0] == "emit"

    def drop(self, actor: WorkflowActor) -> None:
        """Take an instance out of memory."""
        del self.live[actor.id]
        self.note("dropped")

    def note(self, what: str) -> None:
        """Take note of the time at which something was done."""
        self.written[what] = self.clock.monotonic() - self.began

    # What passivation asks of the rest of a daemon.

    def perform(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        """Store a timer, at once."""
        self.note(effect.identity[0])
        del actor.unsettled[effect.identity]

    def wake(
        self, actor: WorkflowActor, wake: Wake, due: int, written: Callable[..., None]
    ) -> None:
        """Store a wake, at once."""
        del actor, wake, due
        self.note("wake")
        written(9, None)

    def remember(self, actor: WorkflowActor) -> None:
        """Remember nothing."""

    keep = remember


@workflow("probe.waits")
async def waits(ctx: Any) -> None:
    """Ask somebody within a day, and then somebody else."""
    with ctx.timeout(FAR_S * 2):
        await ctx.call("shop", "charge")
    await ctx.call("shop", "ship")


async def test_who_waits_is_looked_at_when_something_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its guard is armed and its wake is written in time, after a handful of looks in a minute."""
    del autojump_clock
    world = World(waits)

    with trio.move_on_after(COVER_AFTER_S + 5):
        await world.passivation.run()

    assert GUARD_S <= world.written["arm"] <= GUARD_S + 2 * EVERY_S
    assert COVER_AFTER_S <= world.written["wake"] <= COVER_AFTER_S + 2 * EVERY_S
    assert world.written["dropped"] <= world.written["wake"] + 2 * EVERY_S
    assert world.actor.looks < 10


async def test_who_folds_something_is_looked_at_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It leaves memory when it was idle for long since then."""
    del autojump_clock
    world = World(waits)

    with trio.move_on_after(COVER_AFTER_S + 25):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.passivation.run)
            await trio.sleep(20)
            world.fold(Reply(seq=2, at=NOW, step=step_token("/shop.charge"), attempt=1, body=b"1"))

    assert 20 + COVER_AFTER_S <= world.written["wake"] <= 20 + COVER_AFTER_S + 2 * EVERY_S
    assert world.actor.looks < 15
