"""A real PostgreSQL for tests: free loopback port, temporary directory, not as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

PASSWORD: Final = "correct-horse"  # noqa: S105 - of a server that lives for a test
READY_S_MAX: Final = 30.0


def missing() -> str:
    """Return why there can be no server here; empty: there can."""
    for each in ("postgres", "initdb"):
        if shutil.which(each) is None:
            return f"there is no {each} on PATH"
    if os.getuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return ""


class PostgresServer:
    """One server with the user ``movant`` and the database ``postgres``."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="movant-pg-"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect; the password is not in it."""
        return f"postgresql://movant@127.0.0.1:{self.port}/postgres"

    def start(self) -> Self:
        """Make the files of a server, start it, and return when it answers."""
        user = _as_user()
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        if user:
            for each in (self.directory, secret):
                os.chown(each, user["user"], user["group"])
        initdb = shutil.which("initdb")
        assert initdb is not None
        subprocess.run(
            [
                os.path.realpath(initdb),
                f"--pgdata={self.directory}/data",
                "--username=movant",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **user,
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.spawn()
        return self

    def spawn(self) -> None:
        """Start the process on its port, and wait until it answers."""
        postgres = shutil.which("postgres")
        assert postgres is not None
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    os.path.realpath(postgres),
                    "-D",
                    f"{self.directory}/data",
                    "-p",
                    str(self.port),
                    "-h",
                    "127.0.0.1",
                    "-k",
                    str(self.directory),
                    "-c",
                    "shared_buffers=16MB",
                    "-F",  # what is tested is the death of its clients
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **_as_user(),
            )
        deadline = time.monotonic() + READY_S_MAX
        ready = self.directory / "data" / "postmaster.pid"
        while time.monotonic() < deadline:
            told = ready.read_text().split() if ready.exists() else []
            if told[:1] == [str(self._process.pid)] and told[-1] == "ready":
                return
            assert self._process.poll() is None, (self.directory / "server.log").read_text()
            time.sleep(0.02)  # noqa: TID251 - some hundred milliseconds, outside of trio
        raise AssertionError("PostgreSQL is not ready")

    def crash(self) -> None:
        """End all its processes at once, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def close(self) -> None:
        """End it and remove its files. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def _as_user() -> dict[str, Any]:
    """Return the options for a process that must not be root's."""
    user = _user() if os.getuid() == 0 else None
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
