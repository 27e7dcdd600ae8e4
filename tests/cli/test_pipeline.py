"""``movant pipeline`` and ``movant actor tree``: what they write, and how a watch ends."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.api import runs as api
from runtime.cli.actor import with_rates
from tests.cli.conftest import Cli
from tests.cli.test_end_to_end import READY_S, ROOT, Movant
from tests.client.responder import Responder
from tests.daemon.test_motions import PERMIT_FILE
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server

NS = 1_000_000_000
NOW = 1_700_000_000 * NS


def motion(name: str, **more: Any) -> api.MotionPipelineState:
    """Return a row."""
    facts: dict[str, Any] = {
        "machine": "permit",
        "current_state": "REVIEWED",
        "owner": "council",
        "entered_state_at": NOW - 90 * NS,
        "time_in_state_s": 90.0,
        "next_action": "council vote",
        **more,
    }
    return api.MotionPipelineState(motion_id=name, **facts)


STATUS = api.PipelineStatus(
    active_motions=3,
    motions_by_state={"REVIEWED": 2, "": 1},
    motions_by_machine={"permit": 3},
    blocked=1,
    blocked_motions=["m-1"],
    overdue=1,
    oldest_motion="m-1",
    oldest_motion_age_s=7_200.0,
    recent_completions=5,
    recent_failures=1,
    motions=[
        motion("m-1", blocking_issues=["council: nobody serves it"], expected_completion=NOW + NS),
        motion("m-2", overdue=True, expected_completion=NOW - 3_600 * NS),
    ],
    total=3,
    next=f"{NOW}.m-2",
    unread=1,
    silent=["south"],
    server_time=NOW,
)


def test_the_pipeline_is_written_for_people(ask: Cli, responder: Responder) -> None:
    """Counts first, then who has waited longest; what is missing is said as well."""
    responder.answers["pipeline"] = STATUS

    ended = ask("pipeline", "--machine", "permit", "--overdue", "-n", "2")

    request = responder.asked[0][1]
    assert (request.machine, request.state, request.limit) == ("permit", None, 2)
    assert (request.overdue, request.blocked) == (True, False)
    lines = ended.out.splitlines()
    assert lines[:6] == [
        "active     3",
        "states     REVIEWED 2  (not yet) 1",
        "blocked    1",
        "overdue    1",
        "oldest     m-1  started 2h00m ago",
        "last 24 h  5 completed  1 failed",
    ]
    assert lines[8].split("  ")[-1] == "council: nobody serves it"
    assert "1m30s" in lines[8]
    assert "in 1.0s" in lines[8]
    assert "1h00m ago" in lines[9]
    assert ended.err.splitlines() == [
        "2 of 3 motions; --all shows the others",
        "missing: the motions of south, who does not answer",
        "1 motions are not read yet; ask again in a moment",
    ]


def test_all_pages_are_one_document(ask: Cli, responder: Responder) -> None:
    """A program gets what the API says, with every row."""
    last = api.PipelineStatus(active_motions=3, motions=[motion("m-3")], total=3)
    responder.answers["pipeline"] = lambda request: last if request.after else STATUS

    whole = ask("pipeline", "--all", "-o", "json").json
    rows = ask("pipeline", "--all", "-o", "jsonl").out.splitlines()

    assert [each["motion_id"] for each in whole["motions"]] == ["m-1", "m-2", "m-3"]
    assert whole["active_motions"] == 3
    assert [json.loads(row)["motion_id"] for row in rows] == ["m-1", "m-2", "m-3"]


def trees(at: int, **answers: int) -> api.ActorTree:
    """Return what a daemon tells at a time, in seconds."""
    return api.ActorTree(
        root=api.ActorNode(name="daemon", kind="supervisor", state="running"),
        services=[
            api.ServiceFlow(service=name, daemon="d", answers=count)
            for name, count in answers.items()
        ],
        server_time=NOW + at * NS,
    )


def test_a_rate_is_what_came_between_two_questions() -> None:
    """Not before the second one; nor behind a restart, which counts from nothing."""
    first, second = trees(0, a=100, b=100), trees(2, a=150, b=10, c=70)

    rated = {each.service: each.rate_per_s for each in with_rates(second, first).services}

    assert rated == {"a": 25.0, "b": 0.0, "c": 0.0}
    assert with_rates(first, None) is first


def test_the_tree_tells_strategies_crashes_and_services(ask: Cli, responder: Responder) -> None:
    """On one screen."""
    child = api.ActorNode(
        name="api",
        kind="worker",
        state="running",
        restarts=1,
        last_crash="ValueError('a\nb')",
        up_s=61.0,
    )
    root = api.ActorNode(
        name="daemon",
        kind="supervisor",
        state="running",
        strategy="rest_for_one",
        children=[child],
    )
    flow = api.ServiceFlow(
        service="bank",
        daemon="d",
        breaker="open",
        parked=12,
        p50_s=0.004,
        p99_s=2.0,
        error_rate=0.25,
    )
    responder.answers["actor.tree"] = api.ActorTree(root=root, services=[flow])

    ended = ask("actor", "tree")

    assert ended.out.splitlines() == [
        "daemon  running  rest_for_one",
        "└─ api  running  restarts 1  last crash: ValueError('a b'), up 1m01s since",
        "",
        "SERVICE  DAEMON  BREAKER  PARKED  RATE  P50  P99   ERRORS  PAUSED",
        "bank     d       open     12      -     4ms  2.0s  25%     -",
    ]


def watch(url: str, *words: str, **pipes: Any) -> subprocess.Popen[str]:
    """Watch the tree in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "runtime", "actor", "tree", "--watch", "--nats", url, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **pipes,
    )


@pytest.mark.parametrize(
    ("words", "begins"), [(("-o", "json"), '{"root"'), ((), "daemon  running")]
)
def test_a_watch_writes_again_and_again_until_interrupted(
    responder: Responder, shared_nats: NatsServer, words: tuple[str, ...], begins: str
) -> None:
    """A line of JSON each time, or plain text without a terminal; Ctrl-C is no failure."""
    responder.answers["actor.tree"] = trees(0, bank=3)
    process = watch(
        shared_nats.url, "-n", "0.1", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None

    seen = 0
    for line in process.stdout:
        seen += line.startswith(begins)
        assert "\x1b" not in line
        if seen == 3:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=READY_S)

    assert (process.returncode, errors) == (0, "")


def test_a_watch_on_a_terminal_stays_in_place(
    responder: Responder, shared_nats: NatsServer
) -> None:
    """It begins in the first cell each time, and cuts what does not fit."""
    responder.answers["actor.tree"] = trees(0, **{f"s{number:02}": 1 for number in range(60)})
    ours, theirs = pty.openpty()
    process = watch(
        shared_nats.url, "-n", "0.1", stdout=theirs, stderr=subprocess.PIPE, stdin=theirs
    )
    os.close(theirs)

    drawn = ""
    deadline = time.monotonic() + READY_S
    while drawn.count("more lines") < 2 and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            drawn += os.read(ours, 65_536).decode()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=READY_S)
    os.close(ours)

    screens = drawn.split("\x1b[H")
    assert screens[0] == ""
    assert screens[1].startswith("daemon  running\x1b[K\r\n")
    assert screens[1].count("\n") < 24
    assert process.returncode == 0


@pytest.fixture
def movant(tmp_path: Path) -> Iterator[Movant]:
    """Run a daemon with a server of its own."""
    running = Movant(tmp_path)
    try:
        yield running
    finally:
        if running.daemon is not None and running.daemon.poll() is None:
            running.stop()


@pytest.mark.slow
def test_a_daemon_tells_its_motions_and_its_tree(movant: Movant) -> None:
    """As processes: a machine is registered, one motion started that nobody works on."""
    movant.serve("--http", "")
    movant("workflow", "register", str(PERMIT_FILE))
    movant("run", "start", "permit", "-i", "plot=7", "--id", "m-1")

    deadline = time.monotonic() + READY_S
    while True:
        told = json.loads(movant("pipeline", "-o", "json"))
        if told["blocked"] or time.monotonic() > deadline:
            break
    (row,) = told["motions"]
    text = movant("pipeline", "--blocked")
    found = json.loads(movant("actor", "tree", "-o", "json"))

    assert (row["motion_id"], row["machine"], row["current_state"]) == ("m-1", "permit", "FILED")
    assert row["blocking_issues"] == ["clerk: nobody serves it"]
    assert "clerk: nobody serves it" in text
    assert found["root"]["strategy"] == "rest_for_one"
    assert [(each["service"], each["parked"]) for each in found["services"]] == [("clerk", 1)]
