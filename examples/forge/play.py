"""Projects are generated, looked at by people, and built; every decision is made once.

run          template        what happens
users        java            approved twice; by somebody who may not, first
directory    express         TypeScript, whose compiler is not here: modified to JavaScript
payments     java            a secret is found; taken out by hand, reviewed anew (retry)
library      express         built by hand elsewhere: its tests are left out (skip)
dropped      java            cancelled behind generation: the project is gone
refused      express         rejected: the project is gone
vague        java            cannot be specified: fails, asked again (retry), rejected
nightly      express         approval_mode auto: nobody is asked
batch-1, -2  express         approval_mode batch: approved together
enterprise   of its own      an index is missing: its attempts are used up, then a person
                             puts it there and retries
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import movant
from examples.forge.services import GROUPS
from examples.play import Scene, Word
from examples.stage import Stage
from protocols.api import runs as api

HERE: Final = Path(__file__).parent
JAVA: Final = "java-springboot"
NODE: Final = "nodejs-express"
TYPED: Final = "nodejs-typescript"
OWN: Final = "custom_enterprise_workflow"
INDEX: Final = "repositories.json"
SECRET: Final = "sk_live_4eC39HqLyjWDarjtT1zd"  # noqa: S105 - what the review has to find
RUNS: Final = {
    "users": (JAVA, "users", ""),
    "directory": (TYPED, "users", ""),
    "payments": (JAVA, "payments", ""),
    "library": (NODE, "library", ""),
    "dropped": (JAVA, "users", ""),
    "refused": (NODE, "users", ""),
    "vague": (JAVA, "vague", ""),
    "nightly": (NODE, "payments", "auto"),
    "batch-1": (NODE, "users", "batch"),
    "batch-2": (NODE, "library", "batch"),
    "enterprise": (OWN, "users", ""),
}


def begin(stage: Stage) -> None:
    """Start the services; one of the two indexes is not there yet."""
    catalogue = stage.folder / "catalogue"
    catalogue.mkdir()
    shutil.copy(HERE / "catalogue" / "pages.json", catalogue)
    for group in GROUPS:
        stage.start(f"forge-{group}", "examples.forge.services", group, *stage.service_words)


async def play(scene: Scene) -> None:
    """Make workflows of the templates, start all runs, decide, and look at what is there."""
    await templates(scene)
    await scene.register(HERE / "custom_enterprise_workflow.yaml")
    for run, (workflow, requirements, mode) in RUNS.items():
        given = {"requirements": text(requirements), "output_path": f"projects-of/{run}"}
        if mode:
            given["approval_mode"] = mode
        await scene.start(workflow, run, given)
    decide = Decisions(scene)
    await refused_word(scene)
    await scene.until("the batch", lambda: batch_waits(scene))
    approved = scene.stage.movant(
        *("gate", "approve", "--all", "--workflow", NODE, "--gate", "code_generation-approval"),
        *("--yes", "--as", "lead"),
    )
    scene.check(approved.returncode == 0, approved.stderr)
    await scene.ended(RUNS, decide)
    expectations(scene)
    await look(scene)


async def templates(scene: Scene) -> None:
    """Store both templates, and make three workflows of them."""
    for name in ("java_springboot", "nodejs_express"):
        file = HERE / "templates" / f"{name}.yaml"
        await scene.client.register_template(file.read_text())
    for template, name, values in (
        ("java_springboot", JAVA, {"reviewers": ["ann", "lead"]}),
        ("nodejs_express", NODE, {"typescript": False}),
        ("nodejs_express", TYPED, {}),
    ):
        await scene.client.instantiate(template, values, name=name, register=True)
    known = {each.name for each in (await scene.client.templates()).templates}
    scene.check({"java_springboot", "nodejs_express"} <= known, f"templates: {known}")


def text(requirements: str) -> str:
    """Return requirements."""
    return (HERE / "requirements" / f"{requirements}.txt").read_text()


async def refused_word(scene: Scene) -> None:
    """Let somebody decide who may not."""

    async def opened() -> bool:
        return bool((await scene.client.gates(run="users")).gates)

    await scene.until("the first gate", opened)
    try:
        by = movant.Operator(who="mallory", why="it looks fine")
        await scene.client.decide("users", "approve", by=by)
    except movant.RefusedError:
        return
    scene.wrong.append("mallory was not refused")


async def batch_waits(scene: Scene) -> bool:
    """Tell whether both runs of the batch wait at their first gate."""
    rows = (await scene.client.gates(name="code_generation-approval", limit=500)).gates
    return {"batch-1", "batch-2"} <= {each.id for each in rows}


class Decisions:
    """What people say at each gate. The batch is approved from the command line first."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._projects = scene.stage.folder / "projects" / "projects-of"
        self._seen: set[tuple[str, str]] = set()

    def __call__(self, gate: api.GateRow) -> Word | None:
        """Return the word for a gate."""
        first = (gate.id, gate.name) not in self._seen
        self._seen.add((gate.id, gate.name))
        return self._word(gate.id, gate.name, first=first)

    def _word(self, run: str, gate: str, *, first: bool) -> Word:
        match run, gate:
            case "directory", "code_generation-approval":
                config = {"node_version": "18", "express_version": "4.18.0", "typescript": False}
                return Word("modify", "ann", "no compiler here", values={"config": config})
            case "payments", "compilation_testing-approval" if first:
                self._take_out_secret()
                return Word("retry", "ann", "the key comes from the environment now")
            case "library", "testing_linting-approval":
                return Word("skip", "ann", "tested elsewhere")
            case "dropped", "compilation_testing-approval":
                return Word("cancel", "lead", "not needed any more")
            case "refused", "testing_linting-approval":
                return Word("reject", "ann", "not what we asked for")
            case "vague", "api_specification":
                return Word("retry" if first else "reject", "ann", "say what is to be kept")
            case "enterprise", "similar_code":
                shutil.copy(HERE / "catalogue" / INDEX, self._scene.stage.folder / "catalogue")
                return Word("retry", "ann", "the index is there now")
            case "enterprise", _:
                return Word("approve", "vera", role="architect")
            case _:
                return Word("approve", "ann")

    def _take_out_secret(self) -> None:
        service = "src/main/java/forge/service/PaymentService.java"
        file = self._projects / "payments" / service
        kept = file.read_text().replace(f'"{SECRET}"', 'System.getenv("GATEWAY_KEY")')
        file.write_text(kept)


def expectations(scene: Scene) -> None:
    """Say how each run has to have ended."""
    java = "passed" if shutil.which("javac") and shutil.which("java") else "skipped"
    node = "passed" if shutil.which("node") else "skipped"
    scene.expect("users", "completed", score=100, build=java)
    scene.expect("directory", "completed", score=100, build=node)
    scene.expect("payments", "completed", score=100, build=java)
    scene.expect("library", "completed", build="left out")
    scene.expect("nightly", "completed", build=node)
    for run in ("batch-1", "batch-2"):
        scene.expect(run, "completed", build=node)
    scene.expect("enterprise", "completed", score=100, build=java)
    scene.expect("dropped", "compensated", kind="cancelled")
    scene.expect("refused", "compensated", kind="rejected")
    scene.expect("vague", "failed", kind="rejected")


async def look(scene: Scene) -> None:
    """Look at folders, artifacts and the audit."""
    projects = scene.stage.folder / "projects" / "projects-of"
    there = {each.name for each in projects.iterdir()}
    wanted = RUNS.keys() - {"dropped", "refused", "vague"}
    scene.check(there == wanted, f"projects are {sorted(there)}, not {sorted(wanted)}")
    rows = scene.stage.cli("run", "artifacts", "users")
    names = sorted(each["name"] for each in rows)
    expected = ["api_spec.yaml", "build.json", "generated_code.zip", "review.md"]
    scene.check(names == expected, f"artifacts are {names}")
    build: Any = json.loads(await scene.client.artifact("users", "build.json"))
    told = [each["status"] for each in build["checks"] if each["tool"] == "mvn"]
    scene.check(told != ["passed"] or bool(shutil.which("mvn")), "Maven cannot have passed")
    audit = [
        (each.summary.split()[0], each.by.who)
        async for each in scene.client.history("payments")
        if each.kind == "control.gate" and each.by is not None
    ]
    scene.check(
        audit == [("approve", "ann"), ("retry", "ann"), ("approve", "ann")],
        f"the audit of payments is {audit}",
    )
