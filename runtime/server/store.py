"""The store directory: one daemon and one server at a time, on a disk with room.

The lock is an flock that the daemon holds, so it vanishes with the daemon. A server that
outlived its daemon is found through the pid that the server itself wrote, and is touched only
when its command line names this store's configuration file: a pid may have been given to a
stranger since.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog
import trio

from runtime.server.accounts import MAIN
from runtime.server.configuration import CONFIGURATION_FILE, LOCK_FILE, PID_FILE, PORTS_DIRECTORY
from runtime.server.errors import (
    DiskFullError,
    ServerDiedError,
    StoreLockedError,
    StoreNotWritableError,
)

LEFTOVER_S_MAX: Final = 10.0
"""A server that is told to stop needs 0.1 s; one with a slow disk gets a hundred times that."""
KILLED_S_MAX: Final = 5.0
_POLL_S: Final = 0.02
_PS_S_MAX: Final = 5.0
_MIB: Final = 1024**2

log = structlog.get_logger(__name__)


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store for this process.

    Creates the directory. Raises StoreNotWritableError and StoreLockedError.
    """
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        (store / PORTS_DIRECTORY).mkdir(exist_ok=True)
        handle = os.open(store / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_writable(store, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _store_locked(store, os.pread(handle, 32, 0)) from error
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            raise _not_writable(store, error) from error
        yield
    finally:
        os.close(handle)


def check_free(store: Path, bytes_min: int) -> None:
    """Raise DiskFullError when the store's file system has less than ``bytes_min`` free."""
    free = shutil.disk_usage(store).free
    if free < bytes_min:
        raise DiskFullError(
            f"{free // _MIB} MiB are free at {store}; movant starts with {bytes_min // _MIB} MiB"
            " or more",
            hint=f"free some space, or choose another store directory (df -h {store})",
        )


async def end_leftover(store: Path) -> int:
    """End a server that a former daemon left on this store; return its pid, or 0.

    Call it with the lock held. Raises ServerDiedError when it cannot be ended.
    """
    pid = leftover(store)
    if not pid:
        return 0
    for number, seconds in ((signal.SIGTERM, LEFTOVER_S_MAX), (signal.SIGKILL, KILLED_S_MAX)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        with trio.move_on_after(seconds):
            while leftover(store) == pid:  # noqa: ASYNC110 - it is not our child
                await trio.sleep(_POLL_S)
            return pid
    raise ServerDiedError(
        f"a nats-server of a former daemon (pid {pid}) still runs on {store} and does not end",
        hint=f"look at the process, end it, then start again (ps -fp {pid})",
    )


def adopt(store: Path) -> None:
    """Give the streams of a store that was made without users to movant's account.

    The server keeps streams in a directory named like their account; ``$G`` is the one of
    servers without accounts. Call it with the lock held and no server running.
    """
    former, ours = (store / "jetstream" / name for name in ("$G", MAIN))
    if former.is_dir() and not ours.exists():
        former.rename(ours)
        log.info("server.store_adopted", store=str(store))


def leftover(store: Path) -> int:
    """Return the pid of a living server of this store, or 0."""
    try:
        pid = int((store / PID_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    return pid if pid > 1 and str(store / CONFIGURATION_FILE) in _command_line(pid) else 0


def _command_line(pid: int) -> list[str]:
    """Return the arguments of a process; empty when it has ended or is a zombie."""
    proc = Path("/proc") / str(pid) / "cmdline"
    try:
        return proc.read_bytes().decode(errors="replace").split("\0")
    except (ProcessLookupError, FileNotFoundError, PermissionError):
        pass
    if Path("/proc/self/cmdline").exists():
        return []
    shown = subprocess.run(  # noqa: S603 - fixed program, a number of ours
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 - the system's ps
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_PS_S_MAX,
    )
    _, found, path = shown.stdout.strip().partition(" -c ")
    return [path] if found else []


def _not_writable(store: Path, error: OSError) -> StoreNotWritableError:
    return StoreNotWritableError(
        f"the store directory {store} cannot be written: {error.strerror}",
        hint=f"choose another store directory, or make this one writable for you (ls -ld {store})",
    )


def _store_locked(store: Path, holder: bytes) -> StoreLockedError:
    try:
        pid = int(holder)
    except ValueError:
        pid = 0
    return StoreLockedError(
        f"another daemon (pid {pid or 'unknown'}) uses the store {store}",
        pid=pid,
        hint="use that daemon (movant status), or stop it, or choose another store directory",
    )
