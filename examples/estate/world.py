"""The folder in which the example works: ports, the connectors' file, and how processes start."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec

from examples.stage import ROOT, free_port

HERE: Final = Path(__file__).parent
SERVERS: Final = ("site", "scraper", "models-local", "models-cloud", "gateway")
LOCAL: Final = ("llama3.1:8b", "qwen2.5:32b", "deepseek-r1:32b", "phi4-reasoning:14b")
CLOUD: Final = ("gpt-4", "claude-3-sonnet", "gemini-pro")
ASK_S: Final = 5.0
VERTEX: Final = "ESTATE_VERTEX_CREDENTIALS"
"""Variable without which the component of that name does not start."""


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One component: the process in which it lives, and what takes its place."""

    name: str
    starts: str = ""
    model: str = ""
    fallback: str = ""


def components() -> dict[str, list[Component]]:
    """Return the components by their stages, in the order in which they are started."""
    text = (HERE / "components.yaml").read_bytes()
    return msgspec.yaml.decode(text, type=dict[str, list[Component]])


class World:
    """The folder of the example; ports are chosen once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "ports.json"
        if not kept.exists():
            kept.write_text(json.dumps({name: free_port() for name in SERVERS}))
        self.ports: dict[str, int] = json.loads(kept.read_text())

    def url(self, name: str) -> str:
        """Return the address of a server."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def environment(self) -> dict[str, str]:
        """What the connectors find the servers by."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "ESTATE_SCRAPER": self.url("scraper"),
            "ESTATE_GATEWAY": self.url("gateway"),
            "ESTATE_LOCAL_MODELS": f"{self.url('models-local')}/v1",
            "ESTATE_CLOUD_MODELS": f"{self.url('models-cloud')}/v1",
        }

    def connectors(self) -> Path:
        """Return the file of connectors: a copy, so that its database stands in the folder."""
        copy = self.folder / "connectors.yaml"
        if not copy.exists():
            text = (HERE / "connectors.yaml").read_text()
            copy.write_text(text.replace("[python3,", f"[{sys.executable},"))
        return copy

    def command(self, name: str, nats: str) -> tuple[str, ...]:
        """Return how a process is started. Raises LookupError for one that nobody knows."""
        module = (sys.executable, "-m")
        data = ("--data", str(self.folder))
        if name in self.ports:
            role = name.partition("-")[0]
            more = {
                "scraper": ("--site", self.url("site")),
                "models-local": ("--models", ",".join(LOCAL)),
                "models-cloud": ("--models", ",".join(CLOUD)),
            }.get(name, ())
            port = ("--port", str(self.ports[name]))
            return (*module, "examples.estate.servers", role, *port, *data, *more)
        if name == "connectors":
            return (*module, "runtime", "connector", "run", str(self.connectors()), "--nats", nats)
        if name == "services":
            site = ("--site", self.url("site"), "--nats", nats)
            return (*module, "examples.estate.services", *data, *site)
        if name == "vertexai":
            if VERTEX not in os.environ:
                raise LookupError(f"{VERTEX} is not set")
            return (*module, "examples.estate.servers", "models", "--port", "0", *data)
        raise LookupError(f"nobody knows how to start {name!r}")

    def ask(self, name: str, path: str, body: Any = None) -> Any:
        """Ask a server for JSON. Raises OSError when it does not answer, or not with success."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url(name) + path, data=data)  # noqa: S310 - a server of ours
        with urlopen(request, timeout=ASK_S) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())

    def answers(self, name: str) -> bool:
        """Tell whether a server is there."""
        try:
            self.ask(name, "/")
        except (URLError, OSError):
            return False
        return True

    def switch(self, **off: list[str]) -> None:
        """Let parts of servers fail from now on: ``switch(models_local=["all"])``."""
        for name, parts in off.items():
            self.ask(name.replace("_", "-"), "/switch", {"off": parts})

    def messages(self) -> list[Mapping[str, Any]]:
        """Return all messages that the gateway has sent."""
        sent = self.folder / "messages.jsonl"
        return (
            [json.loads(each) for each in sent.read_text().splitlines()] if sent.exists() else []
        )
