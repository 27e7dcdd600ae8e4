"""Commands about versions, templates, and runs that go over to another definition."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from actors.files.definitions import pack_data
from protocols.api import runs as api
from protocols.effects import Status
from protocols.forking import StepFork
from protocols.moving import StepMove
from protocols.witness import Operator
from runtime.cli import failures
from tests.cli.conftest import Cli
from tests.client.responder import Responder
from tests.docs.tables import DOCS
from tests.graphs.orders import ORDER, graph_of

pytestmark = pytest.mark.server

OLD = pack_data(graph_of("name: order\nsteps: {a: {service: s, operation: a}}"))
NEW_TEXT = "name: order\nsteps: {a: {service: s, operation: b}}"
NEW = pack_data(graph_of(NEW_TEXT))
TEMPLATE = DOCS / "examples" / "release.yaml"


def deployed(responder: Responder) -> None:
    """Let the responder know two versions of a workflow; the older one is the latest."""
    packs = {each.hash: each for each in (OLD, NEW)}

    def show(request: api.WorkflowShow) -> api.WorkflowView:
        found = next(each for each in packs if each.startswith(request.hash or OLD.hash))
        return api.WorkflowView(name=request.name, definition=found)

    responder.answers["workflow.show"] = show
    responder.answers["workflow.fetch"] = lambda request: api.WorkflowPacked(
        hash=request.hash, data=packs[request.hash].data
    )


def test_versions_are_listed_and_taken_back(ask: Cli, responder: Responder) -> None:
    """Who deployed what from where, and who runs on it."""
    rows = [
        api.WorkflowVersion(
            definition=NEW.hash,
            source="order.yaml",
            by=Operator(who="ann", where="desk"),
            current=True,
            active=3,
        ),
        api.WorkflowVersion(definition=OLD.hash, active=12),
    ]
    responder.answers["workflow.versions"] = api.WorkflowVersions(name="order", versions=rows)
    responder.answers["workflow.rollback"] = api.WorkflowRolledBack(
        name="order", definition=OLD.hash, replaced=NEW.hash
    )

    listed = ask("workflow", "versions", "order")
    back = ask("workflow", "rollback", "order", "--reason", "wrong prices")

    assert f"{NEW.hash[:12]} *" in listed.out
    assert "order.yaml" in listed.out
    assert "ann on desk" in listed.out
    assert f"replaced    {NEW.hash}" in back.out
    (request,) = [each for verb, each in responder.asked if verb == "workflow.rollback"]
    assert request.by.why == "wrong prices"


def test_two_versions_are_compared(ask: Cli, responder: Responder, tmp_path: Path) -> None:
    """A file with the latest, and hashes with each other."""
    deployed(responder)
    file = tmp_path / "order.yaml"
    file.write_text(NEW_TEXT)

    of_file = ask("workflow", "diff", "order", str(file))
    of_hashes = ask("workflow", "diff", "order", NEW.hash[:8], OLD.hash[:8], "-o", "json")
    same = ask("workflow", "diff", "order", OLD.hash[:8])

    assert (of_file.code, of_file.out) == (1, '~ step a.operation  "a" -> "b"\n')
    assert (of_hashes.json[0]["old"], of_hashes.json[0]["about"]) == ("b", "effect")
    assert (same.code, same.out) == (0, "")


def test_a_definition_is_written_as_its_source(ask: Cli, responder: Responder) -> None:
    """The latest, or that of a hash; data as YAML."""
    deployed(responder)

    latest, other = ask("workflow", "source", "order"), ask(
        "workflow", "source", f"order@{NEW.hash[:8]}"
    )  # fmt: skip

    assert latest.out == "name: order\nsteps:\n  a:\n    service: s\n    operation: a\n"
    assert "operation: b" in other.out


@pytest.mark.parametrize(
    ("form", "begins"), [("yaml", "name: order\n"), ("json", '{\n  "name"'), ("svg", "<svg ")]
)
def test_a_definition_is_shown_in_each_form(
    ask: Cli, responder: Responder, form: str, begins: str
) -> None:
    """As data, and as a picture."""
    responder.answers["workflow.show"] = api.WorkflowView(
        name="order", definition="d" * 32, graph=msgspec.to_builtins(ORDER)
    )

    assert ask("workflow", "show", "order@dddd", "--format", form).out.startswith(begins)
    assert responder.asked[-1][1].hash == "dddd"


def preview(request: api.RunMigrate) -> api.RunMigrated:
    """Let every run go over but one."""
    problems = ("step 'a' is open",) if request.id == "r3" else ()
    return api.RunMigrated(
        id=request.id,
        seq=0 if request.preview else 9,
        definition=NEW.hash,
        status="running",
        how="switch",
        steps=(StepMove(step="b", was="a", status="done", what="kept", note="as it was"),),
        problems=problems,
    )


def test_many_runs_go_over_when_somebody_has_said_how_many(ask: Cli, responder: Responder) -> None:
    """Those that cannot are told and left; without a terminal nobody is asked."""
    statuses: list[Status] = ["running", "completed", "blocked", "running"]
    rows = [
        api.RunRow(id=f"r{number}", workflow="order", status=status, definition=OLD.hash)
        for number, status in enumerate(statuses)
    ]
    responder.answers["run.ls"] = api.RunPage(runs=rows, total=4)
    responder.answers["run.migrate"] = preview
    chosen = ("run", "migrate", "--workflow", "order", "--from", OLD.hash[:6])

    dry = ask(*chosen, "--dry-run")
    unsaid = ask(*chosen)
    gone = ask(*chosen, "--status", "running", "--yes", "--map", "a=b", "--reason", "new law")

    assert "2 of 3 runs can go over" in dry.err
    assert "step 'a' is open" in dry.out
    assert unsaid.code == failures.USAGE
    assert "1 runs went over" in gone.err
    written = [
        each for verb, each in responder.asked if verb == "run.migrate" and not each.preview
    ]
    assert [(each.id, each.moves, each.definition) for each in written] == [
        ("r0", {"a": "b"}, NEW.hash)
    ]


def test_a_preview_tells_what_becomes_of_each_step(ask: Cli, responder: Responder) -> None:
    """Nothing is written, and the exit code says whether it could be."""
    responder.answers["run.resolve"] = lambda request: api.RunResolved(id=request.prefix)
    responder.answers["run.migrate"] = preview

    possible = ask("run", "migrate", "r1", "--dry-run")
    not_possible = ask("run", "migrate", "r3", "--dry-run", "-o", "json")

    assert "as it was" in possible.out
    assert (possible.code, not_possible.code) == (failures.OK, failures.RUN_FAILED)
    assert all(each.preview for verb, each in responder.asked if verb == "run.migrate")
    assert ask("run", "migrate").code == failures.USAGE
    assert ask("run", "migrate", "r1", "--map", "a").code == failures.USAGE


def test_a_run_is_forked_from_a_step(ask: Cli, responder: Responder) -> None:
    """The plan tells what is taken over; parts of the input are JSON, or text."""
    steps = (
        StepFork(step="a", was="a", status="done", what="taken"),
        StepFork(step="b", was="b", status="failed", what="again", note="it was undone"),
    )
    told = {"origin": "r1", "step": "b", "workflow": "order", "definition": "9f2c"}
    responder.answers["run.resolve"] = lambda request: api.RunResolved(id=request.prefix)
    responder.answers["run.fork"] = lambda request: api.RunForked(
        **told, steps=steps, problems=("step 'a' was undone",) if request.preview else ()
    )

    plan = ask("run", "fork", "r1", "--from", "b", "--plan")
    done = ask("run", "fork", "r1", "--from", "b", "--set", "n.m=3", "--set", "to=Delft")

    assert ("it was undone" in plan.out, plan.code) == (True, failures.RUN_FAILED)
    assert "taken over: a" in done.err
    asked = [each for verb, each in responder.asked if verb == "run.fork"]
    assert [each.changes for each in asked] == [{}, {"n.m": 3, "to": "Delft"}]
    assert asked[1].new_id.startswith("r1-")
    assert ask("run", "fork", "r1", "--from", "b", "--set", "n").code == failures.USAGE


def test_templates_are_stored_and_made_into_files(
    ask: Cli, responder: Responder, tmp_path: Path
) -> None:
    """What is wrong with one is told before anything is sent."""
    row = api.TemplateRow(name="release", hash="51c0", parameters=["language"])
    responder.answers["template.register"] = row
    responder.answers["template.ls"] = api.TemplatePage(templates=[row])
    responder.answers["template.instantiate"] = lambda request: api.TemplateInstance(
        workflow=f"release-{request.parameters['language']}", definition="d", text="name: x\n"
    )
    responder.answers["template.show"] = api.TemplateView(
        name="odd", hash="0", text="new: 1\n", error="1:1: 'new' is not known"
    )
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(TEMPLATE.read_text().replace("template.limit", "template.limits"))
    out = tmp_path / "java.yaml"

    refused = ask("template", "register", str(wrong))
    stored = ask("template", "register", str(TEMPLATE))
    listed = ask("template", "ls")
    odd = ask("template", "show", "odd")
    made = ask("template", "instantiate", "release", "-p", "language=java", "--write", str(out))

    assert (refused.code, "did you mean 'limit'?" in refused.err) == (failures.USAGE, True)
    assert (stored.code, "51c0" in listed.out) == (0, True)
    assert odd.code == failures.DEGRADED
    assert "'new' is not known" in odd.out
    assert ("release-java" in made.out, out.read_text()) == (True, "name: x\n")
