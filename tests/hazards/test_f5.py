"""F5: a former owner stops, and what it writes afterwards is void."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from actors.owning.partitions import BY_OWNER
from actors.store.leases import Leases
from protocols.mail import AnyMail
from protocols.subjects import partition_of
from runtime.stored import StoredRuns
from tests.daemon.test_moving import first_seq
from tests.daemon.test_retention import PARTITIONS, by_hand, collect, fill
from tests.support.daemon import daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_a_second_daemon_takes_its_share_and_both_go_on(nats_server: NatsServer) -> None:
    """Partitions are handed over; each run is hosted by one of the two, and goes on."""
    async with daemon(nats_server.url, name="first") as first:
        for number in range(20):
            await first("run.start", workflow="probe.signals", input=1, id=f"a{number}")
        async with daemon(nats_server.url, name="second") as second:
            await until(lambda: len(second.daemon.parts.owner.partitions.owned) == 32)
            await until(lambda: len(first.daemon.parts.owner.partitions.owned) == 32)
            for number in range(20):
                await second("run.signal", id=f"a{number}", name="go", data=number)
            ended = [await second.ended(f"a{number}") for number in range(20)]

    assert [each["result"] for each in ended] == [[number] for number in range(20)]


async def test_a_former_owner_that_reads_a_newer_marker_stops(nats_server: NatsServer) -> None:
    """Somebody else's marker in a partition: its actors are gone before the next message."""
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="a")
        owner = movant.daemon.parts.owner
        partition = partition_of("a", 64)
        before = owner.epoch_of(partition)
        marker = {"epoch": before + 1, "daemon": "other"}
        with Raw(nats_server.url) as raw:
            raw.put(f"movant.mail.{partition}._owner", msgspec.json.encode(marker))
        await until(lambda: owner.epoch_of(partition) != before)
        lost = "a" not in owner.live
        # Nobody claims it, so this daemon takes it again, under a higher epoch.
        await until(lambda: owner.epoch_of(partition) > before + 1)
        await movant("run.signal", id="a", name="go", data=1)
        ended = await movant.ended("a")

    assert lost
    assert ended["result"] == [1]


async def test_a_decision_of_a_former_epoch_is_void(nats_server: NatsServer) -> None:
    """A refusal that stands behind a higher marker fails no attempt, now and after a restart."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        await movant("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        decision = {
            "epoch": 0,
            "step": "s",
            "attempt": 1,
            "failure": {"kind": "refused", "message": "stale", "retryable": False},
        }
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.owner.refused", msgspec.json.encode(decision))
        await until(lambda: movant.daemon.parts.intake.void)
        before = await movant("run.show", id="a")
        movant.crash()
        shop.hold.set()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        ended = await movant.ended("a")

    assert before["status"] == "running"
    assert ended["status"] == "completed"


def test_every_decision_with_an_epoch_can_be_void() -> None:
    """Pins, routes, timeouts, refusals, generations: none of a former owner counts."""
    decisions = {
        each
        for each in get_args(AnyMail)
        if "epoch" in each.__struct_fields__ and each.__struct_config__.tag.startswith("owner.")
    }

    assert decisions == set(BY_OWNER)


async def test_a_former_owner_does_not_read_over_a_purged_marker(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still with its clock; the next owner's marker is gone from the stream meanwhile.

    Neither its lease nor a marker tells it: only that what it has to read next is missing.
    """
    url = nats_server.url
    shop = Shop()
    async with (
        offered(url, shop.service),
        daemon(url, name="first", **by_hand()) as first,
    ):
        await first("run.start", workflow="probe.retry", input={"operation": "slow"}, id="a")
        await until(lambda: shop.calls)
        parts = first.daemon.parts
        folded = parts.owner.live["a"].instance.folded
        epoch = parts.owner.epoch_of(partition_of("a", PARTITIONS))
        awake = False
        for reader in parts.readers._scopes:
            reader._ready = lambda: awake
        async with parts.assignment._lock:
            parts.leases._term.end()  # it renews no more
            async with daemon(url, name="second", **by_hand()) as second:
                await until(lambda: len(second.daemon.parts.owner.partitions.owned) == PARTITIONS)
                await second.run("probe.echo", 1, id="b")
                history = (await second("run.history", id="b"))["entries"]
                while first_seq(url) <= max(folded + 64, history[-1]["seq"]):
                    await fill(second)
                    await collect(second)
                # Asked meanwhile, it finds what is stored, whatever its clock says of its lease.
                stored = StoredRuns(first.daemon, parts.mailboxes)
                found = [(await stored.folded("b")).status]
                monkeypatch.setattr(Leases, "held", True)
                found.append((await stored.folded("b")).status)
                refusal = {"kind": "refused", "message": "stale", "retryable": False}
                decision = {"epoch": epoch, "step": "s", "attempt": 1, "failure": refusal}
                with Raw(url) as raw:
                    raw.put("movant.to.a.owner.refused", msgspec.json.encode(decision))
                await until(lambda: second.daemon.parts.intake.void)
                awake = True
                await until(lambda: parts.readers.first)
                stale = parts.owner.live["a"].instance
                shop.hold.set()
                ended = await second.ended("a")

    assert found == ["completed"] * 2
    assert (stale.folded, stale.status) == (folded, "running")
    assert parts.intake.void == 0
    assert ended["status"] == "completed"


async def test_who_still_owns_what_was_purged_by_hand_goes_on(nats_server: NatsServer) -> None:
    """Nobody else has what is missing: the claims say so, and the rest is read."""
    async with daemon(nats_server.url) as movant:
        readers = movant.daemon.parts.readers
        reader = readers._all
        assert reader is not None
        awake = False
        reader._ready = lambda: awake
        with Raw(nats_server.url) as raw:
            raw.put("movant.to.a.signal.go", b"1")
            await until(reader._restart.is_set)
            last = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"]
            raw.ask("$JS.API.STREAM.PURGE.MAIL", b'{"seq":%d}' % (last + 1))
        awake = True
        ended = await movant.run("probe.echo", 1)
        goes_on = readers._all is reader and not readers.first

    assert ended["status"] == "completed"
    assert goes_on
    assert reader.position >= last
