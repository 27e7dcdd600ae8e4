"""Forks on a real server: runs begin with what others have done, also behind large results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocols.errors import AlreadyExistsError, MovantError, RefusedError
from tests.support.daemon import daemon, offered
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

ORDER = """
name: order
input: {n: {type: any}, times: {type: integer, default: 1}}
steps:
  buy: {service: shop, operation: buy, params: {n: "{{input.n}}"}}
  pack: {service: shop, operation: flaky, needs: buy, retry: {attempts: 1}}
  ship: {service: shop, operation: buy, needs: pack, params: {n: "{{input.times}}"}}
outputs: {paid: "{{steps.buy.result}}", shipped: "{{steps.ship.result}}"}
"""
TRIP = """
import movant

@movant.workflow("trip")
async def trip(ctx: movant.Context, n: int) -> object:
    first = await ctx.call("shop", "buy", {"n": n}, name="first")
    await ctx.call("shop", "flaky", name="second", retry=movant.Retry(attempts=1))
    return first
"""


async def test_a_run_goes_on_where_another_one_has_failed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """What is taken over is asked for once in the world; the same request makes one run."""
    file = tmp_path / "order.yaml"
    file.write_text(ORDER)
    shop = Shop()
    shop.failures = 1
    large = "x" * 300_000
    async with (
        daemon(nats_server.url, workflows=[file]) as movant,
        offered(nats_server.url, shop.service),
    ):
        await movant("run.start", workflow="order", id="o-1", input={"n": large})
        assert (await movant.ended("o-1"))["status"] == "failed"

        plan = await movant("run.fork", id="o-1", step="pack", preview=True)
        wanted: dict[str, Any] = {
            "id": "o-1",
            "step": "pack",
            "new_id": "o-2",
            "changes": {"times": 7},
        }
        forked = await movant("run.fork", **wanted)
        again = await movant("run.fork", **wanted)
        ended = await movant.ended("o-2")
        history = await movant("run.history", id="o-2")
        with pytest.raises(AlreadyExistsError):
            await movant("run.fork", **{**wanted, "changes": {"times": 8}})
        with pytest.raises(RefusedError, match="no step 'send'"):
            await movant("run.fork", id="o-1", step="send")
        with pytest.raises(MovantError, match="does not fit"):
            await movant("run.fork", id="o-1", step="pack", input={"times": 1})
        verified = await movant("run.verify", id="o-2")

    assert [each["what"] for each in plan["steps"]] == ["taken", "again", "waiting"]
    assert (plan["id"], forked["id"], again["id"]) == ("", "o-2", "o-2")
    assert ended["status"] == "completed", ended
    assert ended["result_blob"]["size"] > len(large)
    assert ended["forked_from"]["run"] == "o-1"
    assert ended["steps"] == []
    assert [each["kind"] for each in history["entries"]] == [
        "control.fork",
        "start",
        "reply",
        "reply",
    ]
    assert sorted(shop.keys) == [
        "o-1/1/steps/buy/shop.buy",
        "o-2/1/steps/pack/shop.flaky",
        "o-2/1/steps/ship/shop.buy",
    ]
    assert verified.get("findings", []) == [], verified


async def test_a_fork_of_code_survives_its_daemon(nats_server: NatsServer, tmp_path: Path) -> None:
    """Its mailbox says all that the next owner needs."""
    file = tmp_path / "trip.py"
    file.write_text(TRIP)
    shop = Shop()
    shop.failures = 2
    async with offered(nats_server.url, shop.service):
        async with daemon(nats_server.url, workflows=[file]) as movant:
            await movant("run.start", workflow="trip", id="t-1", input=3)
            await movant.ended("t-1")
            await movant("run.fork", id="t-1", step="second", new_id="t-2")
            assert (await movant.ended("t-2"))["status"] == "failed"
            movant.crash()
        async with daemon(nats_server.url, workflows=[file]) as second:
            await second.ready()
            forked = await second("run.fork", id="t-2", step="/second", new_id="t-3")
            ended = await second.ended("t-3")

    assert ended["result"] == 3
    assert [each["what"] for each in forked["steps"]] == ["taken", "again"]
    assert shop.keys == ["t-1/1/first", "t-3/1/second"]
