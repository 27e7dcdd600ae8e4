"""Who goes next among parked requests, and what is left when nobody waits any more."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from actors.owning.workflow import Host, OpenAsk, WorkflowActor
from actors.routing.flow import Flow
from actors.routing.parking import Parking, Ticket
from actors.routing.router import Presence, Route
from protocols.definition import workflow
from protocols.effects import Ask
from protocols.flow import FlowSettings, Hold
from protocols.mail import Start
from runtime.clock import SystemClock


@workflow("pay")
async def pay(ctx: Context, steps: int) -> None:
    """Ask so many times at once."""
    await ctx.gather(*(ctx.call("shop", "buy", name=f"s{number}") for number in range(steps)))


class Lot:
    """A parking with real instances; what is sent or brought back is noted."""

    def __init__(self, settings: FlowSettings | None = None) -> None:
        self.sent: list[str] = []
        self.roused: list[tuple[str, set[str]]] = []
        self.parking = Parking(SystemClock(), send=self._send, rouse=self._rouse)
        self.flow = Flow("shop", settings or FlowSettings(), self.parking.stir)
        self.actors: dict[str, WorkflowActor] = {}

    def _send(self, actor: WorkflowActor, state: OpenAsk) -> None:
        self.sent.append(f"{actor.id}/{state.ask.step}")
        state.parked = False

    def _rouse(self, instance: str, partition: int, cause: int, steps: set[str]) -> None:
        del partition, cause
        self.roused.append((instance, steps))

    def park(self, seq: int, *, priority: int = 0, lot: Any = None, steps: int = 1) -> str:
        """Park the requests of a new instance that was asked for by message ``seq``."""
        name = f"i{len(self.actors)}"
        instance = Instance(name, lambda _name, _hash: pay)
        body = b"%d" % steps
        start = Start(seq=seq, at=1, workflow="pay", body=body, definition="d", priority=priority)
        effects = instance.fold(start)
        actor = self.actors[name] = WorkflowActor(cast("Host", None), instance, 3)
        for each in effects:
            if isinstance(each, Ask):
                state = actor.asks[each.identity] = OpenAsk(each)
                self.parking.park(actor, state, self.flow, lot)
        return name

    def release(self) -> None:
        """Let everybody go who may, now."""
        while self.parking.queued(self.flow) and not self.parking.release(self.flow, 1.0):
            """Again: it lets only some go at a time."""


def test_the_emergency_goes_first_then_the_oldest() -> None:
    """Age is the message that asked, so it is the same after a restart, in any order."""
    lot = Lot()
    for seq, priority in ((5, 0), (9, 9), (2, 0), (7, -9), (3, 9)):
        lot.park(seq, priority=priority)

    lot.release()

    assert [each.partition("/")[0] for each in lot.sent] == ["i4", "i1", "i2", "i0", "i3"]
    assert lot.flow.parked == 0
    assert not lot.flow.guarded


def test_nobody_goes_while_the_flow_is_closed() -> None:
    """The first one is asked for its turn, and all wait."""
    lot = Lot()
    lot.park(1)
    lot.flow.say(Hold(kind="service", name="shop", paused=True), 0.0)

    lot.release()
    paused = list(lot.sent)
    lot.flow.say(None, 0.0)
    lot.release()

    assert paused == []
    assert len(lot.sent) == 1


def test_a_lot_that_opens_sends_its_people_to_the_queue() -> None:
    """Or lets them go at once, when they are few and nobody was away for long."""
    lot = Lot()
    lot.park(1, lot="run.a")
    lot.park(2, lot="run.a")

    lot.parking.open_lot("run.a")
    queued = lot.parking.queued(lot.flow)
    lot.release()
    lot.park(3, lot="all")
    lot.parking.open_lot("all", at_once=5)

    assert queued
    assert [each.partition("/")[0] for each in lot.sent] == ["i0", "i1", "i2"]


def test_who_leaves_memory_keeps_its_place_and_is_brought_back() -> None:
    """Its ticket stays; with it, which of its steps were never sent."""
    lot = Lot()
    away = lot.park(1, steps=2)
    lot.park(2)
    actor = lot.actors[away]
    lot.parking.remember(actor)
    for identity in list(actor.asks):
        actor.drop_ask(identity)
    parked = lot.flow.parked

    lot.release()

    assert parked == 3
    assert lot.roused == [(away, {"gather/0/s0"}), (away, {"gather/1/s1"})]
    assert lot.sent == []  # whoever was brought back gets time to come first


def test_a_subject_is_looked_for_while_somebody_away_waits_for_it() -> None:
    """Users of a route are counted also out of memory, and not for ever."""
    lot = Lot()
    route = Route("shop", "buy", "movant.svc.shop.buy", lot.flow)
    away = lot.park(1, lot=route)
    lot.parking.remember(lot.actors[away])
    users = route.users
    route.presence = Presence.PRESENT

    lot.parking.open_lot(route)
    lot.release()

    assert (users, route.users) == (1, 0)
    assert [name for name, _ in lot.roused] == [away]


def test_a_partition_that_goes_takes_its_tickets_along() -> None:
    """Somebody else looks after them now."""
    lot = Lot()
    away = lot.park(1)
    lot.parking.remember(lot.actors[away])

    lot.parking.forget(2)
    kept = lot.flow.parked
    lot.parking.forget(3)

    assert (kept, lot.flow.parked) == (1, 0)


def test_what_is_decided_meanwhile_leaves_no_ticket() -> None:
    """A cancelled run waits for nothing, whatever lot it was in."""
    lot = Lot()
    for place in (None, "all", Route("shop", "buy", "s", lot.flow)):
        name = lot.park(1, lot=place)
        for identity in list(lot.actors[name].asks):
            lot.actors[name].drop_ask(identity)

    lot.release()

    assert lot.flow.parked == 0
    assert lot.sent == []


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["park", "lot", "open", "away", "drop", "release", "forget", "pause"]),
        st.integers(0, 9),
        st.integers(-9, 9),
    ),
    max_size=60,
)


@given(MOVES)
def test_no_request_is_lost_or_sent_twice(  # noqa: C901 - a branch for each move
    moves: list[tuple[str, int, int]],
) -> None:
    """Whatever happens in any order: each is sent, brought back, dropped or still parked."""
    lot = Lot()
    gone: set[str] = set()
    tickets: set[Ticket | None] = set()
    for seq, (what, number, priority) in enumerate(moves, 1):
        names = sorted(set(lot.actors) - gone)
        name = names[number % len(names)] if names else ""
        if what == "park":
            lot.park(seq, priority=priority)
        elif what == "lot":
            lot.park(seq, priority=priority, lot=f"run.{number % 3}")
        elif what == "open":
            lot.parking.open_lot(f"run.{number % 3}", at_once=number)
        elif what == "release":
            lot.release()
        elif what == "pause":
            hold = Hold(kind="service", name="shop", paused=True) if number % 2 else None
            lot.flow.say(hold, 0.0)
        elif what == "forget":
            lot.parking.forget(number)
        elif name and what == "away":
            lot.parking.remember(lot.actors[name])
        if name and what in {"away", "drop"}:
            gone.add(name)
            for identity in list(lot.actors[name].asks):
                lot.actors[name].drop_ask(identity)
        tickets |= {ask.ticket for each in lot.actors.values() for ask in each.asks.values()}
        open_ones = (each for each in tickets if each is not None and each.open)
        stuck = {each for each in open_ones if lot.parking.stuck(each, 0.0)}
        assert set(lot.parking.all_stuck(0.0)) == stuck
    lot.flow.say(None, 0.0)
    for number in range(3):
        lot.parking.open_lot(f"run.{number}")
    while lot.parking.queued(lot.flow):
        lot.parking.release(lot.flow, 1e9)

    sent = [each.partition("/")[0] for each in lot.sent]
    roused = [name for name, _ in lot.roused]
    assert len({*sent, *roused}) == len(sent) + len(roused)
    assert set(lot.actors) - {*sent, *roused} <= gone
    assert lot.flow.parked == 0


@pytest.mark.parametrize("late", [False, True])
async def test_the_loop_looks_when_it_is_told(late: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Parked before or while it runs: sent without anybody looking at a clock."""
    lot = Lot()
    lot.flow.say(Hold(kind="service", name="shop", paused=True), 0.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lot.parking.run)
        if late:
            await trio.testing.wait_all_tasks_blocked()
        lot.park(1)
        await trio.testing.wait_all_tasks_blocked()
        before = list(lot.sent)
        lot.flow.say(None, SystemClock().monotonic())
        with trio.fail_after(2):
            while not lot.sent:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert before == []
