"""Daemon: wires the supervision tree; start -> ready -> drain -> stopped.

    daemon (rest_for_one)
    ├─ server      (one_for_one) the embedded nats-server, when there is one
    ├─ bridge      the connection
    ├─ store       streams, keys, lease, writers
    ├─ actors      the actor system
    ├─ router      routes and presence
    ├─ workflows   owner, requests, reader, checkpoints
    └─ edges       (one_for_one) API, health

What a child makes for those after it stands in ``Parts``; when a child is restarted, all that
come after it are made anew from it.
"""

from __future__ import annotations

from importlib import metadata
from typing import Final

VERSION: Final = metadata.version("movant")
STREAMS: Final = ("MAIL", "TIMERS", "EVENTS", "ARCHIVE", "DEAD")
