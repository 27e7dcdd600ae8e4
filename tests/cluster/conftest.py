"""One cluster for all tests of this folder: whoever breaks it has it mended afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import NatsCluster


@pytest.fixture(scope="session")
def whole_cluster(nats_binary: str) -> Iterator[NatsCluster]:
    """Start the cluster once: a start takes a second or two."""
    with NatsCluster(nats_binary) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: NatsCluster) -> Iterator[NatsCluster]:
    """Return a cluster in which all is well and nothing is stored."""
    whole_cluster.revive()
    for name in whole_cluster.ask("STREAM.NAMES")["streams"] or []:
        whole_cluster.ask(f"STREAM.DELETE.{name}")
    yield whole_cluster
    for each in whole_cluster.nodes:
        each.thaw()


def told(answer: object) -> str:
    """Return an answer as text, for the message of a failure."""
    return json.dumps(answer)[:500]
