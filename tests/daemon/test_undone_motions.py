"""Motions that are undone, on a real server: by an end, a cancel, and with kill -9 in between."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.daemon.test_compensation import all_have
from tests.daemon.test_motions import Witness
from tests.support.daemon import daemon, daemon_process, offered, until
from tests.support.desk import Desk
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

FILE: Final = Path(__file__).parent.parent / "motions" / "bookings.yaml"
STATES: Final = ("A", "B", "C", "D")
MOTIONS: Final = 20


def key(motion: str, state: str) -> str:
    """Return the key of a state's work."""
    return f"{motion}/1/states/{state}/desk.book"


def reverse(motion: str) -> list[str]:
    """Return the keys of a motion in the order in which they are to be undone."""
    return [key(motion, state) for state in reversed(STATES)]


async def test_an_end_that_failed_is_undone_and_shown_by_state(nats_server: NatsServer) -> None:
    """The result, the view and the verification agree; nothing is left at the service."""
    desk, witness = Desk(), Witness()
    async with daemon(nats_server.url, workflows=[FILE], services=[desk.service]) as movant:
        await movant.transport.subscribe("movant.event.bookings.>", witness)
        await movant("run.start", workflow="bookings", id="m")
        await movant.waits("m", "signal")
        by = {"who": "ann", "why": "too dear"}
        await movant("run.signal", id="m", name="stop", by=by)
        view = await movant.ended("m")
        waited = await movant("run.wait", id="m", timeout_s=1)
        verified = await movant("run.verify", id="m")
        await until(lambda: witness.of("m", "compensated"))

    assert view["status"] == waited["status"] == "compensated"
    assert view["failure"]["kind"] == "STOPPED"
    assert set(view["failure"]["details"]["data"]) == set(STATES)
    assert [(each["path"], each["fate"]) for each in view["steps"]] == [
        (f"/states/{state}/desk.book", "undone") for state in STATES
    ]
    assert view["steps"] == waited["steps"]
    assert desk.order == reverse("m")
    assert desk.booked == set()
    assert verified["findings"] == []


async def test_a_cancel_in_the_middle_of_a_state_waits_and_undoes(nats_server: NatsServer) -> None:
    """What is in flight happens after the cancel, and is undone first."""
    desk = Desk()
    async with daemon(nats_server.url, workflows=[FILE], services=[desk.service]) as movant:
        await movant("run.start", workflow="bookings", id="m")
        await movant.waits("m", "signal")
        await movant("run.signal", id="m", name="late")
        await movant.view_when("m", lambda view: view["state"].get("state") == "LATE")
        await movant("run.cancel", id="m", reason="enough")
        desk.hold.set()
        view = await movant.ended("m")

    assert (view["status"], view["failure"]["kind"]) == ("compensated", "cancelled")
    assert desk.order == ["m/1/states/LATE/desk.slow", *reverse("m")]
    assert desk.booked == set()


async def test_a_daemon_that_is_killed_while_it_undoes_goes_on_where_it_was(
    nats_server: NatsServer,
) -> None:
    """The undo that was under way is asked again with its key; none is done twice."""
    desk = Desk()
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=[FILE]) as (process, api),
    ):
        await api("run.start", workflow="bookings", id="m")
        await api.waits("m", "signal")
        desk.go = trio.Event()
        await api("run.signal", id="m", name="stop")
        await until(lambda: desk.cancels)
        process.kill()
        desk.go.set()
        await until(lambda: desk.order)
        process.start()
        view = await api.ended("m")
        verified: Any = await api("run.verify", id="m")

    assert view["status"] == "compensated"
    assert desk.order == reverse("m")
    assert set(desk.undone.values()) == {1}
    assert verified["findings"] == []


async def killed(process: Any, chance: random.Random) -> None:
    """Kill a daemon at a few random moments, and start it again."""
    for _ in range(3):
        await trio.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        process.start()


@pytest.mark.slow
async def test_daemons_that_are_killed_again_and_again_undo_every_state_once(
    nats_server: NatsServer,
) -> None:
    """At random moments of states and undos; every motion is undone in its order."""
    desk = Desk()
    chance = random.Random(7)  # noqa: S311 - a seed that replays it
    ids = [f"k{n}" for n in range(MOTIONS)]
    async with (
        offered(nats_server.url, desk.service),
        daemon_process(nats_server.url, workflows=[FILE]) as (process, api),
    ):
        await api("run.start_many", workflow="bookings", items=[{"id": each} for each in ids])
        await killed(process, chance)
        for each in ids:
            await api.waits(each, "signal")
        await api("run.signal_many", name="stop", items=[{"id": each} for each in ids])
        await killed(process, chance)
        await all_have(api, "compensated", MOTIONS)

    assert desk.booked == set()
    assert set(desk.done.values()) == set(desk.undone.values()) == {1}
    assert len(desk.undone) == MOTIONS * len(STATES)
    for each in ids:
        assert [k for k in desk.order if k.startswith(f"{each}/")] == reverse(each)
