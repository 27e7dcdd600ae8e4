"""The processes of the demonstration: the cluster, the daemons, the services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from examples.stage import MOVANT, Processes

HERE: Final = Path(__file__).parent
REPLICAS: Final = 3
REASK_S: Final = 2.0
"""How long a step waits for a lost answer before it asks again; the default is 30 s."""
NAMES: Final = ("ann", "bob", "cleo", "dan", "eve", "finn", "gil")


class Server(msgspec.Struct, frozen=True):
    """One NATS server of the cluster."""

    name: str
    url: str
    pid: int


class Stage(Processes):
    """The folder and the processes of one demonstration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.servers: list[Server] = []
        self.daemons: list[str] = []

    @property
    def url(self) -> str:
        """All servers, as one setting."""
        return ",".join(each.url for each in self.servers)

    def login(self, user: str) -> dict[str, str]:
        """Return the environment of a program that logs in as a user."""
        return {
            "MOVANT_NATS__USER": user,
            "MOVANT_NATS__PASSWORD_FILE": str(self.password_file(user)),
        }

    def password_file(self, user: str) -> Path:
        """Return where the cluster keeps a user's password."""
        return self.folder / "nats" / "credentials" / f"{user}.password"

    def start_cluster(self) -> None:
        """Start three servers and wait until they are one cluster."""
        command = (*MOVANT, "nats", "cluster", "--store", str(self.folder / "nats"))
        process = self.launch(
            "cluster", *command, "-o", "jsonl", environment=os.environ, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the cluster did not start:\n{self.log('cluster')}")
        self.servers = msgspec.convert(json.loads(line)["nodes"], list[Server])

    def start_daemon(self, name: str) -> None:
        """Start a daemon; each has another server as its first one."""
        number = NAMES.index(name) % len(self.servers)
        urls = [each.url for each in (*self.servers[number:], *self.servers[:number])]
        self.daemons.append(name)
        self.launch(
            name,
            *(*MOVANT, "serve", "--name", name, "--nats", ",".join(urls), "--http", ""),
            *("--replicas", str(REPLICAS), "--store", str(self.folder / name)),
            *("--workflow", str(HERE / "orders.py")),
            environment={**os.environ, "MOVANT_REASK_S": str(REASK_S), **self.login("daemon")},
        )

    def start_service(self, name: str) -> None:
        """Start a service."""
        module = "examples.cluster.services"
        file = str(self.folder / f"{name}.notes")
        command = (sys.executable, "-m", module, name, self.url, file)
        self.launch(name, *command, environment={**os.environ, **self.login("service")})

    def kill_daemon(self, name: str) -> None:
        """End a daemon as a crash would."""
        self.daemons.remove(name)
        self.kill(name)

    def kill_server(self, name: str) -> int:
        """End a server as a crash would, and return its pid; the cluster starts it again."""
        pid = self.pid_of(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def pid_of(self, name: str) -> int:
        """Return the pid that a server wrote at its last start."""
        return int((self.folder / "nats" / name / "server.pid").read_text())

    def notes(self) -> Mapping[str, list[str]]:
        """Return what the services noted: keys that were asked, and keys that were done."""
        found: dict[str, list[str]] = {"asked": [], "done": []}
        for path in self.folder.glob("*.notes"):
            for line in path.read_text().splitlines():
                what, _, key = line.partition(" ")
                found[what].append(key)
        return found
