"""Passwords of the embedded server's users: made once per store, one file each.

    <store>/credentials/<user>.password     mode 0600, in a directory of mode 0700

Each is 192 random bits. To change one, delete its file and start the daemon again.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

import structlog

from runtime.server.accounts import USERS
from runtime.server.errors import CredentialsError

DIRECTORY: Final = "credentials"
_PASSWORD_BYTES: Final = 24
_FILE_BYTES_MAX: Final = 4_096
_OTHERS: Final = 0o077

log = structlog.get_logger(__name__)


def path_of(store: Path, user: str) -> Path:
    """Return where the password of a user stands."""
    return store / DIRECTORY / f"{user}.password"


def ensure(store: Path) -> dict[str, str]:
    """Return the password of every user; make those that are missing.

    Call it with the store locked. Modes that let others read are repaired and reported. Raises
    CredentialsError for files that are not ours or cannot be used.
    """
    directory = store / DIRECTORY
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        _repair(directory, 0o700)
        for user in USERS:
            path = path_of(store, user)
            if path.is_symlink() or path.exists():
                _repair(path, 0o600)
            else:
                _make(path)
    except OSError as error:
        raise CredentialsError(
            f"the passwords in {directory} cannot be written: {error.strerror}",
            hint=f"make it a directory of yours (ls -ld {directory})",
        ) from error
    return {user: read(store, user) for user in USERS}


def read(store: Path, user: str) -> str:
    """Return the password of a user.

    Raises CredentialsError when there is none, when others may read it, or when we may not.
    """
    path = path_of(store, user)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_FILE_BYTES_MAX).decode().strip()
    except FileNotFoundError as error:
        raise CredentialsError(
            f"there is no password of the user {user!r} in {path.parent}",
            hint="the daemon makes it when it starts; it may serve another store",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(
            f"the password {path} cannot be read: {error}",
            hint="only the user who runs the daemon may read it; ask for a copy of what you need",
        ) from error
    if mode & _OTHERS:
        raise CredentialsError(
            f"the password {path} can be read by others (mode {mode:o})",
            hint=f"chmod 600 {path}; if somebody may have read it, delete it and start the"
            " daemon again",
        )
    if not text:
        raise CredentialsError(
            f"the password {path} is empty", hint="delete the file and restart the daemon"
        )
    return text


def _make(path: Path) -> None:
    """Write a new password whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _repair(path: Path, mode: int) -> None:
    """Take from others what they may do. Raises CredentialsError for what is not ours."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        raise CredentialsError(
            f"{path} is a link, or belongs to another user",
            hint="remove it, or run the daemon as the user that it belongs to",
        )
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        path.chmod(mode)
        log.warning(
            "server.credentials_repaired", path=str(path), mode=f"{found.st_mode & 0o777:o}"
        )
