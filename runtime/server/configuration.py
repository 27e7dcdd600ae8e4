"""The generated server configuration, as a pure function of the settings.

It is JSON, which nats-server reads as its own format; so there is no quoting to get wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from runtime.server.accounts import accounts

LOOPBACK: Final = "127.0.0.1"
PAYLOAD_BYTES_MAX: Final = 1024 * 1024
"""NATS's own default; movant puts larger values into the object store."""
STORE_BYTES_MAX: Final = 64 * 1024**3
"""What all streams may reserve together; a number of ours, so that it is the same everywhere."""
MEMORY_BYTES_MAX: Final = 256 * 1024**2
"""For memory streams; movant has none, tools may make some."""
FREE_BYTES_MIN: Final = 256 * 1024**2
"""Below this a start is refused: the server turns JetStream off when the disk is full."""
WRITE_DEADLINE: Final = "10s"
"""How long one client may block a write before it is dropped as too slow."""
PING_INTERVAL: Final = "4s"
PING_MISSES_MAX: Final = 2
"""A client that says nothing is asked so often whether it lives; the next time it is dropped. One
that is frozen keeps its place in the queue group of a service, and gets requests, for 12 to 16 s
(measured: 12.3 to 14.1 s); by the server's own default for 6 to 8 minutes. A program that stops
for less keeps its connection. Routes of a cluster are watched in the same way."""
SYNC_INTERVAL: Final = "10s"
"""``interval``: what a power cut may take at most. The server's own default is two minutes."""
_LOG_BYTES_MAX: Final = 10 * 1024**2
_LOG_FILES_MAX: Final = 3

Durability = Literal["fsync", "interval"]
"""``fsync``: an acknowledged message is on disk. ``interval``: it survives a process crash."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a server one of a cluster: where it listens for the others, and who they are.

    ``ports`` has the route ports of all nodes, this one's as well. The password keeps other
    users of the machine from joining.
    """

    cluster: str
    port: int
    ports: tuple[int, ...]
    password: str
    credentials: Path
    """The directory below which the passwords of the users stand, the same for all nodes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a person may choose about the embedded server.

    ``port`` 0 is a free one, kept over restarts. ``foreign`` are subjects of services outside
    of ``movant.svc``, as ``accounts.foreign_subjects`` gives them, and ``heard`` those of
    message triggers that clients publish.
    """

    store: Path
    port: int = 0
    name: str = "movant"
    durability: Durability = "fsync"
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    store_bytes_max: int = STORE_BYTES_MAX
    memory_bytes_max: int = MEMORY_BYTES_MAX
    free_bytes_min: int = FREE_BYTES_MIN
    foreign: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    node: Node | None = None
    """Set by ``runtime.server.cluster`` alone."""


def render(settings: Settings, port: int, passwords: Mapping[str, str]) -> str:
    """Return the text of the configuration file. ``port`` 0 lets the server choose.

    Nobody connects but the users of ``accounts``; ``passwords`` has one for each.

    All files of the server stand in the store directory; ``port`` goes before the settings'
    own, because a restart keeps the port of the first start.
    """
    document: dict[str, Any] = {
        "server_name": settings.name,
        "host": LOOPBACK,
        "port": port or -1,
        "max_payload": settings.payload_bytes_max,
        "write_deadline": WRITE_DEADLINE,
        "ping_interval": PING_INTERVAL,
        "ping_max": PING_MISSES_MAX,
        "pid_file": str(settings.store / PID_FILE),
        "ports_file_dir": str(settings.store / PORTS_DIRECTORY),
        "log_file": str(settings.store / LOG_FILE),
        "logfile_size_limit": _LOG_BYTES_MAX,
        "logfile_max_num": _LOG_FILES_MAX,
        "jetstream": {
            "store_dir": str(settings.store),
            "sync_interval": "always" if settings.durability == "fsync" else SYNC_INTERVAL,
            "max_file_store": settings.store_bytes_max,
            "max_memory_store": settings.memory_bytes_max,
        },
        "accounts": accounts(passwords, settings.foreign, settings.heard),
    }
    if settings.node is not None:
        document["cluster"] = _cluster(settings.node)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


PID_FILE: Final = "server.pid"
PORTS_DIRECTORY: Final = "ports"
LOG_FILE: Final = "server.log"
ERROR_FILE: Final = "server.err"
"""What the server says before its log is open; only of the last start."""
CONFIGURATION_FILE: Final = "server.conf"
LOCK_FILE: Final = "daemon.lock"
PORT_FILE: Final = "server.port"
ROUTE_USER: Final = "route"


def _cluster(node: Node) -> dict[str, Any]:
    login = f"{ROUTE_USER}:{node.password}"
    return {
        "name": node.cluster,
        "host": LOOPBACK,
        "port": node.port,
        "authorization": {"user": ROUTE_USER, "password": node.password},
        "routes": [f"nats-route://{login}@{LOOPBACK}:{port}" for port in node.ports],
    }
