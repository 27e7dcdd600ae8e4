"""Runs beyond a limit wait for their turn: whoever starts them, over restarts and daemons."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import trio

from actors.owning import passivation
from runtime.client.client import Client
from runtime.why import why
from tests.support.daemon import Api, daemon, plainly, until
from tests.support.nats import NatsServer
from tests.support.shop import Shop

pytestmark = pytest.mark.server

HOUSE: Final = """
name: house
limits: {max_active: 2}
steps:
  plan: {signal: go}
outputs: {got: "{{steps.plan.result}}"}
"""
STREET: Final = """
name: street
steps:
  build: {child: house, params: {}}
outputs: {got: "{{steps.build.result.got}}"}
"""


def written(tmp_path: Path) -> list[Path]:
    """Return the files of the workflows."""
    files = []
    for name, text in (("house", HOUSE), ("street", STREET)):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(text)
    return files


async def standing(client: Client) -> dict[str, Any]:
    """Return the status of each run of the limited workflow, by id."""
    page = await client.list(workflow="house")
    return {row.id: row.status for row in page.runs}


async def stand(client: Client, **wanted: str) -> None:
    """Wait until runs stand as wanted."""
    found: dict[str, Any] = {}
    with trio.move_on_after(15):
        while True:
            found = await standing(client)
            if all(found.get(run) == status for run, status in wanted.items()):
                return
            await trio.sleep(0.05)
    raise AssertionError(found)


async def test_runs_wait_in_order_whoever_starts_them_and_however_often_daemons_die(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started by the API, by a plain message and by a parent; some leave memory meanwhile."""
    monkeypatch.setattr(passivation, "IDLE_S", 0.05)
    monkeypatch.setattr(passivation, "COVER_AFTER_S", 0.1)
    files = written(tmp_path)
    async with (
        daemon(nats_server.url, workflows=files) as running,
        Client.connect(nats_server.url) as client,
    ):
        for number in (1, 2):
            await client.start("house", {}, id=f"h{number}")
        await stand(client, h1="running", h2="running")
        told = await client.start("house", {}, id="h3")
        await plainly(nats_server.url, [("movant.to.h4.start.house", b"{}", None)])
        await stand(client, h3="queued", h4="queued")
        await client.start("house", {}, id="h5")
        await client.start("house", {}, id="first", priority=9)
        await client.start("street", {}, id="s1")
        await stand(client, h5="queued", first="queued")
        with trio.fail_after(10):
            while len(await standing(client)) < 7:
                await trio.sleep(0.02)
        (child,) = [run for run in await standing(client) if run[0] not in "hf"]
        await stand(client, **{child: "queued"})
        await client.signal("h4", "go", "early")
        await client.cancel("h5")
        await client.signal("h1", "go", 1)
        await stand(client, h1="completed", h5="cancelled", first="running", h3="queued")
        rows = {row.id: row.waiting for row in (await client.list(workflow="house")).runs}
        view = await client.show("h3")
        sentence = why(view, running.daemon.clock.now_ns()).sentence
        await until(lambda: not {"h3", "h4", child} & set(running.daemon.parts.owner.live))
        running.crash()
    async with (
        daemon(nats_server.url, workflows=files) as running,
        Client.connect(nats_server.url) as client,
    ):
        await client.signal("first", "go", 1)
        await stand(client, first="completed", h3="running", h4="queued", h2="running")
        await client.signal("h2", "go", 1)
        await stand(client, h2="completed", h4="completed", **{child: "running"})
        early = await client.show("h4")
        await client.signal(child, "go", "child")
        ended = await client.wait("s1", timeout_s=15)
        history = (await running("run.history", id="h4"))["entries"]

    assert told.status == "queued"
    assert [rows[run] for run in ("first", "h3", "h4")][1:] == ["turn 1 of 3", "turn 2 of 3"]
    assert "h3 waits for its turn (number 1 of 3 that wait; 2 are active" in sentence
    assert early.result == {"got": "early"}
    assert ended.result == {"got": "child"}
    kinds = [each["kind"] for each in history]
    assert kinds[:3] == ["start", "owner.pinned", "owner.turn"]
    assert history[-1]["kind"] == "owner.turn"


async def test_several_daemons_count_together_and_a_dead_ones_places_are_given_on(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Never more than two are at the shop; one of the daemons dies in the middle."""
    path = tmp_path / "visit.yaml"
    path.write_text(
        "name: visit\nlimits: {max_active: 2}\n"
        "steps: {buy: {service: shop, operation: slow, params: {}}}\n"
    )
    shop = Shop()
    most = 0
    async with (
        daemon(nats_server.url, name="a", workflows=[path], services=[shop.service]) as first,
        daemon(nats_server.url, name="b", workflows=[path]) as second,
    ):
        await until(lambda: len(second.daemon.parts.owner.partitions.owned) == 32)
        for number in range(12):
            api: Api = (first, second)[number % 2]
            await api("run.start", workflow="visit", input={"n": number}, id=f"v{number}")
        with trio.fail_after(30):
            while len(set(shop.keys)) < 12:
                there = {call.key for call in shop.calls} - set(shop.keys)
                most = max(most, len(there))
                if len(there) == 2:
                    shop.hold.set()
                if len(shop.keys) >= 4:
                    second.crash()
                await trio.sleep(0.005)
        for number in range(12):
            await first.ended(f"v{number}")

    assert most == 2
