"""Commands about state machines."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import msgspec
import pytest

from protocols.api import runs as api
from protocols.effects import Waiting
from runtime.cli import failures
from tests.cli.conftest import Cli
from tests.client.responder import Responder
from tests.motions.machines import PERMIT
from tests.motions.test_files import PERMIT_FILE, SMALL


def test_a_file_is_checked_with_the_line_and_a_caret(cli: Cli, tmp_path: Path) -> None:
    """As compilers do it: what, where, and what to write instead."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("owner", "onwer"))

    ended = cli("workflow", "validate", str(file))
    right = cli("workflow", "validate", str(PERMIT_FILE))

    assert ended.code == failures.RUN_FAILED
    assert ended.out == (
        f"{file}:4:7: error: 'onwer' is not known here\n"
        "     4 |   A: {onwer: x, next: B}\n"
        "       |       ^^^^^\n"
        "    did you mean 'owner'?\n"
    )
    assert ended.err == "1 error, 0 warnings\n"
    assert (right.code, right.out) == (failures.OK, "")


def test_findings_are_given_to_programs_as_well(cli: Cli, tmp_path: Path) -> None:
    """Place, message, advice and excerpt, by name."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("next: B", "next: C"))

    (found,) = cli("workflow", "validate", str(file), "-o", "json").json

    assert (found["line"], found["column"], found["severity"]) == (4, 23, "error")
    assert found["excerpt"].endswith("^")


def test_the_schema_takes_what_the_reader_takes(cli: Cli) -> None:
    """A whole machine fits; a typing error does not."""
    schema = cli("schema", "machine").json
    machine = msgspec.json.decode(msgspec.json.encode(PERMIT))

    jsonschema.validate(machine, schema)
    machine["states"]["FILED"]["onwer"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(machine, schema)


@pytest.mark.server
def test_a_machine_is_shown_as_text_and_as_a_diagram(ask: Cli, responder: Responder) -> None:
    """What a daemon knows of it, for people; code is no machine."""
    machine = msgspec.to_builtins(PERMIT)
    responder.answers["workflow.show"] = lambda request: api.WorkflowView(
        name=request.name,
        definition="d" * 32,
        machine=machine if request.name == "permit" else None,
    )

    text = ask("workflow", "show", "permit", "--format", "text")
    diagram = ask("workflow", "show", "permit", "--format", "mermaid")
    code = ask("workflow", "show", "orders", "--format", "text")

    assert "REVIEWED  council.vote, within 7d\n    -> BUILDING if result.ayes" in text.out
    assert "on network: retry, then fallback (mason, carpenter)" in text.out
    assert diagram.out.startswith('stateDiagram-v2\n    state "FILED')
    assert "    REVIEWED --> TABLED : signal table\n" in diagram.out
    assert code.code == failures.USAGE
    assert "is code, no graph and no state machine" in code.err


def view(*waiting: Waiting) -> api.RunView:
    """Return a motion that waits for something."""
    return api.RunView(
        id="r1",
        workflow="permit",
        definition="d",
        status="running",
        started_at=1,
        waiting=[*waiting],
    )


@pytest.mark.parametrize(
    ("word", "more", "said"),
    [
        ("retry", (), {"do": "retry"}),
        ("back", (), {"do": "return_to_previous"}),
        ("halt", (), {"do": "halt"}),
        ("BUILDING", ("--result", '{"floors": 2}'), {"to": "BUILDING", "result": {"floors": 2}}),
    ],
)
@pytest.mark.parametrize("signal", ["motion.resume", "motion.review"])
def test_a_decision_says_who_from_where_and_why(
    ask: Cli,
    responder: Responder,
    *,
    word: str,
    more: tuple[str, ...],
    said: dict[str, object],
    signal: str,
) -> None:
    """It goes where the motion waits for one."""
    waits = Waiting(path="/states/A/x", kind="signal", since=0, detail=signal)
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = view(waits)
    responder.answers["run.signal"] = api.Accepted(id="r1", seq=9)

    ended = ask("run", "decide", "r1", word, *more, "--reason", "I know them")

    (_, request) = responder.asked[-1]
    assert ended.code == failures.OK
    assert request.name == signal
    assert request.data == {**said, "who": request.by.who, "why": "I know them"}
    assert request.by.where
    assert request.by.who


def test_nobody_decides_where_nobody_was_asked(ask: Cli, responder: Responder) -> None:
    """Nothing is sent, and the advice names the command that tells more."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = view()

    ended = ask("run", "decide", "r1", "retry")

    assert ended.code == failures.REFUSED
    assert "movant why r1" in ended.err
