"""The folder and the processes of a demonstration: a daemon, services, whatever else.

    with on_stage("movant-estate-") as stage:
        stage.start_daemon()
        stage.start("scraper", "examples.estate.services", "scraper", *stage.service_words)

Each process logs to ``<name>.log`` in the folder, and is ended by its pid at the end.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import trio

from movant import Client
from protocols.errors import MovantError

ROOT: Final = Path(__file__).parent.parent
MOVANT: Final = (sys.executable, "-m", "runtime")
"""The command ``movant``, of the interpreter that runs this."""
READY_S_MAX: Final = 40.0
COMMAND_S_MAX: Final = 60.0
STOP_S_MAX: Final = 15.0
POLL_S: Final = 0.1


class Processes:
    """Processes by their names, ended in the reverse of the order in which they were started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._orphans: set[int] = set()
        """Children of a killed process: a daemon's nats-server, if it outlived its parent."""

    def launch(
        self, name: str, *command: str, environment: Mapping[str, str], stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process that logs to a file of its name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                process_group=0,  # Ctrl-C is for the demonstration, which ends them in order
            )
        self._running[name] = process
        return process

    @property
    def names(self) -> tuple[str, ...]:
        """The processes that were started, the first one first."""
        return tuple(self._running)

    def pid(self, name: str) -> int:
        """Return the pid of a process that runs."""
        return self._running[name].pid

    def end(self, name: str) -> int:
        """Ask a process to end, wait for it, and return its pid."""
        process = self._running.pop(name)
        _end(process)
        return process.pid

    def kill(self, name: str) -> int:
        """End a process as a crash would, and return its pid."""
        process = self._running.pop(name)
        self._orphans |= children_of(process.pid)
        process.kill()
        process.wait(STOP_S_MAX)
        return process.pid

    def freeze(self, name: str) -> int:
        """Let a process stand still; return its pid."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP)
        return process.pid

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self._running[name].send_signal(signal.SIGCONT)

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
        """End every process: first politely, those that came last before the others."""
        processes = list(reversed(self._running.values()))
        self._running.clear()
        for process in processes[:-1]:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in processes:
            _end(process)
        for pid in self._orphans:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)


class Stage(Processes):
    """A daemon with a NATS server of its own, and what works for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        self.http = ""
        """Where the daemon takes webhooks: host and port; empty without them."""
        self.webhook_token = secrets.token_urlsafe(24)

    @property
    def http_url(self) -> str:
        """Where webhooks are posted to."""
        return f"http://{self.http}"

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
        """What movant's programs find server and login by, and what other programs use."""
        found = {
            **os.environ,
            "MOVANT_SERVER__STORE": str(self.store),
            "MOVANT_NATS": self.url,
            "MOVANT_WEBHOOK_TOKEN": self.webhook_token,
        }
        password = self.store / "credentials" / "service.password"
        if password.exists():  # what ``eval "$(movant nats env --user service)"`` sets
            found |= {"NATS_USER": "service", "NATS_PASSWORD": password.read_text().strip()}
        return found

    @property
    def service_words(self) -> tuple[str, ...]:
        """The options of the services: where they keep things, and whom they serve."""
        return ("--data", str(self.folder), "--nats", self.url)

    def start_daemon(self, *words: str, http: str = "") -> None:
        """Start the daemon; more options of ``movant serve`` may follow."""
        self.http = http
        environment = self.environment
        del environment["MOVANT_NATS"]  # it has its own server, and must not look for another one
        options = ("--store", str(self.store), "--nats-port", str(self.port), "--http", http)
        self.launch("daemon", *MOVANT, "serve", *options, *words, environment=environment)

    def start(self, name: str, module: str, *words: str) -> None:
        """Start a Python module as a process."""
        command = (sys.executable, "-m", module, *words)
        self.launch(name, *command, environment=self.environment)

    def movant(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a movant command."""
        return subprocess.run(
            (*MOVANT, *words),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )

    def cli(self, *words: str) -> Any:
        """Run a movant command and return its JSON. Raises RuntimeError when it fails."""
        ended = self.movant(*words, "-o", "json")
        if ended.returncode:
            said = ended.stderr.strip()
            raise RuntimeError(f"movant {' '.join(words)} ended with {ended.returncode}: {said}")
        return json.loads(ended.stdout)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Connect to the daemon as soon as it answers."""
        await self.ready()
        async with Client.connect(self.url, store=self.store) as client:
            yield client

    async def ready(self) -> None:
        """Wait until the daemon answers."""
        with trio.fail_after(READY_S_MAX):
            while True:
                self.check()
                try:
                    async with Client.connect(self.url, store=self.store) as client:
                        await client.status()
                        return
                except MovantError:
                    await trio.sleep(POLL_S)


@contextmanager
def on_stage(prefix: str) -> Iterator[Stage]:
    """Open a stage in a temporary folder; at the end all its processes are ended.

    Whoever ends the demonstration by SIGTERM, as ``timeout`` does, ends them as well.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        stage = Stage(Path(folder))
        try:
            yield stage
        finally:
            stage.clear()


async def until(
    what: str, there: Callable[[], Awaitable[bool] | bool], seconds: float, stage: Processes
) -> None:
    """Look again and again until it is there. Raises TimeoutError when it takes too long."""
    with trio.move_on_after(seconds):
        while True:
            found = there()
            if not isinstance(found, bool):
                found = await found
            if found:
                return
            stage.check()
            await trio.sleep(POLL_S)
    raise TimeoutError(f"{what}: not after {seconds:g} s")


def children_of(pid: int) -> set[int]:
    """Return the child processes of a process."""
    listed = subprocess.run(
        ("/bin/ps", "-A", "-o", "pid=,ppid="), capture_output=True, text=True, check=True
    )
    pairs = (line.split() for line in listed.stdout.splitlines())
    return {int(child) for child, parent in pairs if int(parent) == pid}


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
