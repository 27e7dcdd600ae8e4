"""Health: what ``/healthz`` and ``/readyz`` say of a daemon; ``runtime.http`` serves them."""

from __future__ import annotations

from typing import Any, Final, Protocol

import trio

from protocols.errors import ConfigurationError
from runtime.config import DaemonConfig
from supervisors.child import ChildStatus

_NOT_CONNECTED: Final = "no connection"

Told = ChildStatus | trio.TaskStatus[Any]
"""Whom to tell that the server listens."""


class Served(Protocol):
    """What health asks of a daemon."""

    config: DaemonConfig
    state: str

    def problems(self) -> list[str]:
        """Return what a person should look at."""
        ...


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``host:port``. Raises ConfigurationError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:  # noqa: PLR2004 - the largest port
        raise ConfigurationError(
            f"http.address {text!r} is no address", hint="write host:port, such as 127.0.0.1:8700"
        )
    return host.strip("[]"), int(port)


def live(daemon: Served) -> tuple[int, dict[str, Any]]:
    """Tell whether the process is worth keeping. That this runs shows that the loop does."""
    return (503 if daemon.state == "stopped" else 200), {"state": daemon.state}


def ready(daemon: Served) -> tuple[int, dict[str, Any]]:
    """Tell whether the daemon takes work, with one entry per check.

    Problems that a person should look at do not take a daemon out of service; only those that
    keep it from working do.
    """
    problems = daemon.problems()
    cut_off = [problem for problem in problems if problem.startswith(_NOT_CONNECTED)]
    checks = {
        "state": "ok" if daemon.state == "ready" else daemon.state,
        "nats": cut_off[0] if cut_off else "ok",
    }
    passed = all(each == "ok" for each in checks.values())
    return (200 if passed else 503), {"ready": passed, "checks": checks, "problems": problems}
