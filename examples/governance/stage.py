"""The processes of the demonstration: the daemon, the branches, the gazette."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from examples.governance.serve import NAMES, RULES

ROOT: Final = Path(__file__).parent.parent.parent
STOP_S_MAX: Final = 10.0


class Stage:
    """The folder and the processes of one demonstration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.gazette_port = free_port()
        self.rules = folder / "rules"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        shutil.copytree(RULES, self.rules)

    @property
    def url(self) -> str:
        """Where the daemon's server listens."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """The daemon's store; the passwords of its NATS users stand there."""
        return self.folder / "store"

    @property
    def environment(self) -> dict[str, str]:
        """What movant's programs find server and login by."""
        return {
            **os.environ,
            "MOVANT_SERVER__STORE": str(self.store),
            "MOVANT_NATS": self.url,
        }

    def start_daemon(self) -> None:
        """Start the daemon with a server of its own."""
        options = ("--store", str(self.store), "--nats-port", str(self.port), "--http", "")
        # It has its own server: MOVANT_NATS would make it look for another one.
        self._start("daemon", "runtime", "serve", *options, without="MOVANT_NATS")

    def start_branches(self) -> None:
        """Start all seven."""
        for name in NAMES:
            self.start_branch(name)

    def start_branch(self, name: str) -> None:
        """Start one branch."""
        options = ["--data", str(self.folder), "--nats", self.url, "--rules", str(self.rules)]
        options += ["--gazette", f"127.0.0.1:{self.gazette_port}"]
        self._start(name, "examples.governance.serve", name, *options)

    def open_gazette(self) -> None:
        """Start the printing house."""
        options = ("--data", str(self.folder), "--port", str(self.gazette_port))
        self._start("gazette", "examples.governance.gazette", *options)

    def end(self, name: str) -> int:
        """Ask a process to end; return its pid."""
        process = self._running.pop(name)
        _end(process)
        return process.pid

    def freeze(self, name: str) -> int:
        """Let a process stand still; return its pid."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP)
        return process.pid

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self._running[name].send_signal(signal.SIGCONT)

    def movant(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a movant command."""
        return subprocess.run(
            (sys.executable, "-m", "runtime", *words),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def log(self, name: str) -> str:
        """Return the last lines of a process's log."""
        with suppress(FileNotFoundError):
            return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
        return ""

    def check(self) -> None:
        """Raise RuntimeError when a process has ended that should not have."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")

    def clear(self) -> None:
        """End every process by its pid: the branches first, then the daemon."""
        processes = list(reversed(self._running.values()))
        for process in processes[:-1]:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in processes:
            _end(process)

    def _start(self, name: str, module: str, *words: str, without: str = "") -> None:
        environment = {k: v for k, v in self.environment.items() if k != without}
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                (sys.executable, "-m", module, *words),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the demonstration, which ends them in order
            )


def free_port() -> int:
    """Return a port that is free on the loopback interface now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S_MAX)
