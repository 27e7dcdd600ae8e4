"""A real nats-server for tests: free loopback port, temporary store, faults on demand.

The methods block for some milliseconds and may be called from a trio test as they are. Only
the process that was started here is ever signalled, by its pid.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

READY_S_MAX: Final = 20.0
"""A start takes 0.1 s; a crowded machine gets two hundred times that."""
STOP_S_MAX: Final = 10.0
_POLL_S: Final = 0.01
_LOG_LINES_SHOWN: Final = 20
_TLS: Final = b'"tls_required":true'
"""Then our plain handshake is cut off: it serves, and whoever has certificates gets in."""

_CONFIGURATION: Final = """\
listen: "127.0.0.1:{port}"
server_name: "{name}"
ports_file_dir: "{directory}"
max_payload: 1MB
jetstream {{
  store_dir: "{directory}/store"
  sync_interval: {sync_interval}
  max_file_store: 8GB
  max_memory_store: 256MB
}}
{extra}
"""


class NatsServer:
    """One nats-server process on 127.0.0.1 with JetStream in a temporary directory.

    ``sync_interval`` is ``always`` (each acknowledged message is on disk) or a duration.
    ``extra`` is text added to the configuration file (users, mappings, routes). ``port`` 0 is
    a free one.
    """

    def __init__(
        self,
        binary: str,
        *,
        sync_interval: str = "always",
        extra: str = "",
        name: str = "movant-test",
        port: int = 0,
    ) -> None:
        self.name = name
        self._binary = binary
        self._sync_interval = sync_interval
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self.directory = Path(tempfile.mkdtemp(prefix="movant-nats-"))
        self.port = port

    @property
    def url(self) -> str:
        """Where clients connect; stays the same over ``restart``."""
        assert self.port, "the server was never started"
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether ``freeze`` holds it."""
        return self._frozen

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start and return when clients and JetStream are served."""
        process = self.spawn()
        try:
            self._await_ready(process)
        except BaseException:
            self.kill()
            raise
        return self

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process and do not wait: a node of a cluster needs others to be ready."""
        assert not self.running, "the server runs already"
        configuration = self.directory / "server.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                port=self.port or -1,
                name=self.name,
                directory=self.directory,
                sync_interval=self._sync_interval,
                extra=self._extra,
            )
        )
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._frozen = False
        return self._process

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL). The store stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process cleanly (SIGTERM; SIGKILL when it does not listen). The store stays."""
        self.thaw()
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again on the same port and store; a running server is stopped first."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Halt the process (SIGSTOP): connections stay open and nobody answers."""
        if self._frozen:
            return
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True
        # On a busy machine its threads go on for a moment, and one may still answer.
        deadline = time.monotonic() + STOP_S_MAX
        while sys.platform == "linux" and self.running and time.monotonic() < deadline:
            if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG):
                return
            time.sleep(_POLL_S / 10)  # noqa: TID251 - a millisecond or two, outside of trio

    def thaw(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        if self._frozen and self.running:
            os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def close(self) -> None:
        """End the process and remove its directory. Idempotent."""
        self.kill()
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

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S_MAX)
        self._process = None
        self._frozen = False
        (self.directory / f"{Path(self._binary).name}_{process.pid}.ports").unlink(missing_ok=True)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
            if process.returncode is not None:
                raise RuntimeError(f"nats-server ended at once:\n{self._log_tail()}")
            port = self._port_served(process.pid)
            if port and _answers(port):
                self.port = port
                return
        raise RuntimeError(f"nats-server not ready in {READY_S_MAX} s:\n{self._log_tail()}")

    def _port_served(self, pid: int) -> int:
        """Return the port from the ports file, 0 while there is none or it is half written."""
        path = self.directory / f"{Path(self._binary).name}_{pid}.ports"
        try:
            urls = json.loads(path.read_text())["nats"]
        except (FileNotFoundError, ValueError, KeyError):
            return 0
        return int(urls[0].rpartition(":")[2])

    def _log_tail(self) -> str:
        return "\n".join(self.log.splitlines()[-_LOG_LINES_SHOWN:])


def _answers(port: int) -> bool:
    """Tell whether the server completes a handshake and its JetStream API answers."""
    hello = (
        b'CONNECT {"verbose":false,"no_responders":true,"headers":true}\r\n'
        b"SUB _INBOX.ready 1\r\nPUB $JS.API.INFO _INBOX.ready 0\r\n\r\nPING\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(hello)
            seen = b""
            while b'"type":"io.nats.jetstream.api.v1.account_info_response"' not in seen:
                chunk = connection.recv(65_536)
                if not chunk or b"-ERR" in chunk:
                    # With users configured the API needs credentials: a PONG or a refusal
                    # of the login proves as much as we need.
                    return b"Authorization Violation" in seen + chunk or _TLS in seen
                seen += chunk
                if b"\r\nHMSG " in seen:
                    return False
            return b'"error"' not in seen
    except OSError:
        return False
