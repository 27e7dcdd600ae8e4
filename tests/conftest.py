"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocols.errors import ConfigurationError
from runtime.server.binary import find
from tests.support.nats import NatsServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of clusters run in one process: they elect leaders, and share a cluster."""
    for item in items:
        if "cluster" in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def nats_binary() -> str:
    """Return the path of a nats-server; skip the test when there is none."""
    try:
        return find().path
    except ConfigurationError as error:
        pytest.skip(f"{error.message}; {error.hint}")


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
