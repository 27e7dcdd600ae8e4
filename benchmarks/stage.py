"""Stage: the processes of one benchmark run, their cost, and the raw limits beside them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from protocols.errors import MovantError
from runtime.server.binary import find
from runtime.server.credentials import read

ROOT: Final = Path(__file__).resolve().parent.parent
READY_S: Final = 30.0
RAW_S: Final = 1.0
PACKAGES: Final = ("trio", "pykka", "msgspec", "nats-py")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Process:
    """A started process; its peak memory and its CPU time are sampled from /proc."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.arguments = list(arguments)
        self.popen: subprocess.Popen[str]
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start it and wait for its line ``ready <url>``."""
        self.spawn()
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line.startswith("ready "):
            self.kill()
            raise RuntimeError(f"{self.name} did not start: {line!r}")
        self.url = line.split()[1]

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        self.popen = subprocess.Popen(  # our own module
            [sys.executable, "-m", "benchmarks.launch", *self.arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """End it with SIGTERM, then SIGKILL."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Stage:
    """Everything that runs during one benchmark."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.processes: dict[str, Process] = {}

    def start(self, name: str, *arguments: str) -> Process:
        """Start one of the processes of ``benchmarks.launch``."""
        process = self.processes[name] = Process(name, arguments)
        return process

    def daemon(self, durability: str, *more: str) -> Process:
        """Start a daemon with its embedded server."""
        return self.start(
            "daemon", "daemon", "--store", str(self.store), "--durability", durability, *more
        )

    def login(self, user: str) -> str:
        """Return the URL of the daemon's server with the login of one of its users."""
        host = self.processes["daemon"].url.removeprefix("nats://")
        return f"nats://{user}:{read(self.store, user)}@{host}"

    def another(self, name: str, *more: str) -> Process:
        """Start one more daemon at the server of the first one."""
        url = self.login("daemon")
        return self.start(name, "daemon", "--name", name, "--nats", url, *more)

    def server_pid(self) -> int:
        """Return the pid of the daemon's nats-server."""
        children = Path(f"/proc/{self.processes['daemon'].pid}/task")
        for task in children.iterdir():
            for child in (task / "children").read_text().split():
                if _command(child).endswith("nats-server"):
                    return int(child)
        return 0

    def cost(self) -> dict[str, dict[str, float]]:
        """Return peak memory (MB) and CPU time (s) of each process so far."""
        pids = {name: each.pid for name, each in self.processes.items()}
        pids["server"] = self.server_pid() if "daemon" in self.processes else 0
        pids["client"] = os.getpid()
        return {
            "rss_mb": {name: peak_mb(pid) for name, pid in pids.items() if pid},
            "cpu_s": {name: cpu_s(pid) for name, pid in pids.items() if pid},
        }

    def close(self) -> None:
        """Stop everything, services first."""
        for process in reversed(list(self.processes.values())):
            process.stop()


@contextmanager
def stage() -> Iterator[Stage]:
    """Open a stage with a temporary store; close it whatever happens."""
    store = Path(tempfile.mkdtemp(prefix="movant-bench-"))
    opened = Stage(store)
    try:
        yield opened
    finally:
        opened.close()
        shutil.rmtree(store, ignore_errors=True)


def _command(pid: str) -> str:
    """Return the program that a process runs, empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    except OSError:
        return ""


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process in MB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return round(int(found[0].split()[1]) / 1024, 1) if found else 0.0


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def disk_bytes(directory: Path) -> int:
    """Return what the files below a directory take on the disk."""
    total = 0
    for where, _, names in os.walk(directory):
        for name in names:
            # Files come and go while somebody writes here.
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118, PTH116
    return total


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def fdatasync_per_s(directory: Path) -> float:
    """Return how often 512 bytes can be written and synced in a second, one after the other."""
    path = directory / "raw"
    block = b"x" * 512
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        end = time.perf_counter() + RAW_S
        count = 0
        while time.perf_counter() < end:
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
        path.unlink()
    return count / RAW_S


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "versions": {
            "movant": metadata.version("movant"),
            "python": platform.python_version(),
            "nats-server": _server_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _server_version() -> str:
    try:
        return ".".join(map(str, find().version))
    except MovantError:
        return ""


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of values that need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def report(figures: dict[str, Any], *, as_json: bool) -> None:
    """Print figures for people, or as one JSON object on the last line."""
    if as_json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:20s} {value}")


async def timed(question: Callable[[], Awaitable[Any]]) -> float:
    """Return how long a question takes, in ms."""
    began = time.perf_counter()
    await question()
    return (time.perf_counter() - began) * 1e3


async def many(question: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Ask again and again; return how long each took, in ms."""
    return [await timed(question) for _ in range(max(1, times))]


def figures_of(name: str, times: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile under a name, in ms."""
    return {
        f"{name}p50_ms": round(percentile(times, 0.5), 1),
        f"{name}p99_ms": round(percentile(times, 0.99), 1),
    }


def chosen(argv: Sequence[str] | None, description: str, **numbers: int) -> argparse.Namespace:
    """Return what the command line says of a benchmark that asks one daemon again and again."""
    parser = argparse.ArgumentParser(description=description)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    return parser.parse_args(argv)


def asked(
    measure: Callable[[Stage, argparse.Namespace], Awaitable[dict[str, Any]]],
    options: argparse.Namespace,
    **told: Any,
) -> dict[str, Any]:
    """Run it on a stage with one daemon; return its figures behind what is ``told`` of them."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(options.durability)
        figures = trio.run(measure, opened, options)
    return {
        **told,
        "durability": options.durability,
        **figures,
        "fdatasync_per_s": round(raw),
        "load": round(os.getloadavg()[0], 1),
        **machine(),
    }
