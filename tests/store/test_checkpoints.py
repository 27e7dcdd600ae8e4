"""Checkpoints against the real server: nobody can put an older one in a newer one's place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from actors.store import streams
from actors.store.checkpoint import Checkpoint
from actors.store.kv import Kv
from actors.store.stream_writer import StreamWriter
from runtime.bridge import NatsTransport, connect
from runtime.checkpoints import Checkpoints
from runtime.clock import SystemEntropy
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


class Owners:
    """Makes the view that one owner after another has of the stored checkpoints."""

    def __init__(self, transport: NatsTransport, nursery: trio.Nursery) -> None:
        self._transport = transport
        self._nursery = nursery

    async def next(self) -> Checkpoints:
        """Return what one more daemon has."""
        kv = Kv(self._transport, "movant_checkpoints")
        writer = StreamWriter(self._transport, SystemEntropy(), name=kv.stream)
        await self._nursery.start(writer.run)
        return Checkpoints(kv, writer)


@pytest.fixture
async def owners(nats_server: NatsServer) -> AsyncIterator[Owners]:
    """Connect to a server with movant's streams."""
    async with (
        connect(nats_server.url, name="test") as transport,
        trio.open_nursery() as nursery,
    ):
        await streams.ensure(transport, streams.wanted(partitions=4, replicas=1))
        yield Owners(transport, nursery)
        nursery.cancel_scope.cancel()


async def test_a_former_owner_cannot_replace_what_its_successor_began_with(
    owners: Owners,
) -> None:
    """It read the same revision, but the successor has stored it again as its own."""
    former = await owners.next()
    await former.claim({1: 5})
    await former.store({1: Checkpoint(position=10, epoch=5)})
    successor = await owners.next()

    began = await successor.claim({1: 9})
    await former.store({1: Checkpoint(position=50, epoch=5, mark=50)})

    assert began == {1: Checkpoint(position=10, epoch=9)}
    assert await successor.read(1) == Checkpoint(position=10, epoch=9)


async def test_a_store_just_before_the_claim_is_what_the_successor_begins_with(
    owners: Owners,
) -> None:
    """Whatever order they come in: the one begins with what the other has stored last."""
    former, successor = await owners.next(), await owners.next()
    await former.claim(dict.fromkeys(range(4), 5))
    began: dict[int, Checkpoint] = {}

    async def take_over() -> None:
        began.update(await successor.claim(dict.fromkeys(range(4), 9)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_over)
        for position in range(1, 30):
            late = {number: Checkpoint(position=position, epoch=5) for number in range(4)}
            await former.store(late)
    stored = await successor.all()

    assert began.keys() == set(range(4))
    assert stored == began
    assert all(each.epoch == 9 for each in stored.values())


async def test_a_former_owner_that_goes_on_storing_changes_nothing(owners: Owners) -> None:
    """Not even when it has been told: what it learnt is no leave to replace the newer one."""
    former, successor = await owners.next(), await owners.next()
    await former.claim({1: 5})
    await successor.claim({1: 9})

    for position in range(1, 4):
        await former.store({1: Checkpoint(position=position, epoch=5)})

    assert await successor.read(1) == Checkpoint(epoch=9)


async def test_an_owner_goes_on_after_its_own_answer_was_lost(owners: Owners) -> None:
    """It finds another revision than it knows, of its own epoch, and writes over it."""
    one = await owners.next()
    await one.claim({2: 5})
    again = await owners.next()
    await again.claim({2: 5})

    await one.store({2: Checkpoint(position=7, epoch=5)})
    await one.store({2: Checkpoint(position=8, epoch=5)})

    assert await one.read(2) == Checkpoint(position=8, epoch=5)


async def test_a_partition_that_has_a_newer_owner_is_not_begun(owners: Owners) -> None:
    """The claim came too late: somebody with a higher epoch has stored a checkpoint."""
    newer, late = await owners.next(), await owners.next()
    await newer.claim({3: 9})

    assert await late.claim({3: 8}) == {}
    assert await newer.read(3) == Checkpoint(epoch=9)
