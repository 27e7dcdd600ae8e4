"""The code keeps the clauses of the settling model that it once broke: traces, replayed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio

from actors.kernel.instance import Instance
from actors.owning import passivation
from actors.owning.activation import Activation
from actors.owning.outbox import Outbox
from actors.owning.passivation import Passivation, woken
from actors.owning.workflow import OpenAsk, WorkflowActor
from actors.store.stream_writer import Written
from protocols.archive import Wake
from protocols.definition import workflow
from protocols.effects import Ask
from protocols.mail import AnyMail, Start, Woken
from runtime.clock import SystemClock
from tests.support.daemon import daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop


class Wakes(Outbox):
    """Keeps the acknowledgements of wakes back."""

    def __init__(self) -> None:
        self.written: list[Written] = []

    def wake(self, actor: WorkflowActor, wake: Wake, due: int, written: Written) -> None:
        """Remember whom to tell."""
        del actor, wake, due
        self.written.append(written)


@workflow("probe.waits")
async def waits(ctx: Any, _value: object) -> None:
    """Ask somebody and wait."""
    await ctx.call("shop", "charge")


def test_a_wake_that_another_one_replaced_covers_nothing() -> None:
    """*Wake of any number*: a former owner's lower number fired before the acknowledgement."""
    nothing: Any = None
    instance = Instance("a", lambda _name, _hash: waits)
    effects = instance.fold(Start(seq=1, at=1, workflow="probe.waits", body=b"1", definition="d"))
    actor = WorkflowActor(nothing, instance, 0)
    actor.asks = {each.identity: OpenAsk(each) for each in effects if isinstance(each, Ask)}
    actor.wake_number = 1
    wakes = Wakes()
    hosts = Passivation(
        SystemClock(), {}, nothing, lambda _: 2, lambda _: True, places=nothing, live_max=1
    )
    hosts.outbox = wakes

    hosts.cover(actor)
    woken(actor, Woken(seq=2, at=2, number=1, epoch=1, since=1))
    wakes.written[0](0, None)

    assert actor.asks
    assert not actor.settled


@pytest.mark.server
async def test_a_wake_that_comes_during_an_activation_makes_due(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """*Wake in a tail*: it fires while a signal's activation loads what it needs."""
    monkeypatch.setattr(passivation, "PARKED_WAKE_S", 1.0)
    load = Activation.load
    shop = Shop()
    async with daemon(nats_server.url) as movant:
        owner = movant.daemon.parts.owner

        async def slowly(self: Activation, mails: Iterable[AnyMail], _: object) -> bool:
            read = list(mails)
            while owner.live["a"].needed <= read[-1].seq:
                await trio.sleep(0.01)
            monkeypatch.setattr(Activation, "load", load)
            return await load(self, read)

        await movant("run.start", workflow="probe.steps", input={"steps": 1}, id="a")
        await movant.view_when(
            "a", lambda view: "nobody serves it" in view["waiting"][0]["detail"]
        )
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        monkeypatch.setattr(Activation, "load", slowly)
        await movant("run.signal", id="a", name="go")
        await until(lambda: "a" in owner.live and Activation.load is load)
        await until(lambda: not owner.live["a"].activating)
        settled = owner.live["a"].settled
        async with offered(nats_server.url, shop.service):
            ended = await movant.ended("a")

    assert not settled
    assert ended["result"] == [0]
