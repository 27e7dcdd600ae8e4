"""What a daemon does with memory that it needs no longer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from runtime import collector


class Knot:
    """An object that refers to itself, as an instance with its tasks does."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def no_collections() -> Iterator[None]:
    """Keep Python from collecting by itself."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collections")
async def test_memory_is_given_back_when_many_instances_have_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cycle that nobody refers to is gone soon after the instances are."""
    autojump_clock.autojump_threshold = 0.02  # the C library is called in a thread
    living = 5_000
    knot = weakref.ref(Knot())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.tidy, lambda: living)
        await trio.sleep(2 * collector.LOOK_S)
        held_on = knot() is not None
        living = 0
        await trio.sleep(2 * collector.LOOK_S)
        nursery.cancel_scope.cancel()

    assert held_on
    assert knot() is None


@pytest.mark.parametrize(
    ("most", "now", "worth_it"),
    [(999, 0, False), (1_000, 0, True), (10_000, 5_001, False), (10_000, 5_000, True)],
)
def test_a_collection_waits_until_it_is_cheap(most: int, now: int, *, worth_it: bool) -> None:
    """At least a thousand have left, and no more are alive than have left."""
    assert collector.is_worth_it(most, now) is worth_it
