"""A server that many tests share, because starting one per message proves nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.daemon import Running, daemon
from tests.support.nats import NatsServer
from tests.support.shop import Shop


@pytest.fixture(scope="session")
def kept_nats(nats_binary: str) -> Iterator[NatsServer]:
    """Start a server whose streams stay from test to test; each daemon takes over."""
    with NatsServer(nats_binary, sync_interval="2m") as server:
        yield server


@pytest.fixture
async def shared_daemon(kept_nats: NatsServer) -> AsyncIterator[Running]:
    """Run a daemon that takes over what the test before left, poison and all."""
    async with daemon(kept_nats.url, services=[Shop().service]) as running:
        yield running
