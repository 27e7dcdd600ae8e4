"""The pipeline on a real server: in memory, dormant, taken over, and of several daemons."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.owning import passivation
from actors.views import run_index
from protocols.errors import BadValueError
from protocols.service import Refused
from protocols.witness import Operator
from runtime.client.client import Client
from tests.daemon.test_motions import PERMIT_FILE, Offices
from tests.daemon.test_several import shared
from tests.support.daemon import PROBE, WAIT_S, Running, daemon, until
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

FILES = [PERMIT_FILE, PROBE]


async def settles(client: Client, states: dict[str, int]) -> Any:
    """Return the pipeline when it stands so and all of it is known."""
    found: Any = None
    with trio.move_on_after(WAIT_S):
        while True:
            found = await client.pipeline()
            if found.motions_by_state == states and not found.unread:
                return found
            await trio.sleep(0.02)
    raise AssertionError(f"never came about; last seen: {found}")


def live(running: Running) -> set[str]:
    """Return who is in a daemon's memory."""
    return set(running.daemon.parts.owner.live)


async def test_the_pipeline_tells_where_everybody_is(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absent, parked, halted, paused, done; in memory, dormant, and after a restart."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    offices = Offices()
    offices.answers["check"] = lambda request: (
        Refused("refused", "no form") if request["input"] == "bad" else "complete"
    )
    clerk = offices.services[0]
    async with (
        daemon(nats_server.url, workflows=FILES, services=[clerk]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await movant("run.start", workflow="probe.signals", input=1, id="no-motion")
        for name in ("absent", "tabled"):
            await client.start("permit", "good", id=name)
        await client.start("permit", "bad", id="halted")
        before = await settles(client, {"FILED": 1, "REVIEWED": 2})
        await client.signal("tabled", "table")
        await settles(client, {"FILED": 1, "REVIEWED": 1, "TABLED": 1})
        await until(lambda: not live(movant) & {"tabled", "halted", "no-motion"})
        dormant = await settles(client, {"FILED": 1, "REVIEWED": 1, "TABLED": 1})
        blocked = await client.pipeline(blocked=True)
        movant.crash()
    async with (
        daemon(nats_server.url, workflows=FILES, services=offices.services) as movant,
        Client.connect(nats_server.url) as client,
    ):
        again = await settles(client, {"FILED": 1, "TABLED": 1})
        known = {each.motion_id: each for each in again.motions}
        paused = await client.pause("run", "tabled", by=Operator(who="ann"), reason="holiday")
        held = await client.pipeline(state="TABLED")
        await client.pause("workflow", "permit")
        everybody = await client.pipeline()
        await client.resume("workflow", "permit")
        await client.cancel("tabled")
        await client.signal("halted", "motion.resume", {"do": "halt"})
        end = await client.pipeline()

    rows = {each.motion_id: each for each in dormant.motions}
    assert before.active_motions == dormant.active_motions == 3
    assert set(rows) == {"absent", "tabled", "halted"}
    assert rows["absent"].owner == "council"
    assert rows["absent"].next_action == "council vote"
    assert rows["absent"].blocking_issues == ["council: nobody serves it"]
    assert rows["absent"].waiting == "step /states/REVIEWED/council.vote"
    assert rows["absent"].expected_completion > rows["absent"].entered_state_at
    assert (rows["tabled"].next_action, rows["tabled"].blocking_issues) == ("signal untable", [])
    assert rows["tabled"].expected_completion == 0
    assert rows["halted"].blocking_issues == ["halted: refused: no form"]
    assert rows["halted"].next_action == "an operator: signal motion.resume"
    assert all(each.time_in_state_s > 0 for each in rows.values())
    assert set(blocked.blocked_motions) == {"absent", "halted"}
    assert {each.motion_id for each in blocked.motions} == {"absent", "halted"}
    assert blocked.active_motions == 3
    assert known["halted"].blocking_issues == rows["halted"].blocking_issues
    assert known["halted"].entered_state_at == rows["halted"].entered_state_at
    assert paused.hold.paused
    assert held.motions[0].blocking_issues == ["run is paused by ann: holiday"]
    assert set(held.blocked_motions) == set(everybody.blocked_motions) == {"halted", "tabled"}
    assert again.recent_completions == 1
    assert end.recent_completions == 1


async def test_each_daemon_answers_for_all(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is asked; a dormant motion that is handed over is folded by its next owner, once."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    offices = Offices()
    async with (
        daemon(nats_server.url, workflows=FILES, services=offices.services[:1], name="a") as first,
        Client.connect(nats_server.url) as client,
    ):
        started = await client.start_many("permit", [None] * 20)
        await settles(client, {"REVIEWED": 20})
        await client.signal_many([each.id for each in started], "table")
        await until(lambda: not live(first))
        alone = await settles(client, {"TABLED": 20})
        page = await client.pipeline(limit=15)
        rest = await client.pipeline(limit=15, after=page.next)
        with pytest.raises(BadValueError):
            await client.pipeline(after="tomorrow")
        async with daemon(nats_server.url, workflows=FILES, name="b") as second:
            await shared(first, second)
            both = [await settles(client, {"TABLED": 20}) for _ in range(8)]
            folded = [len(each.daemon.parts.owner.places.rows) for each in (first, second)]

    order = [each.motion_id for each in alone.motions]
    assert all([row.motion_id for row in each.motions] == order for each in both)
    assert all(each.silent == [] for each in both)
    assert sum(folded) == 20
    assert [each.motion_id for each in (*page.motions, *rest.motions)] == order
    assert rest.next == ""


async def test_a_motion_that_waits_long_is_not_forgotten(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index forgets the oldest runs when there are too many, but none that has not ended."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    monkeypatch.setattr(run_index, "ROWS_MAX", 5)
    async with (
        daemon(nats_server.url, workflows=FILES, services=Offices().services[:1]) as movant,
        Client.connect(nats_server.url) as client,
    ):
        await client.start("permit", None, id="m-1")
        await settles(client, {"REVIEWED": 1})
        await client.signal("m-1", "table")
        for _ in range(6):
            await movant.run("probe.echo", 1)
        await until(lambda: not live(movant))
        found = await settles(client, {"TABLED": 1})
        listed = await client.list()

    assert [each.motion_id for each in found.motions] == ["m-1"]
    assert len(listed.runs) == 5
    assert "m-1" in {each.id for each in listed.runs}
