"""Prefetch: many runs of one partition are folded from one reading, as each would be alone."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import trio

from actors.owning.letters import Delivery
from actors.owning.prefetch import LEAST
from actors.store.direct_reader import DirectReader
from protocols.subjects import partition_of
from runtime.checkpoints import EVERY_S
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

COUNT = LEAST + 8


async def test_runs_of_a_partition_that_was_taken_over_are_read_together(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a crash each run goes on, and nothing is done twice."""
    together: set[str] = set()
    many = DirectReader.many

    async def spy(
        reader: DirectReader, partition: int, instances: Collection[str]
    ) -> dict[str, list[Delivery]]:
        found = await many(reader, partition, instances)
        together.update(found)
        return found

    monkeypatch.setattr(DirectReader, "many", spy)
    ids = [name for name in map("r-{}".format, range(9_000)) if partition_of(name, 64) == 5]
    ids = ids[:COUNT]
    shop = Shop()
    body = {"operation": "slow"}
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        for name in ids:
            await movant("run.start", workflow="probe.retry", input=body, id=name)
        await until(lambda: len(shop.calls) >= COUNT)
        await trio.sleep(2.5 * EVERY_S)  # a checkpoint lists them: they are not in the tail
        movant.crash()
    assert not together, "a daemon that has just begun has nothing to fold"
    shop.hold.set()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = [await movant.ended(name) for name in ids]

    assert together == set(ids)
    assert {each["status"] for each in ended} == {"completed"}
    assert shop.doubled == []
