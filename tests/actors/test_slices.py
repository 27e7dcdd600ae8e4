"""Work on very many is done in slices: how much of it there is between two turns of the others."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors.core import dispatcher, slices
from actors.core.base import DrivenActor
from actors.core.dispatcher import Dispatcher
from actors.core.slices import in_slices
from actors.core.system import ActorSystem
from tests.support.steps import counting


@pytest.mark.parametrize(
    ("done", "most"), [(False, slices.LOOKS), (True, slices.LOOKS // slices.ACT)]
)
async def test_looks_at_very_many_let_others_run(*, done: bool, most: int) -> None:
    """Fewer of those at which something is done; none is left out."""
    looked: list[int] = []

    def look(number: int) -> bool:
        looked.append(number)
        return done

    with counting(lambda: len(looked)) as steps:
        await trio.lowlevel.checkpoint()
        await in_slices(range(5_000), look)

    assert looked == list(range(5_000))
    assert steps.widest == most


@pytest.mark.parametrize(("actors", "each"), [(200, 1), (20, 16), (1, 400)])
async def test_a_dispatcher_gives_way_after_so_many_messages(
    autojump_clock: trio.testing.MockClock, actors: int, each: int
) -> None:
    """However they are spread: many actors with one message each, or few with many."""
    del autojump_clock  # no time passes
    handled = 0

    class Counts(DrivenActor):
        def on_receive(self, message: int) -> None:
            nonlocal handled
            handled += message

    async with trio.open_nursery() as nursery:
        driver = Dispatcher()
        nursery.start_soon(driver.run)
        system = ActorSystem(nursery, dispatcher=driver)
        refs = [system.start(Counts) for _ in range(actors)]
        for ref in refs:
            for _ in range(each):
                ref.tell(1)
        with counting(lambda: handled) as steps:
            while handled < actors * each:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert steps.widest < dispatcher.SLICE_MESSAGES_MAX + dispatcher.TURN_MESSAGES_MAX


async def test_a_dispatcher_gives_way_to_slow_messages_sooner(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A slice ends after a time as well: some folds take a millisecond."""
    handled = 0

    class Slow(DrivenActor):
        def on_receive(self, message: int) -> None:
            nonlocal handled
            handled += message
            autojump_clock.jump(dispatcher.SLICE_S / 2)

    async with trio.open_nursery() as nursery:
        driver = Dispatcher()
        nursery.start_soon(driver.run)
        system = ActorSystem(nursery, dispatcher=driver)
        refs = [system.start(Slow) for _ in range(30)]
        for ref in refs:
            ref.tell(1)
        with counting(lambda: handled) as steps:
            while handled < len(refs):
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    assert steps.widest == 3
