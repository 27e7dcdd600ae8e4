"""Six workflows of a company against its systems: what works, what fails, and what is undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from examples.enterprise.folder import prepare
from examples.enterprise.services import SERVICES
from examples.enterprise.systems import Memory
from examples.play import Scene, Word
from examples.stage import MOVANT, Stage, free_port
from protocols.api import runs as api

HERE: Final = Path(__file__).parent
WORKFLOWS: Final = ("onboarding", "incident", "pipeline", "invoice", "audit", "lead")
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
ACCEPTED: Final = "APP-1"
"""The finding whose risk the security officer takes."""
TODAY: Final = "2026-11-26"
ROLLBACKS: Final = 2
WELCOMES: Final = 5
INVOICES: Final = (
    "paper",
    "machine",
    "cleaning",
    "stranger",
    "wrong-sum",
    "no-order",
    "damaged",
)


def begin(stage: Stage) -> None:
    """Start the foreign systems, the connectors to them, and the company's own services."""
    folder = stage.folder / "enterprise"
    ports = {"http_port": free_port(), "smtp_port": free_port()}
    connectors = prepare(folder, **ports)
    where = ("--data", str(folder))
    options = ("--http", str(ports["http_port"]), "--smtp", str(ports["smtp_port"]))
    stage.start("enterprise-systems", "examples.enterprise.systems", *where, *options)
    stage.launch(
        "enterprise-connectors",
        *(*MOVANT, "connector", "run", str(connectors)),
        environment=stage.environment,
    )
    module = "examples.enterprise.services"
    stage.start("enterprise-services", module, *SERVICES, *where, "--nats", stage.url)


async def play(scene: Scene) -> None:
    """Start all cases side by side, decide at gates, and look at results and systems."""
    await scene.register(*(HERE / "workflows" / f"{name}.yaml" for name in WORKFLOWS))
    await scene.ended(await start(scene), decide)
    expect(scene)
    # What was there before must not be done again: the same file, and the same invoice.
    again = await scene.start("enterprise.pipeline", "etl-again", {"file": "orders.csv"})
    twice = await scene.start("enterprise.invoice", "invoice-again", {"file": "paper.pdf"})
    second = await scene.start("enterprise.invoice", "invoice-second", {"file": "second.pdf"})
    late = {**cases("leads")["hot"], "lead": "L-9"}
    over = await scene.start("enterprise.lead", "lead-over-budget", late)
    await scene.ended([again, twice, second, over], decide)
    scene.expect(over, "completed", enriched=False, nurtured="done")
    scene.expect(again, "completed", outcome="partial")
    scene.expect(twice, "failed", kind="duplicate")
    scene.expect(second, "compensated", kind="not_open")  # posted, and taken back
    await look(scene)


async def start(scene: Scene) -> list[str]:
    """Start all runs."""
    runs = []
    for name, given in cases("customers").items():
        profile = "dev" if name == "sandbox" else "production"
        trace = f"00-{TRACE}-00f067aa0ba902b7-01" if name == "approved" else ""
        runs.append(
            await scene.start(
                *("enterprise.onboarding", f"customer-{name}", given),
                profile=profile,
                traceparent=trace,
            )
        )
    for name, given in cases("alerts").items():
        runs.append(await scene.start("enterprise.incident", f"alert-{name}", given))
    for name, given in cases("leads").items():
        runs.append(await scene.start("enterprise.lead", f"lead-{name}", given))
    runs.append(await scene.start("enterprise.pipeline", "etl-all", {"file": "orders.csv"}))
    few = {"file": "orders-eur.csv", "rates": "GONE"}
    runs.append(await scene.start("enterprise.pipeline", "etl-no-rates", few))
    runs.append(await scene.start("enterprise.pipeline", "etl-no-file", {"file": "none.csv"}))
    for name in INVOICES:
        given = {"file": f"{name}.pdf"}
        runs.append(await scene.start("enterprise.invoice", f"invoice-{name}", given))
    runs.append(await scene.start("enterprise.audit", "audit", {"today": TODAY}))
    return runs


def cases(name: str) -> dict[str, Any]:
    """Return inputs by the names of their cases."""
    found: dict[str, Any] = json.loads((HERE / "input" / f"{name}.json").read_text())
    return found


def decide(gate: api.GateRow) -> Word | None:
    """Say what the managers, the accountants and the security officer say."""
    match gate.workflow:
        case "enterprise.onboarding":
            if gate.id == "customer-denied":
                return Word("reject", "mia", "not with this credit rating", role="manager")
            return Word("approve", "mia", role="manager")
        case "enterprise.invoice":
            if gate.id == "invoice-stranger":
                return Word("reject", "fay", "nobody knows them", role="finance")
            if gate.id == "invoice-cleaning":
                less = {"amount": "900.00"}
                return Word("modify", "fay", "as ordered", role="finance", values=less)
            return Word("approve", "fay", role="finance")
        case _:
            if gate.title.startswith(ACCEPTED):
                return Word("reject", "sol", "the machine is taken down today", role="security")
            return Word("approve", "sol", role="security")


def expect(scene: Scene) -> None:
    """Say what has to become of each run."""
    done: dict[str, Any] = {"outcome": "success", "by_hand": [], "email": "done"}
    for name in ("startup", "business", "slow-crm"):
        scene.expect(f"customer-{name}", "completed", approval="not needed", **done)
    for name in ("approved", "sandbox"):
        scene.expect(f"customer-{name}", "completed", approval="approve", **done)
    by_hand = ["support portal", "welcome e-mail"]
    scene.expect("customer-by-hand", "completed", outcome="partial", by_hand=by_hand)
    scene.expect("customer-denied", "compensated", kind="rejected")
    scene.expect("customer-failing-billing", "compensated")
    for name in ("too-small", "no-mail"):
        scene.expect(f"customer-{name}", "failed", kind="validation")

    scene.expect("customer-with-card", "failed", kind="compliance")

    def alert(name: str, severity: str, status: str, *, escalated: bool, **more: Any) -> None:
        told: dict[str, Any] = {
            "severity": severity,
            "remediation_status": status,
            "escalated": escalated,
        }
        scene.expect(f"alert-{name}", "completed", **told, **more)

    alert("paged", "high", "escalated", escalated=True, auto_resolved=False)
    alert("critical", "critical", "escalated", escalated=True)
    alert("mended", "medium", "success", escalated=False, auto_resolved=True)
    alert("not-mended", "medium", "failed", escalated=True)
    alert("no-pattern", "low", "escalated", escalated=True)
    alert("blind", "low", "success", escalated=False, missing=["metrics"])

    scene.expect("etl-all", "completed", outcome="partial", loaded=4, missing=[], notified="done")
    scene.expect("etl-no-rates", "completed", outcome="partial", loaded=1, missing=["rates"])
    scene.expect("etl-no-file", "failed", kind="not_found")

    scene.expect("invoice-paper", "completed", amount="480.00", approved_by=None, differences=[])
    scene.expect("invoice-machine", "completed", amount="18400.00", approved_by="fay")
    scene.expect("invoice-cleaning", "completed", amount="900.00", approved_by="fay")
    scene.expect("invoice-wrong-sum", "failed", kind="validation")
    scene.expect("invoice-stranger", "failed", kind="rejected")
    scene.expect("invoice-no-order", "failed", kind="no_order")
    scene.expect("invoice-damaged", "failed", kind="unreadable")

    counts = {"critical": 3, "high": 4, "medium": 1, "low": 2}
    scene.expect("audit", "completed", counts=counts, passed=False, tickets=["done"] * 2)

    scene.expect("lead-hot", "completed", grade="hot", owner="dach")
    scene.expect("lead-warm", "completed", grade="warm", nurtured="done")
    scene.expect("lead-cold", "completed", grade="cold", nurtured="skipped")
    scene.expect("lead-unknown", "completed", grade="warm", enriched=False)


async def look(scene: Scene) -> None:
    """Look into the systems: what was undone is gone, what stands was done once."""
    memory = Memory(scene.stage.folder / "enterprise")

    def one(sql: str, *values: str) -> Any:
        return memory.rows(sql, *values)[0][0]

    standing = {
        (collection, json.loads(body).get("name") or json.loads(body).get("customer"))
        for collection, body in memory.rows(
            "SELECT collection, body FROM objects WHERE deleted = 0 AND id != '' "
            "AND collection LIKE '%/accounts'"
        )
    }
    kept = ("Tiny Tools", "Middle Works", "Acme Corp", "Slow Company", "No Portal")
    wanted = {(f"{system}/accounts", name) for name in kept for system in ("crm", "billing")}
    wanted |= {(f"sandbox-{system}/accounts", "Acme Sandbox") for system in ("crm", "billing")}
    scene.check(standing == wanted, f"accounts that differ: {sorted(standing ^ wanted)}")

    of_one = "SELECT count(*) FROM calls WHERE key LIKE 'customer-approved/%'"
    carried = one(f"{of_one} AND trace LIKE ?", f"%{TRACE}%")
    scene.check(carried == one(of_one) > 0, f"only {carried} calls carried their trace")
    rollbacks = one("SELECT count(*) FROM objects WHERE body LIKE '%#sales%'")
    scene.check(rollbacks == ROLLBACKS, f"the sales team heard of {rollbacks} rollbacks")
    urgent = one('SELECT count(*) FROM objects WHERE body LIKE \'%"urgency": "high"%\'')
    scene.check(urgent == 1, f"{urgent} urgent pages, not one")
    welcomes = one("SELECT count(*) FROM letters WHERE subject LIKE 'Welcome%'")
    scene.check(welcomes == WELCOMES, f"{welcomes} letters of welcome")
    shown = str(scene.views["customer-approved"].input)
    scene.check("john@" not in shown, "the API shows an address that is sensitive")
    files = {each.name for each in await scene.client.artifacts("audit")}
    scene.check(files == {"report.md"}, f"the audit has kept {sorted(files)}")
