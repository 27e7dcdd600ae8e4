"""S12: what is addressed to nobody goes to the dead letters, not to a fold."""

from __future__ import annotations

import pytest

from actors.owning.outbox import first_of
from tests.support.daemon import daemon, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw

pytestmark = pytest.mark.server

STRAYS = {
    "movant.to.A": "stray",
    "movant.to.*.x": "stray",
    "movant.to.A.>": "stray",
    "movant.to._x.signal.go": "id",
    "movant.to.$x.signal.go": "id",
    "movant.to.A.noise.x": "kind",
}


async def test_strays_are_dead_letters_with_their_address(nats_server: NatsServer) -> None:
    """Each is kept, with the subject where it stood."""
    async with daemon(nats_server.url) as movant:
        with Raw(nats_server.url) as raw:
            for subject in STRAYS:
                raw.put(subject, b"1")
            await until(lambda: raw.messages("DEAD") == len(STRAYS))
            kept = raw.subjects("DEAD", "movant.dead.>")
        ended = await movant.run("probe.echo", 1)

    assert kept == {"movant.dead.stray": 3, "movant.dead.id": 2, "movant.dead.kind": 1}
    assert ended["status"] == "completed"


async def test_a_second_start_cannot_pass_for_the_first(nats_server: NatsServer) -> None:
    """Headers that only look like the server's proof: the finished run is not run again."""
    async with daemon(nats_server.url) as movant:
        await movant.run("probe.echo", "first", id="a")
        owner = movant.daemon.parts.owner
        await until(lambda: "a" not in owner.live)
        owner.tombstones.finished.clear()
        with Raw(nats_server.url) as raw:
            last = raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"]
            history = await movant("run.history", id="a")
            # The server reads the first of two lines; a reader may find the second.
            lie = f"Nats-Expected-Last-Subject-Sequence: {history['entries'][-1]['seq']}\r\n"
            block = b"NATS/1.0\r\n" + lie.encode() + first_of("a", 64) + b"\r\n"
            raw.publish_with_headers(b"movant.to.a.start.probe.echo", block, b'"second"')
            await until(lambda: raw.ask("$JS.API.STREAM.INFO.MAIL")["state"]["last_seq"] > last)
        await movant("run.signal", id="a", name="go")
        await until(lambda: owner.statistics().backlog == 0)
        view = await movant("run.show", id="a")
        with Raw(nats_server.url) as raw:
            events = raw.subjects("EVENTS", "movant.event.probe-echo.a.>")

    assert view["result"] == "first"
    assert events["movant.event.probe-echo.a.started"] == 1
