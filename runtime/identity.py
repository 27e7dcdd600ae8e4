"""Identity: which process on which machine a member's record stands for, and whether it lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from actors.owning.membership import Member

ALIVE: Final[set[str]] = set()
"""Keys of the members that live in this process: its id alone does not tell them apart."""


def own_member(name: str, version: str) -> Member:
    """Return a record in the name of this process."""
    return Member(name, socket.gethostname(), os.getpid(), boot_id(), "starting", version)


def boot_id() -> str:
    """Return an id of this boot and process namespace, empty where there is none.

    Containers may share a host name, but not their process ids.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def is_dead(key: str, member: Member) -> bool:
    """Tell whether a member is surely gone: same host, no such process."""
    if member.host != socket.gethostname() or member.boot != boot_id():
        return False
    if member.pid == os.getpid():
        return key not in ALIVE
    try:
        os.kill(member.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
