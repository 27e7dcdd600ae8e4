"""Taking and giving partitions when something goes wrong on the way: nothing stays behind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from actors.owning import assignment
from actors.owning.activation import Activation
from actors.owning.assignment import LOOK_S, Assignment
from actors.owning.membership import LEASE_S
from actors.store import streams
from actors.store.checkpoint import Checkpoint
from actors.store.kv import Kv
from actors.store.stream_writer import StreamWriter
from protocols.errors import ConfigurationError, MovantError, UnavailableError, UnknownOutcomeError
from runtime.bridge import connect
from runtime.checkpoints import Checkpoints
from runtime.clock import SystemEntropy
from runtime.config import DaemonConfig, NatsConfig
from runtime.daemon import Daemon
from tests.daemon.test_several import RUNS, begin, finish, owned, shared
from tests.support.daemon import daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

BROKEN = """
import movant

@movant.workflow("broken")
async def broken(ctx: movant.Context, _: object = None) -> object:
    return 1 // 0
"""


async def test_a_hand_over_that_fails_is_finished(nats_server: NatsServer) -> None:
    """The newcomer is gone before the second try: what was leaving comes back to life."""
    async with daemon(nats_server.url, name="a") as first:
        parts = first.daemon.parts
        store = parts.checkpoints.store
        tries: list[Sequence[int]] = []

        async def refuse(checkpoints: dict[int, object]) -> None:
            tries.append(sorted(checkpoints))
            raise UnavailableError("the server does not answer")

        await begin(first)
        async with daemon(nats_server.url, name="b") as second:
            parts.checkpoints.store = refuse  # type: ignore[method-assign,assignment]
            await until(lambda: tries)
            second.crash()
        await until(lambda: len(parts.leases.members) == 1)
        parts.checkpoints.store = store  # type: ignore[method-assign]

        await until(lambda: not any(each.leaving for each in parts.owner.partitions))
        await until(lambda: len(owned(first)) == 64)
        await finish(first)


@pytest.mark.parametrize("patient", [True, False])
async def test_what_was_taken_over_is_folded_before_it_moves_on(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, *, patient: bool
) -> None:
    """A newcomer gets its share then, a little at a time; without it after a while."""
    if not patient:
        monkeypatch.setattr(assignment, "HOLD_S", LOOK_S)
    monkeypatch.setattr(assignment, "FOLD_S", 0.1)
    monkeypatch.setattr(assignment, "MOVED_MAX", 12)
    shop, folding, moved = Shop(), trio.Event(), []
    once, give = Activation._once, Assignment._give

    async def gated(self: Activation, *each: Any) -> bool:
        await folding.wait()
        return await once(self, *each)

    async def counted(self: Assignment, partitions: tuple[int, ...]) -> None:
        live = [each.partition for each in self._owner.live.values()]
        moved.append((len(partitions), sum(each in partitions for each in live)))
        await give(self, partitions)

    items = [{"id": f"s{n}", "input": {"steps": 1, "operation": "slow"}} for n in range(RUNS)]
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, name="a") as first:
            await first("run.start_many", workflow="probe.steps", items=items)
            stored = first.daemon.parts.checkpoints._stored
            await until(lambda: sum(len(each.entries) for each in stored.values()) == RUNS)
            first.crash()
        monkeypatch.setattr(Activation, "_once", gated)
        monkeypatch.setattr(Assignment, "_give", counted)
        async with daemon(nats_server.url, name="b") as second:
            await until(lambda: len(owned(second)) == 64)
            async with daemon(nats_server.url, name="c") as third:
                await until(lambda: len(second.daemon.parts.leases.members) == 2)
                await trio.sleep(2 * LOOK_S)
                if patient:
                    assert owned(third) == set()
                    folding.set()
                await shared(second, third)
                parts = list(moved)
                folding.set()
                shop.hold.set()
                for each in items:
                    assert (await third.ended(str(each["id"])))["status"] == "completed"

    assert len(parts) > 1
    assert all(crowd <= 12 or count == 1 for count, crowd in parts)
    assert shop.doubled == []


async def test_a_claim_whose_release_is_lost_is_used_or_given_up(nats_server: NatsServer) -> None:
    """No partition stays claimed by one who does not own it while others wait for him."""
    async with (
        daemon(nats_server.url, name="a") as first,
        daemon(nats_server.url, name="b") as second,
        daemon(nats_server.url, name="c") as third,
    ):
        await shared(first, second, third)
        for each in (first, second, third):
            for number in owned(each):
                each.daemon.parts.owner.forget(number)  # as after a restart of its workflows

        await shared(first, second, third)
        await begin(first)
        await finish(second)


async def test_claiming_checkpoints_without_a_server_raises_one_error(
    nats_server: NatsServer,
) -> None:
    """Whoever takes partitions when the connection goes tries again; he does not crash."""
    async with connect(nats_server.url, name="test") as transport:
        await streams.ensure(transport, streams.wanted(partitions=4, replicas=1))
        writer = StreamWriter(transport, SystemEntropy(), name="KV_movant_checkpoints")
        checkpoints = Checkpoints(Kv(transport, "movant_checkpoints"), writer)
        nats_server.kill()

        with pytest.raises(MovantError):
            await checkpoints.claim({0: 1, 1: 2})


async def test_a_server_that_goes_while_partitions_are_taken_costs_no_restart(
    nats_server: NatsServer,
) -> None:
    """The takeover waits for the server; no child of the tree ends."""
    async with daemon(nats_server.url, name="a") as first:
        await begin(first)
        async with daemon(nats_server.url, name="b") as second:
            await shared(first, second)
            claim = first.daemon.parts.checkpoints.claim

            async def interrupted(epochs: dict[int, int]) -> object:
                nats_server.kill()
                await trio.sleep(0.2)
                try:
                    return await claim(epochs)
                finally:
                    first.daemon.parts.checkpoints.claim = claim  # type: ignore[method-assign]
                    nats_server.start()

            first.daemon.parts.checkpoints.claim = interrupted  # type: ignore[method-assign,assignment]
            second.crash()
        await until(lambda: len(owned(first)) == 64)
        await finish(first)
        tree = first.daemon.tree()
        assert tree is not None
        assert {each.id: each.restarts for each in tree.children}["workflows"] == 0


async def test_a_server_that_goes_in_the_middle_of_a_hand_over_costs_nothing(
    nats_server: NatsServer,
) -> None:
    """The checkpoints cannot be stored: the hand-over is finished when the server is back."""
    async with daemon(nats_server.url, name="a") as first:
        await begin(first)
        parts = first.daemon.parts
        store = parts.checkpoints.store
        interrupted: list[int] = []

        async def interrupt(checkpoints: dict[int, Checkpoint]) -> None:
            if interrupted or not any(each.leaving for each in parts.owner.partitions):
                await store(checkpoints)
                return
            interrupted.append(len(checkpoints))
            nats_server.kill()
            try:
                with trio.move_on_after(0.5):
                    await store(checkpoints)
                    raise AssertionError("there was no server")
            finally:
                nats_server.start()
            raise UnavailableError("the server was away")

        parts.checkpoints.store = interrupt  # type: ignore[method-assign,assignment]
        async with daemon(nats_server.url, name="b") as second:
            await shared(first, second)
            await finish(second)

    assert interrupted == [32]


async def test_a_drain_waits_for_a_server_that_comes_back(nats_server: NatsServer) -> None:
    """It hands over then, so that the next daemon need not wait for the lease to lapse."""
    async with daemon(nats_server.url, name="a") as first:
        await begin(first)
        nats_server.kill()
        first.daemon.drain()
        await until(lambda: first.daemon.state == "draining")
        await trio.sleep(0.3)
        nats_server.start()
        await until(lambda: first.daemon.state == "stopped")
        assert owned(first) == set()
        async with daemon(nats_server.url, name="b") as second:
            await until(lambda: len(owned(second)) == 64, wait_s=LEASE_S - 0.5)
            await finish(second)


async def test_a_claim_whose_answer_is_lost_is_ours(nats_server: NatsServer) -> None:
    """It is taken again, under an epoch that is known."""
    async with daemon(nats_server.url, name="a") as first:
        await begin(first)
        async with daemon(nats_server.url, name="b") as second:
            await shared(first, second)
            leases = first.daemon.parts.leases
            claim = leases.claim
            unheard: dict[int, int] = {}

            async def lost(partition: int, revision: int) -> int:
                epoch = await claim(partition, revision)
                if partition not in unheard:
                    unheard[partition] = epoch
                    raise UnknownOutcomeError("the answer was lost")
                return epoch

            leases.claim = lost  # type: ignore[method-assign]
        await until(lambda: len(owned(first)) == 64)
        assert len(unheard) == 32
        for number, epoch in unheard.items():
            assert first.daemon.parts.owner.epoch_of(number) > epoch
        await finish(first)


async def test_a_checkpoint_whose_answer_is_lost_is_written_over(nats_server: NatsServer) -> None:
    """The repeat is refused as stale; what stands there is our own, and the next one goes on."""
    async with connect(nats_server.url, name="test") as transport, trio.open_nursery() as nursery:
        await streams.ensure(transport, streams.wanted(partitions=4, replicas=1))
        kv = Kv(transport, "movant_checkpoints")
        writer = StreamWriter(transport, SystemEntropy(), name=kv.stream)
        await nursery.start(writer.run)
        checkpoints = Checkpoints(kv, writer)
        await checkpoints.claim({0: 5})
        first, second = Checkpoint(position=10, epoch=5), Checkpoint(position=20, epoch=5)
        await kv.put("0", msgspec.json.encode(first))  # the write whose answer was lost

        await checkpoints.store({0: first})
        await checkpoints.store({0: second})
        mine = await checkpoints.load(0)
        await kv.put("0", msgspec.json.encode(Checkpoint(position=30, epoch=6)))
        await checkpoints.store({0: Checkpoint(position=25, epoch=5)})
        theirs = await checkpoints.load(0)
        refused = await checkpoints.claim({0: 5})
        nursery.cancel_scope.cancel()

    assert mine == second
    assert (theirs.position, theirs.epoch) == (30, 6)  # a former owner puts nothing back
    assert refused == {}


async def test_workflows_that_fail_alone_begin_anew_beside_the_others(
    nats_server: NatsServer,
) -> None:
    """One child of the tree restarts; its partitions come back to it, and nothing is lost."""
    async with (
        daemon(nats_server.url, name="a") as first,
        daemon(nats_server.url, name="b") as second,
    ):
        await shared(first, second)
        await begin(first)
        before = first.daemon.parts.owner

        async def fail() -> None:
            raise RuntimeError("a defect")

        before._start_soon(fail)
        await until(lambda: first.daemon.parts.owner is not before)
        await shared(first, second)
        await finish(second)
        tree = first.daemon.tree()
        assert tree is not None
        restarts = {each.id: each.restarts for each in tree.children}
        assert (restarts["store"], restarts["workflows"]) == (0, 1)


async def test_a_daemon_gets_ready_though_its_first_partitions_are_taken_from_it(
    nats_server: NatsServer,
) -> None:
    """It waits for markers of its own; those of what it lost meanwhile are not waited for."""
    async with daemon(nats_server.url, name="a") as first:
        owner = first.daemon.parts.owner
        async with first.daemon.parts.assignment._lock:  # nothing is taken meanwhile
            for number in range(4):
                owner.partitions.owned[number].begun = False
            with trio.fail_after(LEASE_S):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(owner.caught_up)
                    await trio.testing.wait_all_tasks_blocked()
                    for number in range(4):
                        owner.forget(number)


async def test_what_is_known_of_blocked_runs_goes_with_their_partition(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """A former owner does not go on telling that a run is blocked: it may be repaired."""
    source = tmp_path / "broken.py"
    source.write_text(BROKEN)
    async with daemon(nats_server.url, name="a", workflows=[source]) as first:
        blocked = await first.run("broken", None, id="stuck")
        owner = first.daemon.parts.owner
        known = dict(owner.blocked)
        for number in owned(first):
            owner.forget(number)

    assert blocked["status"] == "blocked"
    assert known
    assert owner.blocked == {}


async def test_daemons_that_start_at_the_same_moment_have_the_same_reply_keys(
    nats_server: NatsServer,
) -> None:
    """What one of them has signed, all fold: else a reply would be a dead letter for the next."""
    rings = []

    async def one(name: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with daemon(nats_server.url, name=name) as running:
            keys = running.daemon.parts.keys
            rings.append(keys)
            task_status.started()
            await until(lambda: len(rings) == 3)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(nursery.start, one, name)

    tokens = [each.sign("run", "step", 1) for each in rings]
    assert all(each.verify(token, "run", "step", 1) for each in rings for token in tokens)


async def test_another_number_of_partitions_is_refused_clearly(nats_server: NatsServer) -> None:
    """Two daemons that count differently would read the same mailboxes as different ones."""
    async with daemon(nats_server.url, name="a") as first:
        other = Daemon(DaemonConfig(nats=NatsConfig(url=nats_server.url), partitions=32))
        with pytest.raises(ConfigurationError) as caught:
            await other.run()
        assert "partition(64,1)" in caught.value.message
        assert "partition(32,1)" in caught.value.message
        await begin(first)
        await finish(first)
