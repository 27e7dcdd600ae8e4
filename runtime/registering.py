"""Registering: from a packed definition to one that new runs start with, on all daemons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import trio

from actors.definitions.packing import pack
from runtime.api.peers import Peers, Registered

if TYPE_CHECKING:
    from pathlib import Path

    from actors.definitions.bundle import Packed
    from runtime.daemon import Daemon

log = structlog.get_logger()


async def register_file(daemon: Daemon, path: Path) -> list[str]:
    """Pack and register the workflows of a file; return their names."""
    packed = await trio.to_thread.run_sync(pack, path)
    ready = await daemon.parts.definitions.opened(packed)
    await register_packed(daemon, ready)
    return list(ready.workflows)


async def register_packed(daemon: Daemon, packed: Packed) -> None:
    """Store a definition, and tell whoever waits for its workflows."""
    await daemon.parts.definitions.register(packed)
    daemon.parts.owner.registered(packed.workflows)
    Peers(daemon).tell_all("registered", Registered(list(packed.workflows)))
    log.info("workflow.registered", hash=packed.hash, workflows=list(packed.workflows))
