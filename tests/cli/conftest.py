"""Fixtures of the command line's tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from runtime.cli import invoke
from tests.client.responder import Responder
from tests.support.nats import NatsServer


class Ended(NamedTuple):
    """What a command wrote, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the log out of the captured output.

    structlog's set-up is the process's, so a command of a test must not leave its own behind.
    """
    for module in ("runtime.telemetry", "runtime.cli.doctor"):
        monkeypatch.setattr(f"{module}.configure", lambda *_: None)
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run a command in this process."""
    for name in ("MOVANT_NATS", "MOVANT_NATS__URL", "MOVANT_CONFIG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = invoke(arguments)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def responder(
    shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch, _quiet: None
) -> Iterator[Responder]:
    """Answer nothing yet; tests fill ``answers`` in."""
    monkeypatch.setattr("runtime.cli.session.PATIENCE_S", 0.1)
    with Responder(shared_nats.url, {}) as found:
        yield found


@pytest.fixture
def ask(cli: Cli, responder: Responder, shared_nats: NatsServer) -> Cli:
    """Run a command against the responder."""
    assert responder.asked == []
    return lambda *arguments: cli(*arguments, "--nats", shared_nats.url)
