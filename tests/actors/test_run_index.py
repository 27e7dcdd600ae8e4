"""Which rows the run index has, in which order, and which it forgets."""

from __future__ import annotations

import random

import pytest

from actors.views import run_index
from protocols.errors import NotFoundError, RefusedError
from tests.actors.test_turns import One, World

ROWS_MAX = 8


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return streams of which an index keeps a few rows."""
    monkeypatch.setattr(run_index, "ROWS_MAX", ROWS_MAX)
    return World(1)


def start(world: World, run: str) -> None:
    """Let a run start."""
    world.active[run] = None
    world.put(world.mail, f"movant.mail.5.{run}.start.w", None)


@pytest.mark.parametrize("seed", range(20))
async def test_rows_are_in_order_and_the_oldest_that_have_ended_go(
    seed: int, world: World
) -> None:
    """However starts and ends mix; one that has not ended goes only when all are such."""
    chance = random.Random(seed)  # noqa: S311 - the same walk again
    index = One(world, 0, 1).index
    for number in range(60):
        if chance.randrange(3) or not world.active:
            start(world, f"r{chance.randrange(1_000)}x{number}")
            world.mail[-1].at = chance.randrange(30)
        else:
            world.end(chance.choice(list(world.active)))
        if not chance.randrange(4):
            before = {row.id for each in index.active.values() for row in each.values()}
            await index.refresh()

            rows = index.rows
            active = {row.id for row in rows.values() if not row.status}
            assert index.newest() == sorted(
                rows.values(), key=lambda row: (row.started_at, row.id), reverse=True
            )
            assert {id_ for each in index.active.values() for id_ in each} == active
            assert {row.partition for row in rows.values() if not row.status} <= {5}
            assert len(rows) <= ROWS_MAX
            lost = before & set(world.active) - active
            assert not lost or len(active) == len(rows)


async def test_a_beginning_tells_which_run_is_meant(world: World) -> None:
    """Unless several begin so, or none."""
    for run in ("order-2", "order-1", "claim-1"):
        start(world, run)
    index = One(world, 0, 1).index
    await index.refresh()

    assert [await index.resolve(each) for each in ("c", "order-1")] == ["claim-1", "order-1"]
    with pytest.raises(RefusedError, match="several ids: order-1, order-2"):
        await index.resolve("order")
    with pytest.raises(NotFoundError):
        await index.resolve("x")
