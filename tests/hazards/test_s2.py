"""S2: what nobody knows is never shown as if it had not happened."""

from __future__ import annotations

import pytest

from tests.support.daemon import WORKFLOWS, daemon, offered, until
from tests.support.desk import Desk
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server


async def test_each_outcome_has_a_class_of_its_own_in_the_history(
    nats_server: NatsServer,
) -> None:
    """Refused and failed are the service's word, a timeout is nobody's."""
    shop = Shop()
    shop.failures = 1
    kinds = {}
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        for operation in ("refuse", "flaky", "slow"):
            value = {"operation": operation, "attempts": 1, "timeout_s": 0.2}
            ended = await movant.run("probe.retry", value, id=operation)
            kinds[operation] = ended["failure"]["kind"]
        histories = {each: await movant("run.history", id=each) for each in kinds}

    decided = {
        each: [entry["kind"] for entry in history["entries"] if entry["kind"] != "start"]
        for each, history in histories.items()
    }
    assert kinds == {"refuse": "too_late", "flaky": "busy", "slow": "timeout"}
    assert decided == {"refuse": ["reply"], "flaky": ["reply"], "slow": ["owner.timeout"]}


async def test_a_success_that_comes_too_late_stays_in_the_history(
    nats_server: NatsServer,
) -> None:
    """The step was given up and the effect happened: both are recorded, the outcome stays."""
    shop = Shop()
    async with daemon(nats_server.url, services=[shop.service]) as movant:
        value = {"operation": "slow", "attempts": 1, "timeout_s": 0.2}
        ended = await movant.run("probe.retry", value, id="a")
        shop.hold.set()
        await until(lambda: shop.keys)
        history = await movant("run.history", id="a")
        while len(history["entries"]) < 3:  # the reply is on its way
            history = await movant("run.history", id="a")
        view = await movant("run.show", id="a")

    assert ended["failure"]["kind"] == view["failure"]["kind"] == "timeout"
    assert [each["kind"] for each in history["entries"]] == ["start", "owner.timeout", "reply"]


async def test_what_a_former_owner_may_have_sent_is_refused_as_unknown(
    nats_server: NatsServer,
) -> None:
    """The service is gone after a takeover: attempt 1 may have happened, attempt 2 has not."""
    shop = Shop()
    async with daemon(nats_server.url) as movant, offered(nats_server.url, shop.service):
        value = {"steps": 1, "operation": "slow", "absent": "fail"}
        await movant("run.start", workflow="probe.steps", input=value, id="a")
        await until(lambda: shop.calls)
        movant.crash()
    async with daemon(nats_server.url) as movant:
        await movant.view_when("a", lambda view: view["waiting"][0]["attempt"] > 2)
        history = await movant("run.history", id="a")

    refused = [each["failure"] for each in history["entries"] if each["kind"] == "owner.refused"]
    assert refused[0]["kind"] == refused[1]["kind"] == "no_responders"
    assert refused[0]["unknown"]
    assert not refused[1].get("unknown")


async def test_what_may_still_happen_is_undone_before_it_does(nats_server: NatsServer) -> None:
    """The attempt is lost, its undo overtakes it, and the service refuses the key from then on."""
    desk = Desk()
    trips = WORKFLOWS / "trips.py"
    async with daemon(nats_server.url, workflows=[trips], services=[desk.service]) as movant:
        ended = await movant.run("trips.slow", id="a")
        desk.hold.set()
        history = await movant.view_when("a", lambda view: view["counters"]["late"] == 1)

    assert ended["status"] == history["status"] == "compensated"
    assert [call.undoes for call in desk.cancels] == ["a/1/s"]
    assert desk.refused == {"a/1/s"}
    assert desk.booked == set()
