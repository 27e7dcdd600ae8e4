"""Homes and emergencies: seven offices as processes, and a daemon killed in the middle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from examples.civic.city import EMERGENCY, HOUSING
from examples.civic.demo import HOSTED, PLAIN
from examples.civic.records import Records
from tests.examples.city import FOLDER, filed
from tests.support.daemon import FINAL, Api, Process, daemon_process
from tests.support.nats import NatsServer

HOMES: Final = ("maple_court", "fen_meadow", "market_row")
EMERGENCIES: Final = ("water_main_break", "gas_leak")
OFFICES: Final = tuple(each for each in (*HOSTED, *PLAIN) if each != "business")
WORK_S: Final = "0.1"
BUSY_S: Final = 90.0
"""Eight processes start at the same time: on a busy machine that takes a while."""


async def when(movant: Api, run: str, holds: Callable[[Any], object]) -> Any:
    """Return the view of a run as soon as something holds of it."""
    with trio.fail_after(BUSY_S):
        while True:
            try:
                return await movant.view_when(run, holds)
            except AssertionError:
                continue


@pytest.mark.long
@pytest.mark.server
async def test_homes_and_emergencies_outlive_a_daemon_that_is_killed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Every run ends as its paper says, nothing is done twice, and what is undone is withdrawn."""
    graphs = [FOLDER / "housing.yaml", FOLDER / "emergency.yaml"]
    async with daemon_process(nats_server.url, workflows=graphs) as (running, movant):
        with ExitStack() as offices:
            for office in OFFICES:
                module = "examples.civic.plain" if office in PLAIN else "examples.civic.hosted"
                process = Process(
                    *("-m", module, office, "--data", str(tmp_path)),
                    *("--nats", nats_server.url, "--work-s", WORK_S),
                )
                offices.callback(process.close)
                process.start()
            for name in HOMES:
                form = filed("developments", name)
                await movant("run.start", workflow=HOUSING, input=form, id=name)
            for name in EMERGENCIES:
                form = filed("emergencies", name)
                await movant("run.start", workflow=EMERGENCY, input=form, id=name)
            await when(
                movant,
                "market_row",
                lambda view: view["state"].get("steps.preliminary_plat") == "done",
            )
            running.kill()
            running.start()
            await movant.ready(BUSY_S)
            views = {
                name: await when(movant, name, lambda view: view["status"] in FINAL)
                for name in (*HOMES, *EMERGENCIES)
            }
            numbers = await movant("stats", workflow=HOUSING)

    assert {name: view["status"] for name, view in views.items()} == {
        "maple_court": "completed",
        "fen_meadow": "failed",
        "market_row": "compensated",
        "water_main_break": "completed",
        "gas_leak": "completed",
    }, views
    assert numbers["workflows"][0]["outcomes"] == {"completed": 1, "failed": 1, "compensated": 1}
    assert {each["kind"] for each in numbers["failures"]} == {"wetlands_refused", "roads_refused"}
    asked = {each["operation"]: each["requests"] for each in numbers["services"]}
    assert asked["certificates-occupancy"] == 7
    assert len(set(views["maple_court"]["result"]["certificates"])) == 7
    assert views["maple_court"]["result"]["total_fees"] == 19590
    assert views["market_row"]["failure"]["kind"] == "roads_refused"
    assert views["gas_leak"]["result"]["recovery_timeline"] == "12 hours"
    found = {each: Records(tmp_path / f"{each}.sqlite").statistics() for each in OFFICES}
    assert all(each.done_twice == 0 for each in found.values()), found
    assert {name: each.withdrawn for name, each in found.items() if each.withdrawn} == {
        "permits": 4,
        "utilities": 1,
    }
