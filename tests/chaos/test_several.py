"""A short series with three daemons; ``python -m tests.chaos --several`` does many rounds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from tests.chaos.several import Outcome, independently, run, table
from tests.chaos.stored import Recorder
from tests.daemon.test_retention import by_hand, collected, passivate
from tests.support.daemon import Running, daemon, offered, until
from tests.support.nats import NatsServer
from tests.support.raw import Raw
from tests.support.shop import Shop

pytestmark = pytest.mark.server

FAULTS = ("kill", "freeze", "drain", "server")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_several_daemons_lose_nothing_under_faults(nats_binary: str) -> None:
    """All ends as it has to; nothing is folded otherwise, nor asked more often than it may be."""
    outcome: Outcome = trio.run(partial(run, 4, nats_binary, daemons=3, faults=FAULTS, count=17))

    assert outcome.findings == [], "\n".join(
        [table(outcome), *outcome.notes, outcome.log[-5_000:]]
    )
    assert outcome.faults.total() == len(FAULTS)
    assert outcome.verified.instances == outcome.verified.finished > 4 * 17
    assert outcome.tally.attempts > 4 * 17
    assert outcome.verified.first > 1
    assert outcome.verified.bundles > 0
    assert outcome.verified.recorded
    assert outcome.verified.missed == 0


async def test_the_fold_check_finds_what_is_wrong(nats_server: NatsServer) -> None:
    """It is silent about a right history, and not about one that was doctored."""
    shop = Shop()
    async with offered(nats_server.url, shop.service), daemon(nats_server.url) as running:
        await running("run.start", workflow="probe.steps", id="a", input=STEPS)
        await until(lambda: shop.calls)
        refuse_in_the_name_of_a_former_owner(nats_server.url, running)
        shop.hold.set()
        ended = await running.ended("a")
        history = (await running("run.history", id="a"))["entries"]
        reply = next(each["seq"] for each in history if each["kind"] == "reply")

        right = await independently(nats_server.url)
        shortened = await independently(nats_server.url, "--leave-out", str(reply))
        unfenced = await independently(nats_server.url, "--ignore", "markers")

    assert ended["status"] == "completed"
    assert (right.findings, right.finished, right.void) == ([], 1, 1)
    assert any("state_hash is" in each for each in shortened.findings), shortened
    assert any("archived, and by its mailbox" in x for x in shortened.findings)
    assert any("'failed', and 'completed' for the daemons" in x for x in unfenced.findings)


async def test_the_fold_check_reads_what_was_collected(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """From packs and bundles the folds are those of all that ever stood there."""
    shop = Shop()
    record, recorder = tmp_path / "record", Recorder()
    async with (
        offered(nats_server.url, shop.service),
        daemon(nats_server.url, **by_hand()) as running,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(recorder.run, running.transport)
        await running.run("probe.steps", {"steps": 2}, id="done")
        await running("run.start", workflow="probe.signals", input=2, id="open")
        await running("run.signal", id="open", name="go", data=1)
        await running.view_when("open", lambda view: view["state"] == {"seen": 1})
        await passivate(running, "open")
        await collected(running, "open")
        await recorder.write(running.transport, record)
        history = (await running("run.history", id="done"))["entries"]
        reply = next(each["seq"] for each in history if each["kind"] == "reply")

        left = await independently(nats_server.url)
        whole = await independently(nats_server.url, "--record", str(record))
        shortened = await independently(
            nats_server.url, "--record", str(record), "--leave-out", str(reply)
        )
        blind = await independently(nats_server.url, "--ignore", "copies")
        nursery.cancel_scope.cancel()

    assert (left.findings, whole.findings) == ([], [])
    assert left.first > reply
    assert left.packs > 0
    assert left.bundles > 0
    assert (left.recorded, whole.recorded, whole.missed) == (False, True, 0)
    assert left.instances == whole.instances > 40
    assert any(each.startswith("done: state_hash is") for each in shortened.findings)
    assert "done: archived, and has no mailbox" in blind.findings


STEPS: dict[str, Any] = {"steps": 2, "operation": "slow"}


def refuse_in_the_name_of_a_former_owner(url: str, running: Running) -> None:
    """Write a decision that is void: its epoch is over."""
    actor = running.daemon.parts.owner.live["a"]
    ask = next(iter(actor.asks.values())).ask
    failure = {"kind": "closed", "message": "void", "retryable": False}
    body = {"epoch": 0, "step": ask.step, "attempt": ask.attempt, "failure": failure}
    with Raw(url) as raw:
        assert raw.ask("movant.to.a.owner.refused", msgspec.json.encode(body))["seq"]
