"""The company end to end: real systems, connectors and services, and a daemon that is killed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from examples.enterprise.folder import prepare
from examples.enterprise.lifecycle import of_run
from examples.enterprise.play import HERE, TODAY, TRACE, cases
from examples.enterprise.services import SERVICES
from examples.enterprise.systems import Memory
from examples.stage import free_port
from movant import Client, RefusedError
from protocols.errors import MovantError
from tests.support.daemon import Api, Process, daemon_process
from tests.support.nats import NatsServer

SEEN_S_MAX: Final = 90.0
NAMES: Final = ("onboarding", "incident", "pipeline", "invoice", "audit")
FILES: Final = [HERE / "workflows" / f"{name}.yaml" for name in NAMES]


@contextmanager
def company(folder: Path, url: str) -> Iterator[None]:
    """Run the systems, the connectors and the services as processes."""
    ports = {"http_port": free_port(), "smtp_port": free_port()}
    connectors = prepare(folder, **ports)
    systems = ("--http", str(ports["http_port"]), "--smtp", str(ports["smtp_port"]))
    module = "examples.enterprise"
    where = ("--data", str(folder))
    with ExitStack() as running:
        for command in (
            ("-m", f"{module}.systems", *where, *systems),
            ("-m", "runtime", "connector", "run", str(connectors), "--nats", url),
            ("-m", f"{module}.services", *SERVICES, *where, "--nats", url),
        ):
            process = Process(*command)
            running.callback(process.close)
            process.start()
        yield


async def seen(movant: Api, run: str, holds: Callable[[Any], object]) -> Any:
    """Return the view of a run when something holds of it: on a busy machine that takes time."""
    with trio.fail_after(SEEN_S_MAX):
        while True:
            with suppress(MovantError):
                view = await movant("run.show", id=run)
                if holds(view):
                    return view
            await trio.sleep(0.05)


def at_gates(count: int) -> Callable[[Any], bool]:
    """Return what holds of a run that waits at so many gates."""
    return lambda view: sum(each["kind"] == "gate" for each in view["waiting"]) >= count


async def decide(movant: Api, run: str, do: str, role: str) -> None:
    """Decide at a gate as soon as it is open."""
    await seen(movant, run, at_gates(1))
    await movant("gate.decide", id=run, do=do, role=role, by={"who": "mia", "why": "so be it"})


@pytest.mark.server
async def test_a_company_and_a_daemon_that_is_killed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Nothing is done twice, what is undone is gone, and a run tells its life in six stages."""
    customers, alerts = cases("customers"), cases("alerts")
    trace = f"00-{TRACE}-00f067aa0ba902b7-01"
    runs = {
        "approved": ("onboarding", customers["approved"]),
        "denied": ("onboarding", customers["denied"]),
        "broken": ("onboarding", customers["failing-billing"]),
        "mended": ("incident", alerts["mended"]),
        "etl": ("pipeline", {"file": "orders.csv"}),
        "etl-again": ("pipeline", {"file": "orders.csv"}),
        "paper": ("invoice", {"file": "paper.pdf"}),
        "audit": ("audit", {"today": TODAY}),
    }
    async with daemon_process(nats_server.url, workflows=FILES) as (running, movant):
        with company(tmp_path, nats_server.url):
            for run, (name, given) in runs.items():
                await movant(
                    *("run.start",),
                    workflow=f"enterprise.{name}",
                    input=given,
                    id=run,
                    traceparent=trace,
                )
            begun = ("running", "done")
            await seen(movant, "broken", lambda view: view["state"].get("steps.crm") in begun)
            running.kill()
            await trio.sleep(0.1)
            running.start()
            await movant.ready()
            await decide(movant, "approved", "approve", "manager")
            await decide(movant, "denied", "reject", "manager")
            await seen(movant, "audit", at_gates(3))
            for gate in ("enforce.0", "enforce.1", "enforce.2"):
                by = {"who": "sol"}
                await movant(
                    "gate.decide", id="audit", gate=gate, do="approve", role="security", by=by
                )
            views = {
                run: await seen(movant, run, lambda view: view["finished_at"]) for run in runs
            }
            with pytest.raises(RefusedError, match="no W3C traceparent"):
                await movant(
                    "run.start", workflow="enterprise.audit", input={"today": ""}, traceparent="no"
                )
            async with Client.connect(nats_server.url) as client:
                told = await of_run(client, "broken")

    memory = Memory(tmp_path)
    standing = {json.loads(body)["name"] for body in accounts(memory, "crm")}
    assert {run: view["status"] for run, view in views.items()} == {
        **dict.fromkeys(runs, "completed"),
        "denied": "compensated",
        "broken": "compensated",
    }, views
    assert views["denied"]["failure"]["kind"] == "rejected"
    assert standing == {"Acme Corp"}
    assert [json.loads(body)["customer"] for body in accounts(memory, "billing")] == ["Acme Corp"]
    assert "john@" not in json.dumps(views["approved"])
    assert {each for (each,) in memory.rows("SELECT DISTINCT trace FROM calls")} != {""}
    assert memory.rows("SELECT count(*) FROM calls WHERE trace NOT LIKE ?", f"%{TRACE}%") == [(0,)]
    assert views["mended"]["result"]["auto_resolved"]
    restarts = (tmp_path / "estate" / "prod-web-02" / "restarts.log").read_text().splitlines()
    assert len(restarts) == 1
    assert TRACE in restarts[0]
    assert not [*(tmp_path / "estate" / "prod-web-02" / "cache").iterdir()]
    assert rows(tmp_path / "warehouse.db", "select count(*) from sales") == [(4,)]
    assert rows(tmp_path / "ledger.db", "select invoice, amount from postings") == [
        ("PP-2211", "480.00")
    ]
    tickets = rows(tmp_path / "tickets.db", "select id from tickets where id like 'SEC-%'")
    assert tickets == [("SEC-ACC-1",), ("SEC-APP-1",), ("SEC-SSH-1",)]
    comments = rows(tmp_path / "tickets.db", "select ticket, text from comments")
    assert [ticket for ticket, _ in comments] == ["INC-12350"]
    assert "Restarted service on prod-web-02" in comments[0][1]
    stages = [each.stage.value for each in told]
    assert [*dict.fromkeys(stages)] == [
        *("INITIALIZE", "PLAN", "ROUTE", "EXECUTE", "AGGREGATE", "COMPLETE"),
    ]
    assert told[1].data["steps"][:3] == ["validate", "plan", "announce"]
    assert told[-2].data["steps"]["crm"] == "undone"  # the partial result
    assert told[-1].data["mode"] == "SYSTEM_NETWORK"
    assert {"step": "crm", "status": "undone"} in [each.data for each in told]


def accounts(memory: Memory, system: str) -> list[str]:
    """Return the accounts of a system that stand."""
    found = memory.rows(
        "SELECT body FROM objects WHERE collection = ? AND deleted = 0 AND id != ''",
        f"{system}/accounts",
    )
    return [body for (body,) in found]


def rows(path: Path, sql: str) -> list[Any]:
    """Return what a query finds in a database."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()
