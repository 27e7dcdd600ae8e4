"""The forge's workflows: what each decision does, in virtual time, and once all for real."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from actors.definitions.templates import instantiate, load_template, template_of
from actors.files.definitions import load_document
from actors.graphs.interpreter import GraphWorkflow
from examples import forge
from examples.forge.services import GROUPS
from protocols.gates.words import GateWord
from protocols.graphs.graph import Graph
from protocols.mail import Decided
from protocols.witness import Operator
from tests.graphs.orders import steps
from tests.kernel.mailbox import Mailbox, asks, finish, paths
from tests.support.daemon import Process, daemon_process
from tests.support.nats import NatsServer

FOLDER: Final = Path(forge.__file__).parent
TEMPLATES: Final = ("java_springboot", "nodejs_express")
INPUT: Final = {"requirements": "Build a user management API", "output_path": "users"}
SPEC: Final = "/steps/api_specification/api_spec_writer.write_specification"
CODE: Final = "/steps/code_generation/code_generation.generate_project"
REVIEW: Final = "/steps/code_review/code_review.review_project"
BUILD: Final = "/steps/compilation_testing/code_compilation.compile_and_test"
CODE_GATE: Final = "/steps/code_generation-approval/gate.code_generation-approval"
BUILD_GATE: Final = "/steps/compilation_testing-approval/gate.compilation_testing-approval"


def made(template: str, **values: Any) -> Graph:
    """Return the graph that a template gives."""
    text = (FOLDER / "templates" / f"{template}.yaml").read_bytes()
    found = instantiate(template_of(text), values)
    assert isinstance(found, Graph)
    return found


def say(box: Mailbox, do: str, at: str, who: str = "ann", **more: Any) -> list[Any]:
    """Let a person say something at a gate."""
    word = msgspec.convert({"gate": at, "do": do, **more}, GateWord)
    return box.fold(Decided(**box._stamp(), word=word, by=Operator(who=who)))


def begun(mode: str = "", **values: Any) -> Mailbox:
    """Return a run of the Java template behind its first phase."""
    box = Mailbox(GraphWorkflow(made("java_springboot", **values)))
    box.start(INPUT | ({"approval_mode": mode} if mode else {}))
    box.reply(SPEC, {"spec": {}, "summary": "users: 5 operations"})
    return box


def reviewed() -> Mailbox:
    """Return a run that waits to be built."""
    box = begun()
    say(box, "approve", CODE_GATE)
    box.reply(CODE, {"output_path": "users", "files": ["pom.xml"]})
    box.reply(REVIEW, {"summary": "fine", "score": 100})
    return box


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_templates_are_right_and_have_the_four_phases(template: str, tmp_path: Path) -> None:
    """Specification, generation, review and the last one, in this order."""
    assert load_template(FOLDER / "templates" / f"{template}.yaml").problems == []
    graph = made(template)
    names = [name for name in graph.steps if not name.endswith("-approval")]
    assert names[:3] == ["api_specification", "code_generation", "code_review"]
    assert len(names) == 4
    offered = {
        (each.name, operation)
        for group in GROUPS.values()
        for each in group(tmp_path)
        for operation in each.operations
    }
    asked = {(x.service, x.operation) for x in graph.steps.values() if x.service}
    assert asked <= offered


def test_the_custom_definition_is_right() -> None:
    """As the forge registers it."""
    document = load_document(FOLDER / "custom_enterprise_workflow.yaml")
    assert document.problems == []
    assert isinstance(document.value, Graph)
    assert document.value.name == "custom_enterprise_workflow"


def test_a_gate_shows_the_results_and_approval_hands_the_configuration_on() -> None:
    """With all actions that there are; changed settings are what the phase gets."""
    box = begun()
    (gate,) = box.instance.gates()
    assert gate.gate.text == "users: 5 operations"
    assert gate.gate.decisions == ("approve", "modify", "reject", "retry", "skip", "cancel")

    config = {"java_version": "21", "spring_boot_version": "3.2.0", "build_tool": "gradle"}
    said = say(box, "modify", CODE_GATE, values={"config": config})

    assert paths(said) == [CODE]
    assert msgspec.json.decode(asks(said)[0].body)["config"] == config
    box.refold()


def test_only_reviewers_may_decide() -> None:
    """Those that the template's parameter names."""
    box = begun(reviewers=["ann"])
    assert say(box, "approve", CODE_GATE, who="mallory") == []
    assert paths(say(box, "approve", CODE_GATE, who="ann")) == [CODE]


def test_automatic_mode_asks_nobody() -> None:
    """Both gates are approved at once, and recorded so."""
    box = begun("auto")
    assert steps(box)["code_generation"] == "running"
    assert box.instance.gates() == []


def test_a_retry_reviews_once_more_and_may_go_back_to_generation() -> None:
    """What was generated is undone before it is generated again."""
    box = reviewed()
    assert paths(say(box, "retry", BUILD_GATE)) == [
        "/steps/code_review#2/code_review.review_project"
    ]

    back = reviewed()
    undone = say(back, "retry", BUILD_GATE, step="code_generation")
    assert paths(undone) == [f"{CODE}/undo"]
    again = back.reply(f"{CODE}/undo", {"discarded": True})
    assert paths(again) == ["/steps/code_generation#2/code_generation.generate_project"]


def test_a_skip_leaves_the_build_out() -> None:
    """The run completes, and says so."""
    box = reviewed()
    say(box, "skip", BUILD_GATE)
    assert box.result["build"] == "left out"
    assert box.result["score"] == 100


@pytest.mark.parametrize("do", ["reject", "cancel"])
def test_rejecting_and_cancelling_remove_the_project(do: str) -> None:
    """Compensation asks for the undo of generation, and for nothing else."""
    box = reviewed()
    assert paths(say(box, do, BUILD_GATE)) == [f"{CODE}/undo"]
    ended = finish(box.reply(f"{CODE}/undo", {"discarded": True}))
    assert ended.status == "compensated"


def test_a_retry_behind_exhausted_retries_has_all_attempts_again() -> None:
    """A person's word counts its attempts from one, and stands in the history."""
    box = begun()
    say(box, "approve", CODE_GATE)
    box.reply(CODE, {"output_path": "users", "files": []})
    for attempt in (1, 2, 3):  # max_retries: 2
        box.fail(REVIEW, "system", attempt=attempt)
        if attempt < 3:
            box.pass_time(60)
    (gate,) = box.instance.gates()
    assert gate.name == "code_review"

    said = say(box, "retry", gate.path)

    assert [(each.path, each.attempt) for each in asks(said)] == [(f"{REVIEW}#2", 1)]
    for attempt in (1, 2):
        box.fail(f"{REVIEW}#2", "system", attempt=attempt)
        box.pass_time(60)
    box.reply(f"{REVIEW}#2", {"summary": "fine", "score": 100}, attempt=3)
    assert steps(box)["code_review"] == "done"


@pytest.mark.server
async def test_a_project_is_made_though_the_daemon_is_killed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    """Right behind a decision: the run goes on from its last phase, and each is done once."""
    shutil.copytree(FOLDER / "catalogue", tmp_path / "catalogue")
    async with daemon_process(nats_server.url, workflows=[]) as (running, movant):
        with ExitStack() as services:
            for groups in (("advisers", "reviewer"), ("coder", "builder")):
                process = Process(
                    *("-m", "examples.forge.services", *groups),
                    *("--data", str(tmp_path), "--nats", nats_server.url),
                )
                services.callback(process.close)
                process.start()
            text = (FOLDER / "templates" / "nodejs_express.yaml").read_text()
            await movant("template.register", text=text)
            await movant(
                "template.instantiate",
                template="nodejs_express",
                parameters={"typescript": False},
                register=True,
            )
            await movant("run.start", workflow="nodejs-express", input=INPUT, id="p-1")
            view = await movant.waits("p-1", "gate")
            assert (view["progress"]["done"], view["progress"]["total"]) == (1, 6)
            await movant("gate.decide", id="p-1", do="approve", by={"who": "ann"})
            running.kill()
            running.start()
            await movant.ready()
            await movant.view_when(
                "p-1",
                lambda view: (
                    view["state"].get("steps.testing_linting-approval") == "waits for a decision"
                ),
            )
            await movant("gate.decide", id="p-1", do="approve", by={"who": "bob"})
            view = await movant.ended("p-1")
            files = await movant("run.artifacts", id="p-1")
            history = await movant("run.history", id="p-1", limit=200)

    assert view["status"] == "completed", view
    assert view["result"]["build"] == ("passed" if shutil.which("node") else "skipped")
    assert view["progress"]["percent"] == 100
    assert [each["name"] for each in files["artifacts"]] == [
        *("api_spec.yaml", "build.json", "generated_code.zip", "review.md")
    ]
    assert (tmp_path / "projects" / "users" / "src" / "store" / "users.js").is_file()
    audit = [
        (each["by"]["who"], each["summary"])
        for each in history["entries"]
        if each["kind"] == "control.gate"
    ]
    assert audit == [("ann", "approve"), ("bob", "approve")]
    replies = [each["path"] for each in history["entries"] if each["kind"] == "reply"]
    assert sorted(set(replies)) == sorted(replies)
