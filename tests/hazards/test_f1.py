"""F1: nothing that a header can say has power in MAIL."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

DANGEROUS = {
    "rollup of everything": {"Nats-Rollup": "all"},
    "rollup of a subject": {"Nats-Rollup": "sub"},
    "a schedule into another mailbox": {
        "Nats-Schedule": "@at 2020-01-01T00:00:00Z",
        "Nats-Schedule-Target": "movant.to.victim.control.cancel",
    },
    "a schedule that copies another mailbox": {
        "Nats-Schedule": "@every 1s",
        "Nats-Schedule-Target": "movant.to.thief.signal.go",
        "Nats-Schedule-Source": "movant.to.victim.start.probe.signals",
    },
    "the end of another's timer": {
        "Nats-Schedule-Next": "purge",
        "Nats-Scheduler": "movant.timer.5.victim.t",
    },
    "a time to live": {"Nats-TTL": "1s"},
    "a counter": {"Nats-Incr": "1"},
    "a stream's source": {"Nats-Stream-Source": "TIMERS 1 > >"},
}


async def test_dangerous_headers_are_refused_and_erase_nothing(nats_server: NatsServer) -> None:
    """Each is refused by the stream's settings; the victim's mailbox and timer stand."""
    async with daemon(nats_server.url) as movant:
        await movant("run.start", workflow="probe.signals", input=1, id="victim")
        await movant("run.start", workflow="probe.timeout", input=0.6, id="sleeper")
        await movant.waits("sleeper", "timer")
        with Raw(nats_server.url) as raw:
            before = raw.messages("MAIL")
            answers = {
                name: raw.ask("movant.to.attacker.signal.go", b"1", lines)
                for name, lines in DANGEROUS.items()
            }
            after = raw.messages("MAIL")
        view = await movant("run.show", id="victim")
        slept = await movant.ended("sleeper")

    stored = [name for name, answer in answers.items() if "error" not in answer]
    assert set(stored) <= {"the end of another's timer"}  # stored as a signal, without power
    assert after == before + len(stored)
    assert view["status"] == "running"
    assert slept["result"] == "expired"
