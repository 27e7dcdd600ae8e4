"""Find a nats-server that is new enough, or install one into movant's cache.

Looked for on PATH first, then in the cache (``$MOVANT_CACHE``, else ``movant`` in the XDG cache
directory). An install touches nothing but that cache: one process at a time works under a
lock, and the finished binary appears by an atomic rename.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from protocols.errors import MovantError
from runtime.server import debian
from runtime.server.errors import (
    INSTALL_HINT,
    InstallError,
    ServerMissingError,
    ServerTooOldError,
    ServerUnusableError,
)

NAME: Final = "nats-server"
VERSION_MIN: Final = (2, 14, 0)
"""Atomic batches, scheduled messages and the corruption fixes of 2026."""

_VERSION: Final = re.compile(r"nats-server:?\s+v?(\d+)\.(\d+)\.(\d+)")
_VERSION_S_MAX: Final = 20.0
_BREW_S_MAX: Final = 900.0
_ARGUMENTS_INSTALL: Final = (["install"], ["install", "-o", "json"])

Version = tuple[int, int, int]
Progress = Callable[[str, float], None]
"""Told a stage (``index``, ``package``, ``unpack``) and its share done, 0 to 1."""


class Binary(msgspec.Struct, frozen=True):
    """A nats-server that is installed, and new enough where it comes from ``find``."""

    path: str
    version: Version

    @property
    def version_text(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def find() -> Binary:
    """Return the nats-server to use.

    Raises ServerMissingError, ServerTooOldError (only old ones were found) and
    ServerUnusableError (what was found does not run).
    """
    refusal: MovantError | None = None
    for path in _candidates():
        try:
            return checked(path)
        except (ServerTooOldError, ServerUnusableError) as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    raise ServerMissingError("no nats-server is installed", hint=INSTALL_HINT)


def checked(path: str) -> Binary:
    """Return the Binary at ``path`` if it is new enough.

    Raises ServerTooOldError and ServerUnusableError.
    """
    version = version_of(path)
    if version < VERSION_MIN:
        found, least = (".".join(map(str, each)) for each in (version, VERSION_MIN[:2]))
        raise ServerTooOldError(
            f"nats-server {found} at {path} is too old: movant needs {least} or newer"
            " (Debian stable still has 2.9 or 2.10)",
            hint=f"{INSTALL_HINT}  (the old one stays where it is and is not used)",
        )
    return Binary(path, version)


def version_of(path: str) -> Version:
    """Return what ``path --version`` says. Raises ServerUnusableError."""
    try:
        answer = subprocess.run(  # noqa: S603 - a path that find() or the caller chose
            [path, "--version"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_VERSION_S_MAX,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise ServerUnusableError(f"{path} does not run: {error}", hint=INSTALL_HINT) from error
    match = _VERSION.search(answer.stdout + answer.stderr)
    if match is None:
        said = (answer.stdout + answer.stderr).strip()[:200]
        raise ServerUnusableError(
            f"{path} --version does not answer like a nats-server: {said!r}", hint=INSTALL_HINT
        )
    major, minor, patch = map(int, match.groups())
    return (major, minor, patch)


def cache_directory() -> Path:
    """Return movant's cache directory; it may not exist yet."""
    named = os.environ.get("MOVANT_CACHE")
    if named:
        return Path(named).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path there is to be ignored.
    base = Path(xdg) if xdg.startswith("/") else Path("~/.cache").expanduser()
    return base / "movant"


def install(progress: Progress = lambda _stage, _share: None) -> Binary:
    """Return a usable nats-server, and install one if there is none. Safe to repeat.

    A second call that runs at the same time waits for the first and finds its work done. What
    was downloaded before an interruption is used again. Raises InstallError,
    ServerTooOldError and ServerUnusableError.
    """
    cache = cache_directory()
    with _locked(cache):
        try:
            return find()
        except (ServerMissingError, ServerTooOldError, ServerUnusableError):
            pass
        if sys.platform == "darwin":
            return _install_with_brew(progress)
        if shutil.which("apt-get") and shutil.which("dpkg"):
            return _install_from_debian(cache, progress)
    raise InstallError(
        f"movant does not know how to install nats-server on {sys.platform}",
        hint="put nats-server 2.14 or newer on PATH (from your package manager, or the release"
        " page of the nats-server project), then run: movant doctor",
    )


def _install_from_debian(cache: Path, progress: Progress) -> Binary:
    work = cache / "apt"
    unpacked = debian.fetch(NAME, work, progress)
    # Checked before it gets its place: the wrong libc must not break what find() returns.
    checked(str(unpacked))
    target = cache / "bin" / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    unpacked.replace(target)
    shutil.rmtree(work, ignore_errors=True)
    return checked(str(target))


def _install_with_brew(progress: Progress) -> Binary:
    brew = shutil.which("brew")
    if brew is None:
        raise InstallError(
            "Homebrew is not installed",
            hint="install Homebrew, then run: brew install nats-server",
        )
    progress("package", 0.0)
    done = subprocess.run(  # noqa: S603 - fixed arguments
        [brew, "install", NAME],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_BREW_S_MAX,
    )
    if done.returncode:
        raise InstallError(
            f"brew install {NAME} failed: {done.stderr.strip()[-500:]}",
            hint=f"run: brew install {NAME}",
        )
    progress("package", 1.0)
    return find()


def _candidates() -> Iterator[str]:
    on_path = shutil.which(NAME)
    if on_path:
        yield on_path
    cached = cache_directory() / "bin" / NAME
    if cached.exists():
        yield str(cached)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Let one install at a time work in ``cache``; the kernel drops the lock with the process."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle = os.open(cache / "install.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InstallError(
            f"the cache {cache} cannot be written: {error.strerror}",
            hint="set MOVANT_CACHE to a directory that you may write, then try again",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def main(arguments: list[str]) -> int:
    """Install from the command line, for the Makefile: ``install [-o json]``."""
    if arguments not in _ARGUMENTS_INSTALL:
        sys.stderr.write("usage: python -m runtime.server.binary install [-o json]\n")
        return 2
    shown = ""

    def progress(stage: str, _share: float) -> None:
        nonlocal shown
        if stage != shown:
            sys.stderr.write(f"nats-server: {stage}\n")
            shown = stage

    try:
        binary = install(progress)
    except MovantError as error:
        sys.stderr.write(f"error: {error.message}\nnext: {error.hint}\n")
        return 1
    if "json" in arguments:
        sys.stdout.write(msgspec.json.encode(binary).decode() + "\n")
    else:
        sys.stdout.write(f"nats-server {binary.version_text} at {binary.path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
