"""Identity: which process on which machine holds a lease, and whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from actors.leases import Lease


def own_lease(daemon: str) -> Lease:
    """Return a lease in the name of this process."""
    return Lease(daemon, socket.gethostname(), os.getpid(), boot_id())


def boot_id() -> str:
    """Return an id of this boot of the machine, empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_dead(lease: Lease) -> bool:
    """Tell whether the holder of a lease is surely gone: same host, no such process."""
    if lease.host != socket.gethostname() or lease.boot != boot_id():
        return False
    if lease.pid == os.getpid():
        return True
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
