"""Fetch one package from Debian unstable without changing the system.

apt does the work and the checking: its signature check of the index against Debian's archive
keyring and its hash check of the package stay on. Only its source list, its state and its
cache are ours, in a directory of movant's cache, which also makes a download resumable. The
mirror is the one that the machine uses already. Root is not needed.
"""

from __future__ import annotations

import getpass
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from runtime.server.errors import InstallError

SUITE: Final = "unstable"
APT_S_MAX: Final = 600.0
"""The index has 10 MB and the package 6 MB: slower than 30 kB/s is called a failure."""
_SMALL_S_MAX: Final = 60.0
_LINES_SHOWN: Final = 6
_PERCENT: Final = 100.0

_KEYRINGS: Final = (
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
)
_TARGET_FORMAT: Final = "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
_BY_HAND: Final = (
    "put nats-server 2.14 or newer on PATH (from your package manager, or the release page of"
    " the nats-server project), then run: movant doctor"
)

Progress = Callable[[str, float], None]


def fetch(package: str, work: Path, progress: Progress) -> Path:
    """Return the path of ``usr/sbin/<package>``, unpacked in ``work``.

    Call it again with the same ``work`` to go on after an interruption. Raises InstallError.
    """
    mirror = pick_mirror(_index_targets() or _release_targets(work))
    keyring = next((path for path in _KEYRINGS if Path(path).is_file()), None)
    if keyring is None:
        raise InstallError(
            "Debian's archive keyring is not installed, so packages could not be verified",
            hint="install the package debian-archive-keyring, then run: movant nats install",
        )
    configuration = _prepare(work, mirror, keyring)
    progress("index", 0.0)
    _apt(configuration, ["update"], work, lambda share: progress("index", share))
    progress("package", 0.0)
    for stale in work.glob(f"{package}_*.deb"):
        stale.unlink()
    _apt(configuration, ["download", package], work, lambda share: progress("package", share))
    archive = next(work.glob(f"{package}_*.deb"), None)
    if archive is None:
        raise InstallError(f"apt downloaded no package {package}", hint=_BY_HAND)
    progress("unpack", 0.0)
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    _run(["dpkg", "-x", str(archive), str(tree)])
    unpacked = tree / "usr" / "sbin" / package
    if not unpacked.is_file():
        raise InstallError(f"the package has no usr/sbin/{package}", hint=_BY_HAND)
    progress("unpack", 1.0)
    return unpacked


def pick_mirror(targets: str) -> str:
    """Return the address of the machine's mirror of Debian's main archive.

    ``targets`` has a line ``origin|label|component|release|address`` per index. Origin and
    label are empty where the index was never downloaded, as in many containers; then the
    address speaks. Raises InstallError when there is none, as on Ubuntu.
    """
    for line in targets.splitlines():
        fields = line.split("|")
        if len(fields) != 5:  # noqa: PLR2004 - the five of _TARGET_FORMAT
            continue
        origin, label, component, release, address = fields
        if component != "main" or "security" in release or not address:
            continue
        if (origin, label) == ("Debian", "Debian"):
            return address
        unknown = "" in (origin, label) or "$(" in origin
        if unknown and address.rstrip("/").endswith("/debian"):
            return address
    raise InstallError(
        "apt on this machine knows no mirror of Debian's main archive (Ubuntu has none)",
        hint=_BY_HAND,
    )


def _index_targets() -> str:
    return _run(["apt-get", "indextargets", "--format", _TARGET_FORMAT, "Created-By: Packages"])


def _release_targets(work: Path) -> str:
    """Return targets from the addresses that ``update`` would fetch; nothing is fetched.

    ``indextargets`` is silent where no index was ever downloaded, as in a fresh container.
    """
    lists = work / "fresh"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    printed = _run(
        ["apt-get", "update", "--print-uris", f"--option=Dir::State::lists={lists}"],
    )
    found = re.findall(r"^'(\S+)dists/(\S+)/InRelease'", printed, re.MULTILINE)
    return "\n".join(f"||main|{release}|{address}" for address, release in found)


def _prepare(work: Path, mirror: str, keyring: str) -> Path:
    """Write source list and configuration into ``work``; return the configuration."""
    lists, archives = work / "state" / "lists" / "partial", work / "cache" / "archives" / "partial"
    for directory in (lists, archives):
        directory.mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    source = work / "sources.list"
    source.write_text(f"deb [signed-by={keyring} target=Packages] {mirror} {SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": work / "state",
        "Dir::State::lists": work / "state" / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": getpass.getuser(),
        "Acquire::Languages": "none",
        "Acquire::PDiffs": "false",
        "Acquire::Retries": "3",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
    }
    # Hooks of the system would work on the system's own directories.
    hooks = ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")
    lines = [f"#clear APT::Update::{hook};" for hook in hooks]
    lines += [f'{name} "{value}";' for name, value in settings.items()]
    configuration = work / "apt.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def _apt(
    configuration: Path, arguments: Sequence[str], work: Path, told: Callable[[float], None]
) -> None:
    """Run apt-get in ``work`` and report its share done. Raises InstallError."""
    read_end, write_end = os.pipe()
    try:
        with (work / "apt.log").open("w+") as log:
            process = subprocess.Popen(  # noqa: S603 - fixed program, arguments of ours
                [  # noqa: S607 - the machine's apt-get, wherever it is
                    "apt-get",
                    f"--config-file={configuration}",
                    f"--option=APT::Status-Fd={write_end}",
                    *arguments,
                ],
                cwd=work,
                env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
                pass_fds=[write_end],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            os.close(write_end)
            write_end = -1
            _follow(process, read_end, told)
            log.seek(0)
            _check(process.returncode, arguments, log)
    except OSError as error:
        raise InstallError(f"apt-get does not run: {error}", hint=_BY_HAND) from error
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def _follow(process: subprocess.Popen[bytes], status: int, told: Callable[[float], None]) -> None:
    """Read apt's status lines until it ends, and end it itself at the deadline."""
    deadline = time.monotonic() + APT_S_MAX
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([status], [], [], left)[0]:
                raise InstallError(
                    f"the download did not finish in {APT_S_MAX:g} s",
                    hint="run it again, it goes on where it stopped: movant nats install",
                )
            chunk = os.read(status, 4096)
            if not chunk:
                process.wait(_SMALL_S_MAX)
                return
            for line in chunk.decode(errors="replace").splitlines():
                fields = line.split(":")
                if fields[0] == "dlstatus" and len(fields) > 2:  # noqa: PLR2004 - kind, item, percent
                    _tell(told, fields[2])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _tell(told: Callable[[float], None], percent: str) -> None:
    try:
        share = float(percent) / _PERCENT
    except ValueError:
        return  # a line cut in two by the pipe; the next one comes in a moment
    told(min(max(share, 0.0), 1.0))


def _check(returncode: int, arguments: Sequence[str], log: IO[str]) -> None:
    """Raise InstallError if apt failed or could not use the index as it is now."""
    lines = log.read().splitlines()
    wrong = [line for line in lines if line.startswith(("E:", "W: Failed", "Err:"))]
    if returncode == 0 and not wrong:
        return
    shown = "\n".join((wrong or lines)[-_LINES_SHOWN:])
    raise InstallError(
        f"apt-get {' '.join(arguments)} failed:\n{shown}",
        hint="check the network and the machine's mirror (apt-get update), then run:"
        " movant nats install",
    )


def _run(command: Sequence[str]) -> str:
    try:
        return subprocess.run(  # noqa: S603 - fixed program, arguments of ours
            command,
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_SMALL_S_MAX,
        ).stdout
    except subprocess.CalledProcessError as error:
        detail = str(error.stderr).strip()[-300:]
        raise InstallError(f"{command[0]} failed: {detail}", hint=_BY_HAND) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{command[0]} does not run: {error}", hint=_BY_HAND) from error
