"""Leases against the real server: who lives, who owns what, under which epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from actors.owning.membership import LEASE_S, RENEW_S, Member, Plan, plan
from actors.store import streams
from actors.store.kv import Kv
from actors.store.leases import STUCK_S, Leases, Sight
from protocols.errors import AlreadyExistsError
from runtime.bridge import NatsTransport, connect
from runtime.clock import SystemClock
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

PARTITIONS = 4


class Clock(SystemClock):
    """A clock that a test sets."""

    at = 0.0

    def boottime(self) -> float:
        """Return what was set."""
        return self.at


class Quick(SystemClock):
    """A clock that goes twice as fast."""

    def boottime(self) -> float:
        """Return two seconds for each one."""
        return 2 * super().boottime()


@pytest.fixture
async def transport(nats_server: NatsServer) -> AsyncIterator[NatsTransport]:
    """Connect to a server with movant's streams."""
    async with connect(nats_server.url, name="test") as found:
        await streams.ensure(found, streams.wanted(partitions=PARTITIONS, replicas=1))
        yield found


def leases(transport: NatsTransport, key: str, clock: SystemClock, *dead: str) -> Leases:
    """Return the leases of a daemon that knows some others to be dead."""
    return Leases(
        Kv(transport, "movant_leases"),
        clock,
        key,
        Member(f"daemon {key}", "host", 1),
        lambda other, _: other in dead,
        partitions=PARTITIONS,
    )


async def test_the_epoch_of_a_partition_rises_with_each_claim(transport: NatsTransport) -> None:
    """A claim is taken by compare-and-set; whoever comes with an old revision is refused."""
    clock = Clock()
    first, second = leases(transport, "a", clock), leases(transport, "b", clock)

    epoch = await first.claim(2, 0)
    with pytest.raises(AlreadyExistsError):
        await second.claim(2, 0)
    await first.release(2, epoch)
    claim, revision = (await second.look()).claims[2]
    higher = await second.claim(2, revision)

    assert claim.member == ""
    assert higher > revision > epoch
    assert await second.revision(2) == higher
    assert await second.revision(3) == 0


async def test_a_late_release_leaves_the_next_owner_alone(transport: NatsTransport) -> None:
    """The former owner comes too late: the claim is somebody else's."""
    clock = Clock()
    first, second = leases(transport, "a", clock), leases(transport, "b", clock)
    epoch = await first.claim(0, 0)
    higher = await second.claim(0, epoch)

    await first.release(0, epoch)

    assert await second.revision(0) == higher


async def test_who_does_not_renew_is_taken_for_dead(transport: NatsTransport) -> None:
    """By our own clock, from when we saw the record change; not before the lease is over."""
    clock = Clock()
    first, second = leases(transport, "a", clock), leases(transport, "b", clock)
    await first.join()
    await second.join()
    assert (await second.look()).members.keys() == {"a", "b"}

    for _ in range(2):
        clock.at += LEASE_S / 2 - 0.05
        await second.join()
    before = (await second.look()).members.keys()
    clock.at += 0.2
    after = (await second.look()).members.keys()

    assert before == {"a", "b"}
    assert after == {"b"}


@pytest.mark.parametrize("first_comes", ["renewal", "look"])
async def test_who_could_not_renew_itself_blames_nobody(
    transport: NatsTransport, first_comes: str
) -> None:
    """While the server was away nobody could renew: silence of that time does not count."""
    clock = Clock()
    first, second = leases(transport, "a", clock), leases(transport, "b", clock)
    await first.join()
    await second.join()
    await second.look()

    clock.at += LEASE_S + 1
    if first_comes == "renewal":
        await second.join()

    assert (await second.look()).members.keys() == {"a", "b"}


async def test_a_record_that_cannot_be_read_stands_for_a_daemon(transport: NatsTransport) -> None:
    """A newer version may write states that we do not know: it keeps what it owns."""
    mine = leases(transport, "a", Clock())
    kv = Kv(transport, "movant_leases")
    await mine.join()
    await kv.put("member.new", b'{"name":"new","host":"h","pid":1,"state":"resting"}')
    await kv.put("member.odd", b"\xff")
    await kv.put("partition.0", b'{"member":"new"}')
    await kv.put("partition.1", b"{")

    sight = await mine.look()

    assert {key: each.state for key, each in sight.members.items()} == {
        "a": "up",
        "new": "starting",
        "odd": "starting",
    }
    assert [claim.member for claim, _ in sight.claims] == ["new", "", "", ""]


async def test_who_starts_gets_nothing_before_he_can_take_it(transport: NatsTransport) -> None:
    """Others keep their partitions until then: nobody would serve what they gave."""
    clock = Clock()
    mine = leases(transport, "a", clock)
    newcomer = Leases(
        Kv(transport, "movant_leases"),
        clock,
        "b",
        Member("newcomer", "host", 2, state="starting"),
        lambda _, __: False,
        partitions=PARTITIONS,
    )
    await mine.join()
    await newcomer.join()
    before = plan_of(await mine.look())
    await newcomer.be_up()
    after = plan_of(await mine.look())
    newcomer.be_starting()
    await newcomer.join()
    again = plan_of(await mine.look())
    await newcomer.drain()
    await newcomer.be_up()

    assert (len(before.give), len(after.give), len(again.give)) == (0, 2, 0)
    assert newcomer.state == "draining"


def plan_of(sight: Sight) -> Plan:
    """Return what ``a`` should do when it owns everything."""
    states = {key: each.state for key, each in sight.members.items()}
    return plan("a", states, ["a"] * PARTITIONS)


@pytest.mark.parametrize("gone", ["its process is dead", "it has left"])
async def test_who_is_surely_gone_is_not_waited_for(transport: NatsTransport, gone: str) -> None:
    """A dead process on this host, or a daemon that said good-bye."""
    clock = Clock()
    first = leases(transport, "a", clock)
    await first.join()
    if gone == "it has left":
        await first.leave()
        second = leases(transport, "b", clock)
    else:
        second = leases(transport, "b", clock, "a")
    await second.join()

    assert (await second.look()).members.keys() == {"b"}


async def test_a_lapsed_lease_is_not_held_again_before_somebody_looked(
    transport: NatsTransport,
) -> None:
    """Renewing alone does not do: the claims may be somebody else's by now."""
    clock = Clock()
    mine = leases(transport, "a", clock)
    await mine.join()
    assert not mine.held
    mine.trust()
    assert mine.held

    clock.at += LEASE_S
    lapsed = mine.held
    await mine.join()
    sight = await mine.look()
    renewed = mine.held
    mine.trust()

    assert (lapsed, sight.trusted, renewed, mine.held) == (False, False, False, True)


async def test_a_busy_thread_costs_no_lease(transport: NatsTransport) -> None:
    """The connection's own thread renews while this one computes and yields to nobody."""
    clock = Quick()
    mine = leases(transport, "a", clock)
    async with trio.open_nursery() as nursery:
        await mine.join()
        mine.trust()
        nursery.start_soon(mine.run, lambda every_s, beat: transport.beat(every_s / 2, beat))
        await trio.sleep(RENEW_S)
        end = clock.boottime() + 1.2 * LEASE_S
        while clock.boottime() < end:
            pass
        held = mine.held
        trusted = (await mine.look()).trusted
        nursery.cancel_scope.cancel()

    assert held
    assert trusted


async def test_a_stuck_thread_costs_the_lease(transport: NatsTransport) -> None:
    """Whoever serves nobody any more shall not keep others from it."""
    clock = Clock()
    mine = leases(transport, "a", clock)
    never = mine.beat()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.run, transport.beat)
        await trio.testing.wait_all_tasks_blocked()
        clock.at = STUCK_S
        busy = mine.beat()
        clock.at += 0.1
        stuck = mine.beat()
        nursery.cancel_scope.cancel()

    assert (never, stuck) == (None, None)
    assert busy is not None
    assert busy.message.subject == "$KV.movant_leases.member.a"


async def test_nothing_is_renewed_after_a_good_bye(transport: NatsTransport) -> None:
    """A renewal that is due just then would make the others wait for a lease."""
    mine = leases(transport, "a", Quick())
    async with trio.open_nursery() as nursery:
        await mine.join()
        mine.trust()
        nursery.start_soon(mine.run, lambda _, beat: transport.beat(0.002, beat))
        await trio.sleep(0.05)
        await mine.leave()
        last = await Kv(transport, "movant_leases").leader("member.a")
        await trio.sleep(0.05)
        after = await Kv(transport, "movant_leases").leader("member.a")
        nursery.cancel_scope.cancel()

    assert last is not None
    assert b'"gone"' in last.value
    assert after == last
    assert not mine.held
