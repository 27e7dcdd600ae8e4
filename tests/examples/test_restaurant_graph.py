"""The restaurant as a graph: seven offices as processes, and a daemon killed in the middle."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from actors.files.definitions import load_document
from actors.graphs.interpreter import GraphWorkflow
from examples import civic
from examples.civic.demo import HOSTED, PLAIN
from examples.civic.offices import OPENING as OFFICES
from examples.civic.records import Records
from examples.civic.restaurant import restaurant
from protocols.graphs.graph import Graph
from tests.support.daemon import Process, daemon_process
from tests.support.nats import NatsServer

FOLDER: Final = Path(civic.__file__).parent
GRAPH: Final = FOLDER / "restaurant.yaml"
WORKFLOW: Final = "civic.restaurant.graph"
WORK_S: Final = "0.2"


def application(name: str) -> Any:
    """Return one of the example's applications."""
    return json.loads((FOLDER / "applications" / f"{name}.json").read_text())


def test_the_graph_asks_what_offices_offer_and_takes_what_the_code_takes() -> None:
    """Every operation is one of the rules, every field of the input one of the Struct."""
    document = load_document(GRAPH)
    assert isinstance(document.value, Graph)

    offered = {(office, name) for office, rules in OFFICES.items() for name in rules}
    asked = {(step.service, step.operation) for step in document.value.steps.values()}
    fields = GraphWorkflow(document.value).input_schema()["$defs"]["Input"]["properties"]
    expected = restaurant.input_schema()["$defs"]["Application"]["properties"]

    assert document.problems == []
    assert asked == offered
    assert fields.keys() == expected.keys()


@pytest.mark.server
async def test_seven_offices_and_a_daemon_that_is_killed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Three applications end as they should, and no office has worked on a key twice."""
    async with daemon_process(nats_server.url, workflows=[GRAPH]) as (running, movant):
        with ExitStack() as offices:
            for office in (*HOSTED, *PLAIN):
                module = "examples.civic.plain" if office in PLAIN else "examples.civic.hosted"
                process = Process(
                    *("-m", module, office, "--data", str(tmp_path)),
                    *("--nats", nats_server.url, "--work-s", WORK_S),
                )
                offices.callback(process.close)
                process.start()
            for name in ("simple", "alcohol_and_renovation", "refused_by_zoning"):
                await movant("run.start", workflow=WORKFLOW, input=application(name), id=name)
            await movant.view_when(
                "simple", lambda view: view["state"].get("steps.zoning_check") == "running"
            )
            running.kill()
            await trio.sleep(0.1)
            running.start()
            await movant.ready()
            views = {
                name: await movant.ended(name)
                for name in ("simple", "alcohol_and_renovation", "refused_by_zoning")
            }

    results = {name: view.get("result") for name, view in views.items()}
    assert results["simple"]["permit"] == "BOP-simple", views["simple"]
    assert results["simple"]["obtained"]["building_permit"] is None
    assert results["alcohol_and_renovation"]["permit"] == "BOP-alcohol_and_renovation"
    assert all(results["alcohol_and_renovation"]["obtained"].values())
    refused = results["refused_by_zoning"]
    assert (refused["permit"], refused["approval"]) == (None, "skipped")
    assert "lies in the district Residential" in refused["refused"]["zoning_check"]
    assert refused["obtained"]["business_license"]
    for office in (*HOSTED, *PLAIN):
        assert Records(tmp_path / f"{office}.sqlite").statistics().done_twice == 0
