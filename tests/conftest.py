"""Fixtures for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.support.nats import MISSING, NatsServer


@pytest.fixture(scope="session")
def nats_binary() -> str:
    """Return the path of a nats-server; skip the test when there is none."""
    path = shutil.which("nats-server")
    if path is None:
        pytest.skip(MISSING)
    return path


@pytest.fixture
def nats_server(nats_binary: str) -> Iterator[NatsServer]:
    """Start a fresh nats-server for one test, with fsync of each message."""
    with NatsServer(nats_binary) as server:
        yield server


@pytest.fixture(scope="session")
def shared_nats(nats_binary: str) -> Iterator[NatsServer]:
    """Start one nats-server for all tests that leave no traces and break nothing."""
    with NatsServer(nats_binary, sync_interval="2m") as server:
        yield server
