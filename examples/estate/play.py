"""Leads and markets, when all is well, when each part fails, and when a rule does not hold."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from actors.files.rules import load_rules
from examples.estate.world import HERE, World, components
from examples.play import Scene, Word
from examples.stage import Stage
from movant import RefusedError
from protocols.api import runs as api
from protocols.guardrails.guardrail import Guardrail

LEADS: Final = "real-estate-lead-generation"
MARKET: Final = "market-analysis"
START: Final = "estate-start"
MAY: Final = {LEADS: "lead-generation:execute", MARKET: "market-analysis:execute"}
HOOK: Final = "/api/trigger-lead-generation"
SCHEDULE: Final = f"{LEADS}-schedule"
LIMIT: Final = 60
"""Leads of a day: that of the rule ``daily-lead-limit``."""
CROWD: Final = 14
"""Runs at once that bring the leads of the day above the limit."""
CASES: Final[dict[str, Any]] = json.loads((HERE / "input" / "cases.json").read_text())


def begin(stage: Stage) -> None:
    """Start what starts the components."""
    folder = stage.folder / "estate"
    World(folder)
    words = ("--data", str(folder), "--nats", stage.url)
    stage.start("estate-starter", "examples.estate.starter", *words)


async def play(scene: Scene) -> None:
    """Start the components, then play the cases."""
    world = World(scene.stage.folder / "estate")
    before = (await scene.client.guardrails()).guardrails
    await ready(scene)
    await calm(scene, world)
    await outages(scene, world)
    await markets(scene, world)
    await rules(scene, world)
    await scene.client.share_guardrails(before)  # those of other examples are their own business


async def ready(scene: Scene, changed: Mapping[str, Guardrail] | None = None) -> None:
    """Share the rules, register the workflows, and start all components in their order."""
    shared = load_rules(HERE / "guardrails.yaml").guardrails
    await scene.client.share_guardrails({**shared, **(changed or {})})
    names = ("start", "lead-generation", "market-analysis")
    await scene.register(*(HERE / "workflows" / f"{name}.yaml" for name in names))
    given = {stage: [each.name for each in there] for stage, there in components().items()}
    await scene.ended([await scene.start(START, "estate-components", given)])
    view = scene.views["estate-components"]
    scene.expect("estate-components", "completed")
    result: Any = view.result or {}
    replaced = [each for each in result.get("mcp", ()) if each and each.get("replaced")]
    wanted = [{"component": "reengine-vertexai", "runs": "reengine-llama", "replaced": True}]
    scene.check(replaced == wanted, f"replaced at the start: {replaced}")
    health = result.get("health", {})
    scene.check(bool(health) and all(health.values()), f"what answers: {health}")


async def leads(scene: Scene, name: str, case: str, **more: Any) -> str:
    """Start a run of lead generation."""
    given = {**CASES[case], **more}
    return await scene.start(LEADS, f"leads-{name}", given, permissions=[MAY[LEADS]])


async def market(scene: Scene, name: str) -> str:
    """Start a run of market analysis."""
    given = CASES["market"]
    return await scene.start(MARKET, f"market-{name}", given, permissions=[MAY[MARKET]])


async def calm(scene: Scene, world: World) -> None:
    """All is well: by hand, by webhook, by a schedule fired now; and what may not start."""
    runs = [await leads(scene, "by-hand", "riverton"), await leads(scene, "thin", "lakeside")]
    runs.append(await market(scene, "by-hand"))
    try:
        await scene.client.start(LEADS, CASES["riverton"], id="leads-forbidden")
        scene.check(right=False, otherwise="a start without its permission was not refused")
    except RefusedError:
        pass
    status, answer = post(scene.stage, CASES["riverton"], scene.stage.webhook_token)
    scene.check(status == 202, f"the webhook: {status} {answer}")  # noqa: PLR2004 - accepted
    scene.check(post(scene.stage, {}, "wrong")[0] == 401, "a wrong token was not refused")  # noqa: PLR2004
    fired = await scene.client.fire_trigger(SCHEDULE)
    for run in (answer.get("run", ""), fired.run):
        scene.adopt(run, LEADS)
        runs.append(run)
    await scene.ended(runs)
    well: dict[str, Any] = {
        "scraper": "tinyfish",
        "analysis": "llama3.1:8b",
        "judge": "deepseek-r1:32b",
        "qualified": ["R-104", "R-101"],
        "channel": "imessage",
        "stored": "crm",
        "count": 2,
    }
    for run in ("leads-by-hand", answer.get("run", ""), fired.run):
        scene.expect(run, "completed", **well)
    scene.expect("leads-thin", "completed", qualified=["L-201", "L-202"])
    told(scene, "leads-thin", "warn", "data-quality")
    told(scene, "leads-by-hand", "inform", "backup-required")
    scene.expect(
        "market-by-hand", "completed", trend="rising", analyst="qwen2.5:32b", report="done"
    )
    kept = [each.name for each in await scene.client.artifacts("market-by-hand")]
    scene.check(kept == ["report.md"], f"artifacts of the analysis: {kept}")
    written = {each["to"]: each["text"] for each in world.messages()}
    wanted = "Dear Carla Novak, would you sell 27 Station Road?"
    scene.check(written.get("+15550100104") == wanted, f"written: {written}")
    scene.check("+15550100106" not in written, "somebody who opted out was written to")


async def outages(scene: Scene, world: World) -> None:
    """One part after the other is down, then all that can be replaced at once."""

    async def during(name: str, off: dict[str, list[str]], **wanted: Any) -> None:
        world.switch(**off)
        await scene.ended([await leads(scene, name, "riverton")])
        world.switch(**{part: [] for part in off})
        scene.expect(f"leads-{name}", "completed", **wanted)

    await during("no-scraper", {"scraper": ["all"]}, scraper="web-scraping")
    models = {"analysis": "gpt-4", "judge": "claude-3-sonnet"}
    await during("no-local-models", {"models_local": ["all"]}, **models)
    await during("no-pages", {"site": ["listing"]}, sources=["public-records"])
    # Nobody can find the owners: a person has the site mended, and lets it be tried again.
    world.switch(site=["listing", "records"])
    run = await leads(scene, "no-contacts", "riverton")

    def mended(gate: api.GateRow) -> Word:
        scene.check("Contact extraction failed" in gate.title, f"gate: {gate.title}")
        world.switch(site=[])
        return Word("retry", "ann", "the site is up again")

    await scene.ended([run], mended)
    scene.expect(run, "completed", sources=["listing-page"], count=2)

    with closing(sqlite3.connect(world.folder / "crm.db")) as crm:
        crm.execute("alter table lead rename to lead_away")
        run = await leads(scene, "no-crm", "riverton")
        await scene.ended([run])
        crm.execute("alter table lead_away rename to lead")
    scene.expect(run, "completed", stored="csv", count=2)
    tables = sorted((world.folder / "crm-backup").glob("*.csv"))
    rows = [each.read_text().count("\n") - 1 for each in tables]
    scene.check(rows == [2], f"rows of the backup: {rows}")
    kept = [each.name for each in await scene.client.artifacts(run)]
    scene.check(kept == ["leads.csv"], f"artifacts without the CRM: {kept}")

    await during("no-imessage", {"gateway": ["imessage"]}, channel="sms")
    await during("no-phones", {"gateway": ["imessage", "sms"]}, channel="email")
    await during("no-messages", {"gateway": ["account"]}, channel="none", stored="crm", count=2)


async def markets(scene: Scene, world: World) -> None:
    """Let parts be down for analyses of a market: cached data, a cloud, no report, files."""
    world.switch(site=["market"], models_local=["all"])
    cached = await market(scene, "no-site")
    await scene.ended([cached])
    scene.expect(cached, "completed", source="tinyfish, from its cache", analyst="gemini-pro")
    world.switch(site=[], models_local=["generate_report"], models_cloud=["generate_report"])
    with closing(sqlite3.connect(world.folder / "crm.db")) as crm:
        crm.execute("alter table report rename to report_away")
        silent = await market(scene, "no-report")
        await scene.ended([silent])
        crm.execute("alter table report_away rename to report")
    world.switch(models_local=[], models_cloud=[])
    scene.expect(silent, "completed", report="failed", stored="file", trend="rising")


async def rules(scene: Scene, world: World) -> None:
    """Rules that do not hold, by their severity; and more leads than a day may have."""
    runs = [
        await leads(scene, "private", "private"),
        await leads(scene, "unfair", "unfair"),
        await leads(scene, "everybody", "everybody"),
        await leads(scene, "no-consent", "riverton", consent=False),
    ]

    def decide(gate: api.GateRow) -> Word | None:
        if gate.id == "leads-everybody":
            scene.check("spam-prevention (high)" in gate.title, f"gate: {gate.title}")
            return Word("approve", "mia", "they know us", role="manager")
        scene.check("Critical workflow failure" in gate.title, f"gate: {gate.title}")
        return Word("reject", "mia", "not with this", role="manager")

    await scene.ended(runs, decide)
    for name in ("private", "unfair", "no-consent"):
        scene.expect(f"leads-{name}", "failed")
    told(scene, "leads-private", "block", "data-privacy")
    told(scene, "leads-unfair", "block", "fair-housing")
    told(scene, "leads-no-consent", "block", "compliance-check")
    scene.expect("leads-everybody", "completed", count=4)
    told(scene, "leads-everybody", "gate", "spam-prevention")

    crowd = [await leads(scene, f"crowd-{number}", "riverton") for number in range(CROWD)]
    await scene.ended(crowd)
    silent = [run for run in crowd if channel(scene.views.get(run)) == "none"]
    scene.check(0 < len(silent) < CROWD, f"{len(silent)} of {CROWD} were not written to")
    for run in silent:
        told(scene, run, "block", "daily-lead-limit")
        scene.expect(run, "completed", stored="crm", count=2)
    sent = sum(1 for each in world.messages())
    scene.check(sent <= LIMIT, f"{sent} messages on a day with at most {LIMIT} leads")


def channel(view: api.RunView | None) -> str:
    """Return how a run has written to owners."""
    result = view.result if view is not None and isinstance(view.result, Mapping) else {}
    return str(result.get("channel", ""))


def told(scene: Scene, run: str, action: str, rule: str) -> None:
    """Check that a run shows what a rule has found."""
    view = scene.views.get(run)
    state: Any = view.state if view is not None else {}
    lines = list((state or {}).get("guardrails", ()))
    right = any(each.startswith(action) and f" {rule} " in each for each in lines)
    scene.check(right, f"{run}: no {action} of {rule} in {lines}")


def post(stage: Stage, body: Any, token: str) -> tuple[int, dict[str, Any]]:
    """Post to the webhook; return the status and what was answered."""
    request = Request(  # noqa: S310 - the daemon of the stage
        f"{stage.http_url}{HOOK}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    try:
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the daemon of the stage
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, {}
