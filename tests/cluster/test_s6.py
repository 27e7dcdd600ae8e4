"""S6: a replica that was halted is behind when it goes on; nobody folds what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.owning.activation import Activation
from actors.owning.letters import Delivery
from actors.owning.partitions import Partition
from actors.owning.workflow import WorkflowActor
from actors.store.direct_reader import DirectReader
from protocols.subjects import partition_of
from runtime.config import LimitsConfig
from tests.support.cluster import NatsCluster
from tests.support.daemon import PROBE, WAIT_S, Running, daemon, offered, plainly, until
from tests.support.shop import Shop

pytestmark = pytest.mark.server

INSTANCES = 40
ROUNDS_MAX = 8
HALT_S = 0.8
"""Shorter than the bridge's watchdog: the connection to the halted server stays."""


async def test_a_read_from_a_replica_that_is_behind_is_repeated(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals wake instances that left memory, while the daemon's own server lags behind.

    Each instance collects every signal, in order: a fold with a hole would miss some for ever.
    """
    stale = 0
    once = Activation._once

    async def counted(self: Activation, actor: WorkflowActor, partition: Partition) -> bool:
        nonlocal stale
        done = await once(self, actor, partition)
        stale += not done
        return done

    monkeypatch.setattr(Activation, "_once", counted)
    limits = LimitsConfig(live_instances_max=1)  # all others leave memory at once
    ids = [f"s6-{number}" for number in range(INSTANCES)]
    near, others = cluster.nodes[0], cluster.nodes[1:]
    async with daemon(near.url, workflows=[PROBE], replicas=3, limits=limits) as movant:
        cluster.lead("MAIL", others[0])
        # A consumer on the halted server would read its own log, which is never behind itself.
        readers = movant.daemon.parts.readers
        with trio.fail_after(WAIT_S):
            while near.name in _consumers(cluster):
                assert readers._all is not None
                readers._all._restart.set()
                await trio.sleep(0.2)
        owner = movant.daemon.parts.owner
        for each in ids:
            await movant("run.start", workflow="probe.signals", input=ROUNDS_MAX, id=each)
        for number in range(ROUNDS_MAX):
            await until(lambda: len(owner.live) <= 1)
            if stale and number:  # seen: the last rounds need no halt
                await _signal(others[0].url, ids, number)
                continue
            near.freeze()
            await _signal(others[0].url, ids, number)
            await trio.sleep(HALT_S)
            near.thaw()
        results = [(await movant.ended(each))["result"] for each in ids]

    assert results == [list(range(ROUNDS_MAX))] * INSTANCES
    if not stale:
        pytest.skip("the halted replica was never behind; nothing was shown")


def _consumers(cluster: NatsCluster) -> list[str]:
    """Return on which server the newest consumer of MAIL is."""
    found = cluster.ask("CONSUMER.LIST.MAIL")["consumers"]
    found.sort(key=lambda each: each["created"])
    return [found[-1]["cluster"]["leader"]]


async def _signal(url: str, ids: list[str], number: int) -> None:
    """Send one signal to each instance, through a server that runs."""
    payload = str(number).encode()
    await plainly(url, [(f"movant.to.{each}.signal.go", payload, None) for each in ids])


async def test_a_takeover_reads_no_mailbox_with_a_hole(
    cluster: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message asks for what a checkpoint lists: the leader says what a read has to reach.

    The first reads of the next owner leave out the newest message, as a replica that is behind
    does. It is below the checkpoint's position, so no reader would ever bring it.
    """
    reads: dict[str, int] = {}
    whole = DirectReader.mailbox

    async def behind(self: DirectReader, filter_subject: str, **how: Any) -> list[Delivery]:
        found = await whole(self, filter_subject, **how)
        reads[filter_subject] = reads.get(filter_subject, 0) + 1
        return found[:-1] if reads[filter_subject] <= 2 else found

    shop = Shop()
    async with offered(cluster.url, shop.service):
        async with daemon(cluster.url, workflows=[PROBE], replicas=3) as movant:
            await movant(
                "run.start", workflow="probe.both", input={"signals": 2}, id="s6", wait_s=0
            )
            await until(lambda: shop.calls)
            await movant("run.signal", id="s6", name="go", data=1)
            await movant.view_when("s6", lambda view: view["state"] == {"seen": 1})
            seq = (await movant("run.history", id="s6"))["entries"][-1]["seq"]
            await until(lambda: _stored(movant) >= seq)
            movant.crash()
        monkeypatch.setattr(DirectReader, "mailbox", behind)
        async with daemon(cluster.url, replicas=3) as movant:
            shop.hold.set()
            await movant("run.signal", id="s6", name="go", data=2)
            ended = await movant.ended("s6")

    assert max(reads.values()) >= 3
    assert ended["result"] == [0, [1, 2]]


def _stored(movant: Running) -> int:
    """Return the least position that the daemon has stored for any partition."""
    stored = movant.daemon.parts.checkpoints._stored
    number = partition_of("s6", movant.daemon.config.partitions)
    return stored[number].position if number in stored else 0
