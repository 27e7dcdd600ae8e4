"""EmbeddedServer: movant's own nats-server as a supervised child of the daemon.

    run()   lock the store -> end a leftover -> check disk, passwords -> start -> ready -> watch
              │                                                                              │
              └── a ConfigurationError: a person has to act      ServerDiedError: start me again

The object outlives its runs: it remembers the port, so that a restarted server is where its
clients look for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog
import trio

from protocols.errors import MovantError
from runtime.server import credentials, health, store
from runtime.server.binary import Binary, find
from runtime.server.configuration import (
    CONFIGURATION_FILE,
    ERROR_FILE,
    LOG_FILE,
    LOOPBACK,
    PORT_FILE,
    PORTS_DIRECTORY,
    Settings,
    render,
)
from runtime.server.errors import (
    PortTakenError,
    ServerDiedError,
    ServerUnusableError,
    from_api_error,
)

READY_S_MAX: Final = 120.0
"""A start takes 0.1 s; after a crash the server may have to rebuild an index of many GB."""
STOP_S_MAX: Final = 15.0
"""From SIGTERM to SIGKILL. A stop takes 0.1 s, and the store also survives SIGKILL."""
_POLL_S: Final = 0.02
_LOG_LINES_SHOWN: Final = 12
_LOG_BYTES_READ: Final = 32_768

log = structlog.get_logger(__name__)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """How a running server is watched: ``misses_max`` silent checks in a row are a death."""

    period_s: float = 2.0
    timeout_s: float = 5.0
    misses_max: int = 3


class EmbeddedServer:
    """One nats-server per store directory. ``run`` is one life of the process."""

    def __init__(
        self, settings: Settings, *, binary: Binary | None = None, watch: Watch | None = None
    ) -> None:
        self.settings = msgspec.structs.replace(settings, store=settings.store.absolute())
        self._binary = binary
        self._watch = watch or Watch()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = settings.port
        self._passwords: dict[str, str] = {}
        self._hung = False
        self._log_start = 0
        self.version = ""

    @property
    def port(self) -> int:
        """The port that clients use; 0 before the first start."""
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect; valid from the first start on, the same over restarts."""
        assert self._port, "the server was never started"
        return f"nats://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the server, 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def _log_path(self) -> Path:
        return self.settings.store / LOG_FILE

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; report the url when clients and JetStream are served.

        Raises a ConfigurationError when a person has to act, and ServerDiedError when the
        process ended or hangs: then call it again. Whatever happens, the process is gone when
        it returns.
        """
        binary = self._binary
        if binary is None:
            binary = await trio.to_thread.run_sync(find)
        directory = self.settings.store
        with store.locked(directory):
            ended = await store.end_leftover(directory)
            if ended:
                log.warning("server.leftover_ended", pid=ended, store=str(directory))
            store.check_free(directory, self.settings.free_bytes_min)
            node = self.settings.node
            self._passwords = credentials.ensure(node.credentials if node else directory)
            store.adopt(directory)
            process = await self._start(binary)
            try:
                self._remember_port()
                log.info("server.started", pid=process.pid, url=self.url, version=self.version)
                task_status.started(self.url)
                await self._watch_over(process)
            finally:
                await self._end(process, grace_s=0 if self._hung else STOP_S_MAX)

    async def _start(self, binary: Binary) -> subprocess.Popen[bytes]:
        """Start the process and wait until it is ready."""
        if self._port:
            return await self._start_at(binary, self._port)
        former = _former_port(self.settings.store)
        if former:
            with suppress(PortTakenError):
                return await self._start_at(binary, former)
        return await self._start_at(binary, 0)

    async def _start_at(self, binary: Binary, port: int) -> subprocess.Popen[bytes]:
        process = self._spawn(binary, port)
        try:
            with trio.fail_after(READY_S_MAX):
                self._port = await self._ready(process)
        except trio.TooSlowError as error:
            await self._end(process, grace_s=0)
            raise ServerDiedError(
                f"the NATS server was not ready in {READY_S_MAX:g} s:\n{self._last_words()}",
                hint=f"read {self._log_path}, then start again",
            ) from error
        except BaseException:
            await self._end(process, STOP_S_MAX)
            raise
        return process

    async def _end(self, process: subprocess.Popen[bytes], grace_s: float) -> None:
        """End the process, whether we are cancelled or not."""
        with trio.CancelScope(shield=True):
            await _stop(process, grace_s)
        self._process = None

    def _spawn(self, binary: Binary, port: int) -> subprocess.Popen[bytes]:
        """Start the process. Not in a worker thread: Linux ties it to the *thread* that forks."""
        directory = self.settings.store
        configuration = directory / CONFIGURATION_FILE
        command = [binary.path, "-c", str(configuration)]
        self._hung = False
        if sys.platform == "linux":
            leash = Path(__file__).with_name("leash.py")
            command = [sys.executable, "-I", "-S", str(leash), str(os.getpid()), *command]
        try:
            for stale in (directory / PORTS_DIRECTORY).glob("*.ports"):
                stale.unlink()
            self._log_start = self._log_path.stat().st_size if self._log_path.exists() else 0
            _write(configuration, render(self.settings, port, self._passwords))
            with (directory / ERROR_FILE).open("wb") as errors:
                self._process = subprocess.Popen(  # noqa: S603 - the binary that find() chose
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    # Ctrl-C is for the daemon, which still needs the server while it drains.
                    process_group=0,
                )
        except OSError as error:
            raise ServerUnusableError(
                f"the NATS server cannot be started: {error}",
                hint=f"check {binary.path} and {directory}",
            ) from error
        return self._process

    async def _ready(self, process: subprocess.Popen[bytes]) -> int:
        """Return the port once clients and JetStream are served there."""
        while True:
            if process.poll() is not None:
                raise self._explain_exit(process.returncode)
            port = self._announced_port(process.pid)
            if port:
                answer = await self._ask(port)
                if not answer.problem:
                    self.version = answer.version
                    return port
                out_of_space = from_api_error(answer.code, answer.problem) if answer.code else None
                if out_of_space is not None:
                    raise out_of_space
            await trio.sleep(_POLL_S)

    async def _ask(self, port: int) -> health.Health:
        return await health.ask(
            LOOPBACK,
            port,
            self._watch.timeout_s,
            "daemon",
            self._passwords["daemon"],
            jetstream=self.settings.node is None,
        )

    async def _watch_over(self, process: subprocess.Popen[bytes]) -> None:
        """Return never; raise when the process ends or stays silent."""
        misses, answer = 0, health.Health()
        while misses < self._watch.misses_max:
            with trio.move_on_after(self._watch.period_s):
                await _exited(process)
            if process.returncode is not None:
                raise ServerDiedError(
                    f"the NATS server (pid {process.pid}) ended with status"
                    f" {process.returncode}; its last lines:\n{self._last_words()}",
                    hint=f"it is started again; if it repeats read {self._log_path}",
                )
            answer = await self._ask(self._port)
            misses = misses + 1 if answer.problem else 0
            if answer.problem:
                log.warning("server.unhealthy", problem=answer.problem, misses=misses)
        self._hung = True
        store.check_free(self.settings.store, self.settings.free_bytes_min)
        raise from_api_error(answer.code, answer.problem) or ServerDiedError(
            f"the NATS server does not serve: {answer.problem}",
            hint=f"it is started again; if it repeats read {self._log_path}",
        )

    def _announced_port(self, pid: int) -> int:
        """Return the port from the server's ports file, 0 while it is not written."""
        found = next((self.settings.store / PORTS_DIRECTORY).glob(f"*_{pid}.ports"), None)
        try:
            urls = json.loads(found.read_text())["nats"] if found else []
            return int(urls[0].rpartition(":")[2]) if urls else 0
        except (OSError, ValueError, KeyError):
            return 0

    def _explain_exit(self, status: int) -> MovantError:
        """Return the error for a server that ended before it was ready."""
        words = self._last_words()
        lowered = words.lower()
        configuration = self.settings.store / CONFIGURATION_FILE
        if "address already in use" in lowered:
            return PortTakenError(
                "the port that the NATS server has to use is taken by another process",
                hint="end that process, or choose another port (0 is a free one)",
            )
        if "no space left" in lowered:
            found = from_api_error(0, f"no space left\n{words}")
            assert found is not None
            return found
        return ServerUnusableError(
            f"the NATS server ended at once with status {status}; its last lines:\n{words}",
            hint=f"run: {self._binary.path if self._binary else 'nats-server'} -c {configuration}",
        )

    def _last_words(self) -> str:
        directory = self.settings.store
        lines = _tail(self._log_path, self._log_start) + _tail(directory / ERROR_FILE, 0)
        return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "(it said nothing)"

    def _remember_port(self) -> None:
        _write(self.settings.store / PORT_FILE, f"{self._port}\n")


def _former_port(directory: Path) -> int:
    try:
        return int((directory / PORT_FILE).read_text())
    except (OSError, ValueError):
        return 0


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable for its owner only."""
    draft = path.with_name(f"{path.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    draft.replace(path)


def _tail(path: Path, start: int) -> list[str]:
    """Return the last lines after ``start``, where the present run began to write."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            begin = start if start <= size else 0  # the log was rotated since
            file.seek(max(begin, size - _LOG_BYTES_READ))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has ended, and reap it."""
    if sys.platform == "linux" and process.poll() is None:
        handle = os.pidfd_open(process.pid)
        try:
            await trio.lowlevel.wait_readable(handle)
        finally:
            trio.lowlevel.notify_closing(handle)
            os.close(handle)
    while process.poll() is None:  # noqa: ASYNC110 - the kernel tells nobody on other systems
        await trio.sleep(_POLL_S)


async def _stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the process: SIGTERM, and SIGKILL after ``grace_s``."""
    if process.poll() is None and grace_s > 0:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(grace_s):
            await _exited(process)
    if process.poll() is None:
        log.warning("server.killed", pid=process.pid, after_s=grace_s)
        process.kill()
        await _exited(process)
