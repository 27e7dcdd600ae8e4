"""Cancel, signal and undo over many runs: what is shown, asked back, sent and told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocols import errors
from protocols.api import runs as api
from runtime.cli import failures
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

BLOCKED = ("--workflow", "orders", "--status", "blocked")


@pytest.fixture(autouse=True)
def _three(responder: Responder) -> None:
    """Three runs are blocked, and one of them refuses everything."""
    rows = [
        api.RunRow(id=f"r{number}", workflow="orders", status="blocked", started_at=1)
        for number in range(3)
    ]

    def answer(request: Any) -> api.Accepted | errors.MovantError:
        if request.id == "r1":
            return errors.RefusedError("no")
        return api.Accepted(id=request.id, seq=9)

    responder.answers |= {"run.cancel": answer, "run.signal": answer}
    responder.answers["run.ls"] = lambda request: api.RunPage(
        runs=[row for row in rows if request.names(row)],
        total=sum(request.names(row) for row in rows),
    )


def test_many_runs_are_cancelled_when_somebody_has_said_so(ask: Cli, responder: Responder) -> None:
    """First what it would be; then those that were previewed, and each that refused is told."""
    dry = ask("run", "cancel", *BLOCKED, "--dry-run")
    batch = dry.err.partition("--batch ")[2].split()[0]
    unsaid = ask("run", "cancel", *BLOCKED)
    before = {verb for verb, _ in responder.asked}
    gone = ask("run", "cancel", *BLOCKED, "--yes", "--batch", batch, "--reason", "void")
    other = ask("run", "cancel", "--workflow", "orders", "--yes", "--batch", batch)

    assert "3 runs would be asked to cancel" in dry.err
    assert [line.split()[0] for line in dry.out.splitlines()] == ["RUN", "r0", "r1", "r2"]
    assert unsaid.code == failures.USAGE
    assert before == {"run.ls"}
    assert gone.code == failures.RUN_FAILED
    assert gone.out == "r1  no\n"
    assert "2 runs were asked to cancel, 1 refused" in gone.err
    sent = [request for verb, request in responder.asked if verb == "run.cancel"]
    assert {(each.id, each.message_id, each.reason) for each in sent} == {
        (f"r{number}", f"{batch}-r{number}", "void") for number in range(3)
    }
    assert other.code == failures.REFUSED


def test_what_becomes_of_each_is_a_line_of_json(ask: Cli, responder: Responder) -> None:
    """Or one document; the data of a signal goes to all."""
    words = ("run", "signal", "paid", '{"n": 1}', "--prefix", "r", "--until", "1h", "--yes")

    lines = [json.loads(line) for line in ask(*words, "-o", "jsonl").out.splitlines()]
    whole = ask(*words, "-o", "json")
    none = ask(*words[:-2], "2026-03-01T14:00:00Z", "--prefix", "x", "--yes")

    assert lines == whole.json
    assert [(each["id"], each.get("seq")) for each in lines] == [
        ("r0", 9),
        ("r1", None),
        ("r2", 9),
    ]
    assert {
        (request.name, str(request.data))
        for verb, request in responder.asked
        if verb[4:] == "signal"
    } == {("paid", "{'n': 1}")}
    assert (none.code, none.err) == (failures.OK, "there are no such runs\n")


@pytest.mark.parametrize(
    "words",
    [
        ("cancel",),
        ("cancel", "r1", "--status", "running"),
        ("cancel", "r1", "--dry-run"),
        ("cancel", "--status", "completed", "--yes"),
        ("cancel", "--since", "yesterday", "--yes"),
        ("cancel", *BLOCKED, "--yes", "--batch", "nightly"),
        ("undo", *BLOCKED, "--plan"),
        ("signal", "paid"),
        ("signal", *BLOCKED),
        ("signal", *BLOCKED, "paid", "--message-id", "x"),
    ],
)
def test_a_run_or_many_but_not_both(
    ask: Cli, responder: Responder, words: tuple[str, ...]
) -> None:
    """And never all because somebody forgot to say which."""
    assert ask("run", *words).code == failures.USAGE
    assert responder.asked == []
