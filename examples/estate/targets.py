"""The targets of the real-estate engine: those that can be measured, measured; the others named.

    python -m examples.estate.targets [--runs 100] [--waiting 1000]

writes docs/estate-targets.md. Daemon, servers and services run on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Final, NamedTuple

import msgspec
import structlog
import trio

from actors.files.connectors import load_document
from actors.files.rules import load_rules
from examples.estate.play import CASES, LEADS, MAY, begin, leads, ready
from examples.estate.world import HERE, World
from examples.play import Scene
from examples.stage import ROOT, on_stage
from protocols.connectors.llm import LlmConnector, LlmRequest
from protocols.guardrails.evaluation import Guard
from protocols.guardrails.guardrail import Guardrail
from protocols.guardrails.sensitive import PERSONAL, SECRETS, found
from runtime.connectors.llm_choice import Experience, known, ranked

PAGE: Final = ROOT / "docs" / "estate-targets.md"
MANY: Final = 1_000_000
ROUNDS: Final = 2_000
AT_ONCE: Final = 20
OUTAGES: Final[tuple[tuple[str, dict[str, list[str]]], ...]] = (
    ("scraper", {"scraper": ["all"]}),
    ("pages", {"site": ["listing"]}),
    ("models", {"models_local": ["all"]}),
    ("account", {"gateway": ["account"]}),
)
ENDS_S: Final = 600.0


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number of the document; ``measured`` tells whether this program finds it."""

    group: str
    name: str
    target: str
    measured: bool
    how: str
    """How it is measured, or why it is out of scope."""


TARGETS: Final = msgspec.yaml.decode((HERE / "targets.yaml").read_bytes(), type=tuple[Target, ...])
MEASURED: Final = tuple(each.name for each in TARGETS if each.measured)


class Rates(NamedTuple):
    """What was told apart of the labelled samples."""

    harmless: int
    wrong: int
    sensitive: int
    missed: int


def rates() -> Rates:
    """Look for personal data and secrets in the labelled samples."""
    lines = (HERE / "input" / "labelled.jsonl").read_text().splitlines()
    samples = [json.loads(each) for each in lines]
    sorts = (*PERSONAL, *SECRETS)
    right = [(bool(found(each["value"], sorts)), each["sensitive"]) for each in samples]
    harmless = [was for was, is_one in right if not is_one]
    sensitive = [was for was, is_one in right if is_one]
    return Rates(len(harmless), sum(harmless), len(sensitive), sensitive.count(False))


def page(values: Mapping[str, str]) -> str:
    """Return the page, with what was measured."""
    rows = [
        f"| {each.group} | {each.name} | {each.target} | {values[each.name]} | {each.how} |"
        for each in TARGETS
        if each.measured
    ]
    rest = [
        f"| {each.group} | {each.name} | {each.target} | {each.how} |"
        for each in TARGETS
        if not each.measured
    ]
    return "\n".join(
        (
            "# Targets of the real-estate engine",
            "",
            "The design of [examples/estate](../examples/estate/README.md) promises numbers.",
            "`python -m examples.estate.targets` measures those that can be measured, with",
            "daemon, servers and services on one machine, and writes this page.",
            "",
            "| group | name | target | measured | how |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "## Out of scope",
            "",
            "| group | name | target | why |",
            "|---|---|---|---|",
            *rest,
            "",
        )
    )


def pure() -> dict[str, str]:
    """Measure what needs no daemon."""
    settings = load_document(HERE / "connectors.yaml").value
    assert settings is not None
    connector = settings.connectors["models"]
    assert isinstance(connector, LlmConnector)
    models = known(connector.providers)
    experience = {each.id: Experience(float(each.model.latency)) for each in models}
    request = LlmRequest(prompt="x", task_type="trend-analysis", min_context_window=8_192)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        ranked(models, experience, request, connector.prefer)
    selection_s = (time.perf_counter() - began) / ROUNDS

    shared = load_rules(HERE / "guardrails.yaml").guardrails
    guards = [Guard(name, rule) for name, rule in shared.items() if rule.type != "rate-limit"]
    owners = json.loads((HERE / "input" / "owners.json").read_text())
    some = [{"parcel": name, "owner": owner} for name, owner in owners.items()]
    facts = {
        "params": {"contacts": some, "leads": some, "metadata": {}, "qualificationCriteria": {}},
        "input": CASES["riverton"],
        "steps": {},
        "run": {"id": "r"},
        "step": {"name": "s", "service": "mobile", "operation": "send_imessage"},
    }
    rounds = ROUNDS // 20
    began = time.perf_counter()
    for _ in range(rounds):
        for guard in guards:
            guard.check("before", facts)
    rules_s = (time.perf_counter() - began) / rounds
    seen = rates()
    caught = seen.sensitive - seen.missed
    return {
        "selectionTime": f"{1000 * selection_s:.3f} ms",
        "evaluationTime": f"{1000 * rules_s:.2f} ms for {len(guards)} rules",
        "falsePositiveRate": f"{seen.wrong / seen.harmless:.1%} ({seen.wrong} of {seen.harmless})",
        "violationPrevention": f"{caught / seen.sensitive:.1%} ({caught} of {seen.sensitive})",
    }


async def measure(runs: int, waiting: int) -> dict[str, str]:
    """Measure what needs a daemon and all that the example has."""
    with on_stage("movant-targets-") as stage:
        stage.start_daemon()
        world = World(stage.folder / "estate")
        async with stage.client() as client:
            begin(stage)
            scene = Scene(stage, client)
            limit = {
                name: Guardrail(type="rate-limit", max_calls=MANY, window="1d")
                for name in ("daily-lead-limit", "communication-limits", "rate-limit")
            }
            await ready(scene, limit)
            values = await batch(scene, world, runs)
            values |= await outages(scene, world)
            values |= await crowd(scene, waiting)
            for problem in scene.wrong:
                print(f"WRONG: {problem}", file=sys.stderr)
            return values


async def batch(scene: Scene, world: World, runs: int) -> dict[str, str]:
    """Play many runs when all is well, some at a time."""
    await scene.ended([await leads(scene, "first", "riverton")])  # what is opened at first use
    pid = scene.stage.pid("daemon")
    began, cpu_s = trio.current_time(), processor_s(pid)
    for first in range(0, runs, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, runs))
        ids = [await leads(scene, f"batch-{number}", "riverton") for number in numbers]
        await scene.ended(ids, seconds=ENDS_S)
    took_s = trio.current_time() - began
    used_s = processor_s(pid) - cpu_s
    views = [scene.views[f"leads-batch-{number}"] for number in range(runs)]
    done = [each for each in views if each.status == "completed"]
    mean_s = fmean((each.finished_at - each.started_at) / 1e9 for each in views)
    results = [each.result for each in done if isinstance(each.result, Mapping)]
    others = sum(
        (each["analysis"] != "llama3.1:8b") + (each["judge"] != "deepseek-r1:32b")
        for each in results
    )
    gates = sum(row.gates for row in scene.rows() if row.workflow == LEADS)
    steps, asked = len(done) * 6, len(results) * 2
    right, rows = accurate(world)
    cores = os.cpu_count() or 1
    return {
        "averageTime": f"{mean_s:.2f} s ({AT_ONCE} at once)",
        "successRate": f"{len(done) / runs:.1%} ({len(done)} of {runs})",
        "throughput": f"{3600 * runs / took_s:,.0f} an hour",
        "resourceUtilization": f"{used_s / took_s / cores:.0%} of {cores} cores",
        "fallbackRate": f"{others / max(1, asked):.1%} ({others} of {asked})",
        "userInterventionRate": f"{gates / runs:.1%}",
        "dailyTransactions": f"{86_400 * steps / took_s:,.0f} a day",
        "dataAccuracy": f"{right / max(1, rows):.1%} ({right} of {rows} rows)",
    }


async def outages(scene: Scene, world: World) -> dict[str, str]:
    """Play one run while each part is down."""
    took: list[float] = []
    done = 0
    for name, off in OUTAGES:
        world.switch(**off)
        run = await leads(scene, f"without-{name}", "riverton")
        await scene.ended([run])
        world.switch(**{part: [] for part in off})
        view = scene.views[run]
        took.append((view.finished_at - view.started_at) / 1e9)
        done += view.status == "completed"
    return {
        "recoveryTime": f"{max(took):.1f} s",
        "successRate (fallbacks)": f"{done / len(OUTAGES):.0%} ({done} of {len(OUTAGES)})",
    }


async def crowd(scene: Scene, waiting: int) -> dict[str, str]:
    """Let many runs wait at a gate at the same time."""
    async with trio.open_nursery() as nursery:
        for worker in range(AT_ONCE):
            nursery.start_soon(partial(_crowd, scene, range(worker, waiting, AT_ONCE)))
    there = 0

    async def look() -> bool:
        nonlocal there
        there = (await scene.client.gates(workflow=LEADS, limit=1)).total
        return there >= waiting

    await scene.until("many runs that wait", look, ENDS_S)
    return {"concurrentWorkflows": f"{there:,}"}


async def _crowd(scene: Scene, numbers: range) -> None:
    for number in numbers:
        await scene.client.start(
            LEADS, CASES["private"], id=f"waits-{number}", permissions=[MAY[LEADS]]
        )


def accurate(world: World) -> tuple[int, int]:
    """Return how many rows of the CRM have the fields of the input, and how many there are."""
    owners = json.loads((HERE / "input" / "owners.json").read_text())
    listed = json.loads((HERE / "input" / "listings.json").read_text())
    homes = {each["parcel"]: each for each in listed}
    with closing(sqlite3.connect(world.folder / "crm.db")) as crm:
        rows = crm.execute("select parcel, name, phone, email, address from lead").fetchall()
    right = sum(
        (name, phone, mail, address)
        == (*(owners[parcel][key] for key in ("name", "phone", "email")), homes[parcel]["address"])
        for parcel, name, phone, mail, address in rows
    )
    return right, len(rows)


def processor_s(pid: int) -> float:
    """Return how long a process has used a processor (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="Measure the targets of the real-estate engine.")
    parser.add_argument("--runs", type=int, default=100, help="runs of the batch")
    parser.add_argument("--waiting", type=int, default=1_050, help="runs that wait at once")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    values = pure() | trio.run(partial(measure, given.runs, given.waiting))
    PAGE.write_text(page(values))
    print(PAGE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
