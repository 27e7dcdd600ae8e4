"""A connection and streams to try the store with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from actors.store import streams
from runtime.bridge import NatsTransport, connect
from runtime.clock import SystemEntropy
from tests.bridge.support import QUICK
from tests.support.nats import NatsServer

PARTITIONS = 64


@pytest.fixture
async def transport(nats_server: NatsServer) -> AsyncIterator[NatsTransport]:
    """Connect to a fresh server that has movant's streams."""
    async with connect(nats_server.url, name="test", limits=QUICK) as connected:
        await streams.ensure(connected, streams.wanted(partitions=PARTITIONS, replicas=1))
        yield connected


@pytest.fixture
def entropy() -> SystemEntropy:
    """Return real randomness: two writers must never choose one batch id."""
    return SystemEntropy()
