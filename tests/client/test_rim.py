"""The small servers at the rim: health over HTTP, notices to systemd, and the log."""

from __future__ import annotations

import json
import re
import socket
from functools import partial
from pathlib import Path

import pytest
import trio

from protocols.errors import ConfigurationError
from runtime.config import DaemonConfig, HttpConfig
from runtime.health import parse_address, ready
from runtime.http import HEAD_BYTES_MAX, serve_http
from runtime.notify import keep_notified, notify, watchdog_s
from runtime.telemetry import EVENTS

ROOT = Path(__file__).resolve().parents[2]
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
READY = HEALTH.replace(b"healthz", b"readyz")


class _Daemon:
    """What health asks of a daemon."""

    def __init__(self, state: str = "ready", address: str = "127.0.0.1:0") -> None:
        self.config = DaemonConfig(http=HttpConfig(address=address))
        self.state = state
        self.found: list[str] = []

    def problems(self) -> list[str]:
        return self.found


async def _ask(url: str, request: bytes) -> bytes:
    host, port = parse_address(url.removeprefix("http://"))
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(request)
        seen = b""
        async for chunk in stream:
            seen += chunk
        return seen


async def test_health_and_readiness_are_served_over_http() -> None:
    """A probe needs a status; a person needs the reasons."""
    daemon = _Daemon()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_http, daemon))
            live = await _ask(url, HEALTH)
            ready = await _ask(url, READY.replace(b"dyz", b"dyz?x=1"))
            daemon.state = "draining"
            daemon.found = ["no connection to NATS"]
            still_live = await _ask(url, HEALTH)
            unready = await _ask(url, READY)
            nursery.cancel_scope.cancel()

    assert live.startswith(b"HTTP/1.1 200 ")
    assert ready.startswith(b"HTTP/1.1 200 ")
    assert still_live.startswith(b"HTTP/1.1 200 ")
    assert unready.startswith(b"HTTP/1.1 503 ")
    assert json.loads(unready.partition(b"\r\n\r\n")[2])["checks"] == {
        "state": "draining",
        "nats": "no connection to NATS",
    }


async def test_a_head_without_end_is_cut_off() -> None:
    """Nobody can fill the memory of the daemon through its health check."""
    answered = await _answers(b"GET /" + b"x" * (HEAD_BYTES_MAX + 10))

    assert answered.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
        (b"HEAD /healthz HTTP/1.0\r\n\r\n", 200),
        (b"hello\r\n\r\n", 400),
    ],
)
async def test_what_is_no_probe_gets_the_status_for_it(head: bytes, status: int) -> None:
    """There are two pages, and what triggers listen to."""
    assert (await _answers(head)).startswith(b"HTTP/1.1 %d " % status)


async def _answers(head: bytes) -> bytes:
    """Return what a daemon without triggers answers."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_http, _Daemon()))
            answered = await _ask(url, head)
            nursery.cancel_scope.cancel()
    return answered


def test_problems_for_people_do_not_take_a_daemon_out_of_service() -> None:
    """One crashed instance must not stop the others."""
    daemon = _Daemon()
    daemon.found = ["1 instances crashed in this daemon"]

    status, told = ready(daemon)

    assert status == 200
    assert "crashed" in str(told)


async def test_a_taken_address_is_a_configuration_error() -> None:
    """A person has to choose another one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        daemon = _Daemon(address=f"127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(ConfigurationError, match=r"http\.address"):
            await serve_http(daemon, task_status=trio.TASK_STATUS_IGNORED)


@pytest.mark.parametrize("text", ["", "127.0.0.1", "x:y", "x:70000"])
def test_an_address_needs_host_and_port(text: str) -> None:
    """Half an address is refused at the start, not at the first probe."""
    with pytest.raises(ConfigurationError):
        parse_address(text)


def test_systemd_is_told_over_its_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol is one datagram of lines."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))

        sent = notify(READY=1, STATUS="ready")

        assert sent
        assert manager.recv(100) == b"READY=1\nSTATUS=ready"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon in a terminal has no service manager."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify(READY=1)


async def test_the_watchdog_is_fed_only_while_the_daemon_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has given up is restarted by systemd."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "30000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        states = iter(["ready", "ready", "stopped", "stopped"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_notified, lambda: next(states), lambda: "fine")
            first = await trio.to_thread.run_sync(manager.recv, 100)
            second = await trio.to_thread.run_sync(manager.recv, 100)
            nursery.cancel_scope.cancel()

    assert watchdog_s() == 0.03
    assert first == b"STATUS=fine\nWATCHDOG=1"
    assert second == b"STATUS=fine"


def _logged() -> set[str]:
    """Return every event name in the code: the first argument of a log call, and reports'."""
    call = re.compile(
        r"\b_?log\.(?:debug|info|warning|error|critical|exception)\(\s*\"([a-z_]+\.[a-z_]+)\""
    )
    report = re.compile(r"\"((?:child|supervisor)\.[a-z]+)\"")
    names: set[str] = set()
    for folder in ("actors", "supervisors", "runtime"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "telemetry.py":
                names.update(call.findall(path.read_text()))
    names.update(report.findall((ROOT / "supervisors" / "report.py").read_text()))
    return names


def test_the_catalogue_names_every_event_that_is_logged_and_no_other() -> None:
    """Alerts are built on these names."""
    assert _logged() == set(EVENTS)
    assert all(meaning.endswith(".") for meaning in EVENTS.values())
    assert list(EVENTS) == sorted(EVENTS)
