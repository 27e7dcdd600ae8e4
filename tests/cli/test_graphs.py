"""Commands about graphs."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

from protocols.api import runs as api
from runtime.cli import failures
from tests.cli.conftest import Cli
from tests.cli.test_commands import _view
from tests.client.responder import Responder
from tests.graphs.orders import ORDER, ORDER_FILE
from tests.graphs.test_files import SMALL
from tests.motions.test_files import PERMIT_FILE


def test_a_file_is_checked_with_the_line_and_a_caret(cli: Cli, tmp_path: Path) -> None:
    """As compilers do it: what, where, and what to write instead."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("{{steps.first.result.id}}", "{{steps.frist.result.id}}"))

    ended = cli("workflow", "validate", str(file))

    assert ended.code == failures.RUN_FAILED
    assert ended.out == (
        f"{file}:11:21: error: there is no step 'frist'\n"
        "    11 |     params: {id: \"{{steps.frist.result.id}}\", n: '{{input.count}}', all: "
        '"{{input.tags}}"}\n'
        "       |                     ^^^^^^^^^^^^^^^^^^^^^\n"
        "    did you mean 'first'?\n"
    )
    assert cli("workflow", "validate", str(ORDER_FILE)).code == failures.OK


def test_a_plan_runs_nothing(cli: Cli, tmp_path: Path) -> None:
    """For people and for programs; without a daemon."""
    told = cli("workflow", "plan", str(ORDER_FILE))
    found = cli("workflow", "plan", str(ORDER_FILE), "-o", "json").json
    wrong = tmp_path / "small.yaml"
    wrong.write_text(SMALL.replace("needs: first", "needs: fist"))
    refused = cli("workflow", "plan", str(wrong))
    machine = cli("workflow", "plan", str(PERMIT_FILE))

    assert told.out.startswith("order: 6 steps, nothing is run\nlevel 1\n")
    assert found["worst_s"] == 1530
    assert found["no_undo"] == ["check", "gift", "ship", "tell"]
    assert (refused.code, refused.out) == (failures.USAGE, "")
    assert f"{wrong}:9:12: error: there is no step 'fist'" in refused.err
    assert machine.code == failures.USAGE
    assert "is no graph" in machine.err


def test_the_schema_takes_what_the_reader_takes(cli: Cli) -> None:
    """A whole graph fits; a typing error does not."""
    schema = cli("schema", "graph").json
    graph = msgspec.json.decode(msgspec.json.encode(ORDER))

    jsonschema.validate(graph, schema)
    graph["steps"]["check"]["nedes"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(graph, schema)


@pytest.mark.server
def test_a_graph_is_shown_as_text_and_as_a_diagram(ask: Cli, responder: Responder) -> None:
    """What a daemon knows of it, for people."""
    responder.answers["workflow.show"] = lambda request: api.WorkflowView(
        name=request.name, definition="d" * 32, graph=msgspec.to_builtins(ORDER)
    )

    text = ask("workflow", "show", "order", "--format", "text")
    diagram = ask("workflow", "show", "order", "--format", "mermaid")

    assert "ship  carrier.ship\n    after pack\n" in text.out
    assert diagram.out.startswith("flowchart TD\n")


@pytest.mark.server
def test_a_run_shows_its_steps(ask: Cli, responder: Responder) -> None:
    """Each of them with what it has come to, beside other facts of the run."""
    state = {"steps.check": "done", "steps.pack": "2 of 3", "note": 7}
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view(state=state)

    shown = ask("run", "show", "r1")

    assert "check  done\n" in shown.out
    assert "pack   2 of 3\n" in shown.out
    assert '"note": 7' in shown.out
    assert "steps.check" not in shown.out
