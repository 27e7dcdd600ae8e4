"""Commands against canned answers: what they write, and their exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from protocols import errors
from protocols.api import runs as api
from protocols.compensation import PlannedUndo, StepFate
from protocols.effects import Waiting
from protocols.failure import Failure
from tests.cli.conftest import Cli
from tests.client.responder import Responder
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

LONG_ID = "a" * 60


def _view(status: str = "running", **more: object) -> api.RunView:
    facts: dict[str, object] = {
        "id": "r1",
        "workflow": "orders",
        "definition": "d" * 32,
        "status": status,
        "started_at": 1_700_000_000_000_000_000,
        **more,
    }
    return api.RunView(**facts)  # type: ignore[arg-type]  # facts of a test


def test_a_start_writes_the_run_and_says_what_comes_next(ask: Cli, responder: Responder) -> None:
    """Data goes to standard output, talk to standard error."""
    responder.answers["run.start"] = lambda request: api.RunStarted(
        id=request.id, created=True, status="running", definition="d"
    )

    ended = ask("run", "start", "orders", "-i", "n=3", "-i", "to.name=Ann", "--id", "o-1")

    (_, request) = responder.asked[0]
    assert request.input == {"n": 3, "to": {"name": "Ann"}}
    assert ended.code == 0
    assert "o-1" in ended.out
    assert "movant run watch o-1" in ended.err


def test_the_input_may_come_from_a_pipe(
    ask: Cli, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-`` is standard input; pairs go over it."""
    responder.answers["run.start"] = api.RunStarted(
        id="x", created=True, status="running", definition="d"
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1, "b": 2}')))

    ended = ask("run", "start", "orders", "-f", "-", "-i", "b=x", "-o", "json")

    assert responder.asked[0][1].input == {"a": 1, "b": "x"}
    assert ended.json["id"] == "x"


def test_a_start_that_waits_writes_the_result_alone(ask: Cli, responder: Responder) -> None:
    """A script reads the result; people see the id."""
    responder.answers["run.start"] = api.RunStarted(
        id="r1", created=True, status="running", definition="d"
    )
    responder.answers["run.wait"] = api.RunOutcome(id="r1", status="completed", result={"ok": 1})

    ended = ask("run", "start", "orders", "--wait")

    assert ended.code == 0
    assert ended.json == {"ok": 1}
    assert "run r1" in ended.err


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_run_that_did_not_complete_is_exit_code_1(
    ask: Cli, responder: Responder, status: str
) -> None:
    """``movant run wait X && ship`` ships only what has completed."""
    failure = Failure(kind="refused", message="no licence", details={"step": "zoning"})
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.wait"] = api.RunOutcome(
        id="r1",
        status=status,  # type: ignore[arg-type]  # a parameter of the test
        failure=failure,
    )

    ended = ask("run", "wait", "r1")

    assert ended.code == 1
    assert ended.out == ""
    assert "no licence" in ended.err
    assert '{"step":"zoning"}' in ended.err


def test_a_wait_that_takes_too_long_is_exit_code_124(ask: Cli, responder: Responder) -> None:
    """As of timeout(1)."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.wait"] = api.RunOutcome(id="r1", status="running")

    ended = ask("run", "wait", "r1", "--timeout", "0.05")

    assert ended.code == 124
    assert "still running" in ended.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFoundError("no instance", hint="movant run ls"), 5),
        (errors.AlreadyExistsError("taken", hint="another id"), 6),
        (errors.RefusedError("policy", hint="ask"), 6),
        (errors.InvalidIdError("bad id", hint="letters"), 2),
        (errors.ConfigurationError("setting", hint="mend"), 2),
        (errors.OverloadedError("full", hint="later"), 4),
        (errors.InternalError("a defect", hint="report"), 70),
    ],
)
def test_an_error_is_told_with_the_next_step_and_its_code(
    ask: Cli, responder: Responder, error: errors.MovantError, code: int
) -> None:
    """A script branches on the code, a person reads on."""
    responder.answers["run.resolve"] = error

    ended = ask("run", "show", "r1")

    assert ended.code == code
    assert ended.out == ""
    assert ended.err == f"error: {error.message}\nnext:  {error.hint}\n"


def test_the_fields_of_a_wrong_input_are_listed(ask: Cli, responder: Responder) -> None:
    """One field a line."""
    fields = {"name": "is missing", "kitchen.size": "Expected `int`, got `str`"}
    responder.answers["run.start"] = errors.InvalidInputError("it does not fit", fields=fields)

    ended = ask("run", "start", "orders")

    assert ended.code == 2
    assert "  name          is missing\n" in ended.err
    assert "  kitchen.size  Expected `int`, got `str`\n" in ended.err


def test_a_list_off_a_terminal_is_whole_and_plain(ask: Cli, responder: Responder) -> None:
    """``awk`` gets every id in full."""
    rows = [api.RunRow(id=LONG_ID, workflow="orders", status="running", started_at=1)]
    responder.answers["run.ls"] = api.RunPage(runs=rows, total=1)

    ended = ask("run", "ls")

    assert ended.out.splitlines()[0].startswith("RUN ")
    assert ended.out.splitlines()[1].startswith(f"{LONG_ID}  orders    running ")
    assert "\x1b" not in ended.out
    assert "1 of 1 runs" in ended.err


def test_all_pages_are_read_when_all_are_asked_for(ask: Cli, responder: Responder) -> None:
    """One JSON line per run, whatever the page."""

    def page(request: api.RunList) -> api.RunPage:
        number = int(request.after or 0)
        row = api.RunRow(id=f"r{number}", workflow="orders", status="running")
        return api.RunPage(runs=[row], total=3, next=str(number + 1) if number < 2 else "")

    responder.answers["run.ls"] = page

    ended = ask("run", "ls", "--all", "-o", "jsonl")

    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == ["r0", "r1", "r2"]


def test_a_unique_beginning_of_an_id_is_enough(ask: Cli, responder: Responder) -> None:
    """People type four characters, not twenty."""
    responder.answers["run.resolve"] = lambda request: api.RunResolved(
        id=request.prefix + "-whole"
    )
    responder.answers["run.show"] = lambda request: _view(id=request.id)

    ended = ask("run", "show", "ab", "-o", "json")

    assert ended.json["id"] == "ab-whole"


def test_a_whole_id_is_not_looked_up(ask: Cli, responder: Responder) -> None:
    """One request less, and it works for a run that is too old to be listed."""
    responder.answers["run.show"] = lambda request: _view(id=request.id)

    ended = ask("run", "show", LONG_ID, "-o", "jsonl")

    assert json.loads(ended.out)["id"] == LONG_ID


def test_a_run_is_shown_with_what_it_waits_for(ask: Cli, responder: Responder) -> None:
    """The first question about a run is why it does not go on."""
    waiting = [
        Waiting(
            path="/charge",
            kind="step",
            since=1,
            detail="billing.charge",
            attempt=3,
            failed="it is down",
        )
    ]
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view(waiting=waiting, input={"n": 1}, state={"at": "billing"})

    ended = ask("run", "show", "r1")

    assert "status       running" in ended.out
    assert "step /charge  billing.charge  attempt 3  after it is down" in ended.out


def test_no_step_of_a_run_that_has_ended_is_shown_as_running(
    ask: Cli, responder: Responder
) -> None:
    """It was under way when the run ended: the one that failed, and those beside it."""
    failure = Failure(kind="system", message="/steps/a/x.y: system: it is down")
    state = {f"steps.{name}": text for name, text in (("a", "running"), ("b", "running"))}
    responder.answers["run.show"] = _view("failed", failure=failure, state=state)

    ended = ask("run", "show", LONG_ID)

    assert "a  failed" in ended.out
    assert "b  stopped" in ended.out


def test_a_run_that_continued_shows_its_generation(ask: Cli, responder: Responder) -> None:
    """Whoever reads its paths wants to know what ``/@3`` means."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view(generation=1_234)

    ended = ask("run", "show", "r1")

    assert "generation  1,234" in ended.out


def test_a_blocked_run_says_how_to_go_on(ask: Cli, responder: Responder) -> None:
    """Blocked is repaired by code, not by waiting."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view("blocked", blocked="unknown step /x")

    ended = ask("run", "show", "r1")

    assert "unknown step /x" in ended.out
    assert "movant run migrate r1" in ended.err


def test_history_is_a_line_per_message(ask: Cli, responder: Responder) -> None:
    """What happened, when, to which step."""
    entries = [
        api.HistoryEntry(seq=5, at=1_000_000_000, kind="start", name="orders", body={"n": 1}),
        api.HistoryEntry(
            seq=9,
            at=2_500_000_000,
            kind="reply",
            path="/charge",
            attempt=2,
            failure=Failure(kind="declined", message="no money"),
        ),
    ]
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.history"] = api.HistoryPage(entries=entries)

    ended = ask("run", "history", "r1")

    start, reply = ended.out.splitlines()[1:]
    assert start.split() == ["5", "0ms", "start", "orders", '{"n":1}']
    assert reply.split(maxsplit=3) == [
        "9",
        "1.5s",
        "reply",
        "/charge (attempt 2)  declined: no money",
    ]


def test_a_signal_may_go_to_a_run_that_has_not_started(ask: Cli, responder: Responder) -> None:
    """The mailbox keeps it."""
    responder.answers["run.resolve"] = errors.NotFoundError("no instance")
    responder.answers["run.signal"] = lambda request: api.Accepted(id=request.id, seq=3)

    ended = ask("run", "signal", "later", "paid", '{"amount": 12}', "-o", "json")

    assert ended.json == {"id": "later", "seq": 3}
    assert responder.asked[-1][1].data == {"amount": 12}


@pytest.mark.parametrize(
    ("state", "problems", "code"),
    [("ready", [], 0), ("ready", ["disk"], 3), ("draining", [], 3)],
)
def test_status_is_3_when_somebody_should_look(
    ask: Cli, responder: Responder, state: str, problems: list[str], code: int
) -> None:
    """Monitoring needs no parser."""
    responder.answers["status"] = api.StatusView(
        version="1",
        daemon="d1",
        state=state,
        durability="fsync",
        uptime_s=3,
        partitions=[0, 1, 2, 7],
        counters={"live": 12_000.0, "idle": 0.0},
        problems=problems,
    )

    ended = ask("status")

    assert ended.code == code
    assert "0-2, 7" in ended.out
    assert "12,000" in ended.out
    assert "idle" not in ended.out


def test_status_of_several_daemons_fits_a_narrow_terminal(ask: Cli, responder: Responder) -> None:
    """One line each; lists of scattered numbers help nobody, and fill the screen."""
    rows = [
        api.DaemonRow(
            daemon=name,
            state=state,
            host="machine",
            pid=4_000_000,
            partitions=list(range(first, 64, 2)),
            live=123_456,
            lag=7,
        )
        for first, (name, state) in enumerate([("alpha", "ready"), ("beta", "silent")])
    ]
    responder.answers["status"] = api.StatusView(
        version="1",
        daemon="alpha",
        state="ready",
        durability="fsync",
        uptime_s=3,
        partitions=rows[0].partitions,
        counters={"writer_KV_movant_checkpoints_messages": 12_000.0},
        daemons=rows,
        owners=[api.PartitionRow(partition=n, daemon="alpha" * (n != 5)) for n in range(64)],
    )

    ended = ask("status")

    lines = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["alpha", "ready", "32"],
        ["beta", "silent", "32"],
    ]
    assert any(line.split() == ["unowned", "partitions", "5"] for line in lines)


def test_without_a_daemon_the_exit_code_is_4_and_a_command_is_named(cli: Cli) -> None:
    """The first thing that a new user sees must help."""
    ended = cli("status")

    assert ended.code == 4
    assert "error: no daemon found" in ended.err
    assert "movant dev" in ended.err


def test_a_server_without_a_daemon_is_exit_code_4(
    cli: Cli, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reachable, but nobody serves."""
    monkeypatch.setattr("runtime.cli.session.PATIENCE_S", 0.0)

    ended = cli("status", "--nats", shared_nats.url)

    assert ended.code == 4
    assert "no daemon serves it" in ended.err


def test_the_tree_is_drawn(ask: Cli, responder: Responder) -> None:
    """Who runs below whom, and what was restarted."""
    child = api.ActorNode(name="api", kind="worker", state="running", restarts=2, queued=1_500)
    root = api.ActorNode(name="daemon", kind="supervisor", state="running", children=[child])
    responder.answers["actor.tree"] = api.ActorTree(root=root)

    ended = ask("actor", "tree")

    assert ended.out == "daemon  running\n└─ api  running  restarts 2  queued 1,500\n"


def test_services_and_workflows_are_listed(ask: Cli, responder: Responder) -> None:
    """Empty lists say what to do instead of writing nothing."""
    row = api.ServiceRow(name="billing", state="absent", operations=["charge"], open_requests=3)
    responder.answers["service.ls"] = api.ServicePage(services=[row])
    responder.answers["workflow.ls"] = api.WorkflowPage(workflows=[])

    services, workflows = ask("service", "ls"), ask("workflow", "ls")

    assert services.out.splitlines()[1].split() == [
        *("billing", "absent", "closed", "3", "0", "charge"),
    ]
    assert "movant workflow register" in workflows.err


def test_a_workflow_is_packed_here_and_registered_there(
    ask: Cli, responder: Responder, tmp_path: Path
) -> None:
    """The daemon gets content, not a path of this machine."""
    path = tmp_path / "greeting.py"
    path.write_text(
        "import movant\n\n@movant.workflow\nasync def greet(ctx: movant.Context) -> int:\n"
        "    return 1\n"
    )
    responder.answers["workflow.register"] = lambda request: api.WorkflowRegistered(
        hash=request.hash, workflows=["greet"], created=True
    )

    ended = ask("workflow", "register", str(path), "-o", "jsonl")

    found = json.loads(ended.out)
    assert found["workflows"] == ["greet"]
    assert found["hash"] == responder.asked[0][1].hash


@pytest.mark.parametrize("word", ["wait", "watch"])
def test_ctrl_c_while_following_a_run_is_quiet(
    ask: Cli, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Who stops looking is told nothing, least of all that movant is defective."""
    stop = KeyboardInterrupt()

    def interrupted(*_: object) -> None:
        raise stop if word == "wait" else BaseExceptionGroup("of a nursery", [stop])

    monkeypatch.setattr(
        f"runtime.cli.run_{'start' if word == 'wait' else 'watch'}.ask", interrupted
    )

    ended = ask("run", word, LONG_ID)

    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "")


def test_a_watch_of_a_blocked_run_ends_with_the_reason(ask: Cli, responder: Responder) -> None:
    """Nothing would come: somebody has to do something first."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view("blocked", blocked="exception: KeyError (a.py:3 in a)")

    ended = ask("run", "watch", "r1")

    assert ended.code == 1
    assert "exception: KeyError (a.py:3 in a)" in ended.out
    assert "movant run migrate r1" in ended.err


def test_a_wait_outlasts_a_restart_of_the_daemon(
    ask: Cli, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of hours is waited for once; that the daemon went away is said."""
    monkeypatch.setattr("runtime.cli.session.PATIENCE_S", 0.0)
    monkeypatch.setattr("runtime.cli.session.AGAIN_S", 0.0)
    answers: Iterator[api.Message | errors.MovantError] = iter(
        [
            errors.UnknownOutcomeError("the connection was lost"),
            errors.UnavailableError("the daemon is starting"),
            api.RunOutcome(id=LONG_ID, status="completed", result=4),
        ]
    )
    responder.answers["run.wait"] = lambda _: next(answers)

    ended = ask("run", "wait", LONG_ID)

    assert (ended.code, ended.json) == (0, 4)
    assert "the daemon is away; waiting for it" in ended.err


def test_a_wait_ends_when_the_daemon_hangs_or_stays_away(
    ask: Cli, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its time; without one when nobody has answered for a minute."""
    monkeypatch.setattr("runtime.cli.session.AGAIN_S", 0.0)
    monkeypatch.setattr("runtime.cli.session.RETURN_S", 0.2)
    monkeypatch.setattr("runtime.cli.session.GRACE_S", 0.1)
    monkeypatch.setattr("runtime.client.client.WAIT_SLICE_S", 0.0)

    hung = ask("run", "wait", LONG_ID, "--timeout", "0.1")
    running = api.RunOutcome(id=LONG_ID, status="running")
    answers: Iterator[api.Message | errors.MovantError] = chain(
        [running], repeat(errors.UnavailableError("the daemon is starting"))
    )
    responder.answers["run.wait"] = lambda _: next(answers)
    away = ask("run", "wait", LONG_ID)

    assert (hung.code, away.code) == (4, 4)
    assert "has not answered within 0.1 s" in hung.err
    assert away.err.count("waiting for it") == 1
    assert "error: the daemon is starting" in away.err


def test_what_is_wrong_with_the_input_as_a_whole_has_a_name(
    ask: Cli, responder: Responder
) -> None:
    """A person reads where, and which command shows what is right."""
    responder.answers["run.start"] = errors.InvalidInputError(
        "the input does not fit workflow orders",
        fields={"": "Expected `object`"},
        hint=": Expected `object`",
    )

    ended = ask("run", "start", "orders")

    assert "  (input)  Expected `object`" in ended.err
    assert "movant workflow show orders" in ended.err


def test_input_that_is_no_json_is_named_by_file_and_line(ask: Cli, tmp_path: Path) -> None:
    """One bad line of thousands has to be found."""
    path = tmp_path / "orders.jsonl"
    path.write_text('{"n": 1}\n{"n": \n')

    many = ask("run", "start", "orders", "--ndjson", "-f", str(path))
    one = ask("run", "start", "orders", "-f", str(path))

    assert many.code == one.code == 2
    assert f"error: {path}:2: " in many.err
    assert f"error: {path}: " in one.err


def test_a_workflow_that_would_not_start_is_not_registered(
    ask: Cli, responder: Responder, tmp_path: Path
) -> None:
    """What validate calls an error is found before anybody starts a run of it."""
    path = tmp_path / "flow.py"
    path.write_text(
        "import movant\n\n@movant.workflow\n"
        "async def bad(ctx: movant.Context, n: 'Missing') -> None:\n    return None\n"
    )

    ended = ask("workflow", "register", str(path))

    assert ended.code == 2
    assert "flow.py:3:1: error: an annotation of 'bad'" in ended.err
    assert responder.asked == []


PLANNED = PlannedUndo(
    path="/charge", service="bank", operation="refund", key="r1/1/charge", outcome="unknown"
)


def test_a_plan_shows_what_would_be_undone(ask: Cli, responder: Responder) -> None:
    """In order, with who undoes it; nothing is asked for."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.undo"] = api.RunUndone(id="r1", status="running", plan=[PLANNED])

    ended = ask("run", "undo", "--plan", "r1")

    (_, request) = responder.asked[-1]
    assert request.plan
    assert ended.code == 0
    assert "bank.refund" in ended.out
    assert "unknown" in ended.out
    assert "1 steps of run r1 (running) would be undone" in ended.err


def test_a_person_says_whether_a_step_was_done(ask: Cli, responder: Responder) -> None:
    """With its result, who says so and why; one of the two words has to be said."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.review"] = api.Accepted(id="r1", seq=7)

    done = ask("run", "review", "r1", "/pay", "--done", "--result", '"p-7"', "--reason", "seen")
    (_, request) = responder.asked[-1]
    silent = ask("run", "review", "r1", "/pay")

    assert (request.step, request.done, request.result) == ("/pay", True, "p-7")
    assert (request.by.why, bool(request.by.who)) == ("seen", True)
    assert done.code == 0
    assert silent.code == 2


def test_a_lost_value_is_given_up_with_a_reason(ask: Cli, responder: Responder) -> None:
    """By the sequence of its message; a file that is not there is a usage error."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.discard"] = api.Accepted(id="r1", seq=23)

    ended = ask("run", "discard", "r1", "21", "--reason", "the disk is lost")
    (_, request) = responder.asked[-1]
    wrong = ask("run", "discard", "r1", "none")
    absent = ask("run", "supply", "r1", "/nowhere/value.json")

    assert (request.message, request.by.why) == (21, "the disk is lost")
    assert ended.code == 0
    assert "movant why r1" in ended.err
    assert wrong.code == absent.code == 2


def test_an_undo_says_who_asks_and_names_the_run_that_does_it(
    ask: Cli, responder: Responder
) -> None:
    """A run that has ended is undone by another one."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.undo"] = api.RunUndone(
        id="r1", status="completed", plan=[PLANNED], run="r1-undo-1"
    )

    ended = ask("run", "undo", "r1", "--reason", "wrong week")

    (_, request) = responder.asked[-1]
    assert (request.plan, request.reason) == (False, "wrong week")
    assert request.by.who
    assert "movant run watch r1-undo-1" in ended.err


def test_a_run_shows_what_became_of_its_steps(ask: Cli, responder: Responder) -> None:
    """What could not be undone, and why; and the command to look further."""
    responder.answers["run.resolve"] = api.RunResolved(id="r1")
    responder.answers["run.show"] = _view(
        "compensation_incomplete",
        failure=Failure(kind="broken", message="on purpose"),
        steps=(
            StepFate(path="/charge", fate="could_not", service="bank", detail="stuck: not today"),
            StepFate(path="/mail", fate="done"),
        ),
    )

    ended = ask("run", "show", "r1")

    assert "could not  /charge  bank  stuck: not today" in ended.out
    assert "done       /mail" in ended.out
    assert "movant run undo --plan r1" in ended.err
