"""Updates on a real server: answered across the death of a daemon, and for whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from protocols.api.updates import RunUpdated
from protocols.errors import NotFoundError
from protocols.service import Service
from protocols.updates import OVER
from runtime.client.client import Client
from tests.docs.tables import DOCS
from tests.support.daemon import daemon_process, offered, plainly
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

BASKET = DOCS / "examples" / "basket.py"


async def test_an_accepted_update_is_answered_though_the_daemon_was_killed(
    nats_server: NatsServer,
) -> None:
    """Who waits is told, who sends it again as well, and who asks when the run has ended."""
    url = nats_server.url
    prices = Service("prices")
    prices.operation("of")(lambda item: 7 * item["pieces"])
    answers: list[RunUpdated] = []

    async with (
        daemon_process(url, workflows=[BASKET]) as (process, api),
        Client.connect(url) as client,
        trio.open_nursery() as nursery,
    ):

        async def send(**more: Any) -> None:
            sent = {"name": "nut", "pieces": 2}
            answers.append(await client.update("b-1", "add", sent, message_id="m-1", **more))

        await client.start("basket", 2, id="b-1")
        await send(until="accepted")
        nursery.start_soon(send)
        process.kill()
        process.start()
        await api.ready()
        pending = await client.answer("b-1", "m-1")
        async with offered(url, prices):
            again = await client.update("b-1", "add", "anything", message_id="m-1")
            refused = await client.update("b-1", "add", {"name": "nut"})
            wrong = await client.update("b-1", "add", {"pieces": 1})
            # Any client of NATS: the message alone, and a request that is answered.
            await plainly(
                url,
                [("movant.to.b-1.signal.add", b'{"name": "cog"}', {"Movant-Id": "m-2"})],
            )
            await client.wait("b-1", timeout_s=20)
            plain = await api("run.answer", id="b-1", message_id="m-2", timeout_s=5)
        late = await api("run.update", id="b-1", name="add", data={"name": "bolt"})
        after = await client.answer("b-1", "m-1")
        with pytest.raises(NotFoundError, match="has no message 'm-9'"):
            await client.answer("b-1", "m-9")

    assert answers[0].status == pending.status == "accepted"
    assert again.result == {"price": 14, "items": 1}
    assert answers[1].status == after.status == "completed"
    assert answers[1].result == after.result == again.result
    assert (plain["status"], plain["result"]) == ("completed", {"price": 7, "items": 2})
    told = [(each.status, each.failure and each.failure.message) for each in (refused, wrong)]
    assert told == [
        ("rejected", "nut is in the basket already"),
        ("rejected", "Object missing required field `name`"),
    ]
    assert (late["status"], late["failure"]["message"]) == ("rejected", OVER)
