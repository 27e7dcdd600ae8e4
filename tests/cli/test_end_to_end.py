"""The whole of it as processes: serve, register, start, wait, history, SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20.0
FLOW = '''"""A workflow for a test."""

import movant


def double(n: int) -> int:
    return 2 * n


@movant.workflow("test.double")
async def twice(ctx: movant.Context, n: int) -> int:
    """Double a number when somebody agrees."""
    result = await ctx.run(double, n)
    await ctx.signal("agreed")
    return result
'''

pytestmark = pytest.mark.server


class Movant:
    """The command line as processes, on a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.folder = folder
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("MOVANT_")},
            "XDG_STATE_HOME": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        self.daemon: subprocess.Popen[str] | None = None

    def serve(self, *flags: str) -> dict[str, Any]:
        """Start the daemon; return the log record that says where health is served."""
        with (self.folder / "daemon.err").open("w") as errors:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "runtime", "serve", "--store", str(self.store), *flags],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.daemon.stdout is not None
        health: dict[str, Any] = {}
        for line in self.daemon.stdout:
            record = json.loads(line)
            if record["event"] == "http.listening":
                health = record
            if record["event"] == "daemon.ready":
                return health
        raise AssertionError((self.folder / "daemon.err").read_text())

    def stop(self) -> int:
        """Tell the daemon to stop, and return its exit code."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.communicate(timeout=READY_S)
        return self.daemon.returncode

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """Run a command against the daemon and return its standard output."""
        ended = subprocess.run(
            [sys.executable, "-m", "runtime", *words, "--store", str(self.store)],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )
        assert ended.returncode == code, (words, ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout


@pytest.fixture
def movant(tmp_path: Path, nats_binary: str) -> Iterator[Movant]:
    """Prepare a folder; end the daemon of the test, by its pid."""
    assert nats_binary
    (tmp_path / "flow.py").write_text(FLOW)
    found = Movant(tmp_path)
    yield found
    if found.daemon is not None and found.daemon.poll() is None:
        found.daemon.kill()
        found.daemon.communicate(timeout=READY_S)
    elif found.daemon is not None and found.daemon.stdout is not None:
        found.daemon.stdout.close()


def test_a_run_lives_through_a_restart_of_the_daemon(movant: Movant) -> None:
    """Serve, register, start; stop and serve again; signal, wait, history: nothing is lost."""
    health = movant.serve("--durability", "interval")
    registered = json.loads(movant("workflow", "register", "flow.py", "-o", "json"))
    started = json.loads(
        movant("run", "start", "test.double", "-f", "-", "--id", "d-1", "-o", "json", stdin="21")
    )
    with urllib.request.urlopen(health["url"] + "/readyz", timeout=5) as answer:  # noqa: S310 - our own URL
        ready = json.load(answer)
    first_exit = movant.stop()
    gone = movant("status", code=4)

    movant.serve("--durability", "interval", "--http", "")
    shown = json.loads(movant("run", "show", "d-", "-o", "json"))
    movant("run", "signal", "d-1", "agreed")
    result = movant("run", "wait", "d-1", "--timeout", "10")
    history = [
        json.loads(line) for line in movant("run", "history", "d-1", "-o", "jsonl").splitlines()
    ]
    exported = movant("run", "export", "d-1")
    replayed = json.loads(movant_replay(movant, exported))
    second_exit = movant.stop()

    assert registered[0]["workflows"] == ["test.double"]
    assert started["created"] is True
    assert ready["ready"] is True
    assert (first_exit, second_exit) == (0, 0)
    assert gone == ""
    assert shown["id"] == "d-1"
    assert shown["waiting"][0]["kind"] == "signal"
    assert json.loads(result) == 42
    assert [entry["kind"] for entry in history] == ["start", "reply", "signal"]
    assert replayed["differences"] == []
    assert not (movant.store / "daemon.json").exists()


def movant_replay(movant: Movant, exported: str) -> str:
    """Replay an export from a pipe; this command has no daemon."""
    return subprocess.run(
        [sys.executable, "-m", "runtime", "run", "replay", "-", "-o", "json"],
        cwd=movant.folder,
        env=movant.environment,
        input=exported,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=True,
    ).stdout


def test_a_second_daemon_on_the_store_is_refused(movant: Movant) -> None:
    """Two owners of one store would be two truths."""
    movant.serve("--durability", "interval")

    movant("serve", code=2)

    assert json.loads(movant("status", "-o", "json"))["state"] == "ready"


def test_dev_serves_the_example_for_people(movant: Movant) -> None:
    """The first two commands of a newcomer work."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "runtime", "dev", "--store", str(movant.store)],
        cwd=movant.folder,
        env=movant.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    movant.daemon = daemon
    assert daemon.stderr is not None
    seen = ""
    for line in daemon.stderr:
        seen += line
        if "Ctrl-C" in line:
            break

    result = movant("run", "start", "hello", "-i", "name=Ann", "-i", "wait_s=0", "--wait")
    daemon.send_signal(signal.SIGINT)
    out, _ = daemon.communicate(timeout=READY_S)

    assert "movant run start hello" in seen
    assert "Hello, Ann!" in json.loads(result)
    assert daemon.returncode == 0
    assert out == ""
    assert not seen.lstrip().startswith("{")


def test_a_person_sees_why_a_run_waits_who_acted_and_that_nothing_was_changed(
    movant: Movant,
) -> None:
    """With the client's permissions; the step behind the signal waits for nobody."""
    movant.serve("--workflow", "flow.py", "--http", "")
    for run in ("r1", "r2"):
        movant("run", "start", "test.double", "-f", "-", "--id", run, stdin="4")
    while '"signal"' not in movant("run", "show", "r1", "-o", "json"):
        pass
    why = movant("why", "r1")
    movant("run", "signal", "r1", "agreed", "--reason", "all is well")
    movant("run", "cancel", "r2", "--reason", "too late")
    movant("run", "wait", "r1", "--timeout", "20")
    movant("run", "wait", "r2", "--timeout", "20", code=1)
    history = movant("run", "history", "r2")
    ended = movant("why", "r1")
    verified = json.loads(movant("verify", "--all", "-o", "json"))

    assert "waits at /signal.agreed for the signal 'agreed'" in why
    assert "too late  by " in history
    assert "r1 has completed" in ended
    assert {each["id"]: each["findings"] for each in verified} == {"r1": [], "r2": []}
    assert movant.stop() == 0
