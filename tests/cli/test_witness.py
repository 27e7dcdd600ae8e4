"""``movant why`` and ``movant verify`` against canned answers, and who is told to have acted."""

from __future__ import annotations

import getpass
import socket

import pytest

from protocols import errors
from protocols.api import runs as api
from protocols.effects import Waiting
from protocols.witness import Operator
from tests.cli.conftest import Cli
from tests.client.responder import Responder

pytestmark = pytest.mark.server

EDITED = api.Discrepancy(
    kind="edited",
    stream="MAIL",
    seq=23,
    subject="movant.mail.7.r.signal.go",
    detail="subject, headers or payload are not as statement 2 names it",
)


def verified(run: str, *findings: api.Discrepancy, notes: tuple[str, ...] = ()) -> api.RunVerified:
    """Return the answer about a run of nine messages."""
    return api.RunVerified(
        id=run,
        status="completed",
        messages=9,
        covered=9,
        statements=2,
        published=2,
        head="5f0d",
        findings=list(findings),
        notes=list(notes),
    )


def test_why_is_one_sentence(ask: Cli, responder: Responder) -> None:
    """On standard output, and nothing else."""
    waiting = [Waiting(path="/ok", kind="signal", since=1, detail="approve")]
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = api.RunView(
        id="r1", workflow="orders", definition="d", status="running", started_at=1, waiting=waiting
    )

    ended = ask("why", "r1")
    shown = ask("why", "r1", "-o", "json")

    assert ended.code == 0
    assert len(ended.out.splitlines()) == 1
    assert "for the signal 'approve'" in ended.out
    assert shown.json["kind"] == "signal"
    assert shown.json["wakes"] in ended.out


def test_a_clean_run_is_exit_code_0(ask: Cli, responder: Responder) -> None:
    """With what was compared; notes are talk."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.verify"] = verified("r1", notes=("2 statements are older",))

    ended = ask("verify", "r1")

    assert ended.code == 0
    assert "ok" in ended.out
    assert "note: 2 statements are older" in ended.err


def test_a_finding_is_named_and_exit_code_1(ask: Cli, responder: Responder) -> None:
    """Sequence, subject, and what differs; in JSON as well."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.verify"] = verified("r1", EDITED)

    ended = ask("verify", "r1")
    shown = ask("verify", "r1", "-o", "json")

    assert (ended.code, shown.code) == (1, 1)
    for part in ("edited", "23", EDITED.subject, EDITED.detail):
        assert part in ended.out
    assert shown.json["findings"][0]["seq"] == 23


def test_all_runs_are_verified_page_by_page(ask: Cli, responder: Responder) -> None:
    """Those with findings are named, the others counted; a run that is gone is no failure."""
    rows = [
        api.RunRow(id=run, workflow="orders", status="completed") for run in ("r1", "r2", "r3")
    ]

    def page(request: api.RunList) -> api.RunPage:
        first = int(request.after or 0)
        following = "2" if first == 0 else ""
        return api.RunPage(runs=rows[first : first + 2], total=3, next=following)

    def verify(request: api.RunVerify) -> api.RunVerified | errors.MovantError:
        if request.id == "r3":
            return errors.NotFoundError("no instance 'r3'")
        return verified(request.id, *([EDITED] if request.id == "r2" else []))

    responder.answers["run.ls"] = page
    responder.answers["run.verify"] = verify

    ended = ask("verify", "--all")
    lines = ask("verify", "--all", "-o", "jsonl")

    assert ended.code == 1
    assert "r2 " in ended.out
    assert "r1 " not in ended.out
    assert "2 of 3 runs verified, 1 with findings" in ended.err
    assert len(lines.out.splitlines()) == 2


@pytest.mark.parametrize("arguments", [(), ("r1", "--all")])
def test_either_one_run_or_all_are_verified(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Neither and both are usage errors."""
    ended = cli("verify", *arguments)

    assert ended.code == 2
    assert "--all" in ended.err


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("run.cancel", ("cancel", "r1")),
        ("run.migrate", ("migrate", "r1")),
        ("run.signal", ("signal", "r1", "go")),
    ],
)
def test_what_is_done_by_hand_says_who_did_it(
    ask: Cli, responder: Responder, verb: str, arguments: tuple[str, ...]
) -> None:
    """The system's user, the machine, and the reason."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.cancel"] = responder.answers["run.signal"] = api.Accepted(
        id="r1", seq=3
    )
    responder.answers["run.migrate"] = api.RunMigrated(
        id="r1", seq=3, definition="d", status="running"
    )

    ended = ask("run", *arguments, "--reason", "too late")

    (request,) = [request for asked, request in responder.asked if asked == verb]
    assert ended.code == 0
    assert request.by == Operator(
        who=getpass.getuser(), where=socket.gethostname(), why="too late"
    )


def test_the_history_shows_who_did_it(ask: Cli, responder: Responder) -> None:
    """Behind what the message says."""
    entry = api.HistoryEntry(
        seq=4,
        at=1,
        kind="control.cancel",
        summary="enough",
        by=Operator(who="ann", where="desk 7", why="too late"),
    )
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.history"] = api.HistoryPage(entries=[entry], next=0)

    ended = ask("run", "history", "r1")

    assert "enough  by ann on desk 7: too late" in ended.out
