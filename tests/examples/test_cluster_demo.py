"""The demonstration on a cluster plays to its end, in a short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.long]

ROOT = Path(__file__).parent.parent.parent


def test_nothing_is_lost_when_a_daemon_and_a_server_are_killed(nats_binary: str) -> None:
    """Exit code 0 says that all orders ended right; the story tells who was killed."""
    command = [sys.executable, "-m", "examples.cluster.demo", "--daemons", "2"]
    ended = subprocess.run(
        [*command, "--calm", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )

    assert nats_binary
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "KILLED daemon" in ended.stdout
    assert "KILLED server" in ended.stdout
    assert "Nothing lost, nothing done twice." in ended.stdout
