"""The generated server configuration, read as the server would: as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.bridge import BridgeLimits
from runtime.server.accounts import USERS
from runtime.server.configuration import Node, Settings, render

_PASSWORDS = {name: f"secret-of-{name}" for name in USERS}
_SHARED = "secret-of-the-routes"


def _rendered(node: Node | None = None) -> dict[str, Any]:
    settings = Settings(store=Path("/store"), foreign=("billing.>",), node=node)
    document: dict[str, Any] = json.loads(render(settings, 4222, _PASSWORDS))
    return document


def _node(number: int) -> Node:
    ports = (7001, 7002, 7003)
    return Node(
        cluster="c", port=ports[number], ports=ports, password=_SHARED, credentials=Path("/")
    )


def test_a_frozen_client_is_dropped_soon_and_a_pause_of_some_seconds_is_none() -> None:
    """So long a frozen member of a queue group gets requests that it does not answer."""
    document = _rendered()
    interval_s = float(document["ping_interval"].removesuffix("s"))
    limits = BridgeLimits()

    # One interval may pass until the first PING, because the client has just said something.
    soonest_s = interval_s * (document["ping_max"] + 1)
    assert soonest_s + interval_s <= 16
    assert soonest_s > 1.5 * limits.watchdog_s * (limits.watchdog_misses_max + 1)


def test_a_node_of_a_cluster_differs_from_a_server_alone_by_its_routes_only() -> None:
    """The same users, accounts and limits; each knows all, and strangers do not join."""
    alone = _rendered()
    nodes = [_rendered(_node(number)) for number in range(3)]

    assert set(alone["accounts"]) == {"MOVANT", "CLIENTS", "SERVICES", "MONITORS"}
    for number, node in enumerate(nodes):
        cluster = node.pop("cluster")
        assert node == alone
        assert cluster["authorization"] == {"user": "route", "password": _SHARED}
        assert cluster["port"] == 7001 + number
        assert [each.rpartition(":")[2] for each in cluster["routes"]] == ["7001", "7002", "7003"]
