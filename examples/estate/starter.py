"""Starts the components of the example: a service that the workflow ``estate-start`` asks.

    python -m examples.estate.starter --data DIR --nats URL

What it has started it ends at SIGTERM, the last one first.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any, Final

import movant
from actors.files.rules import load_rules
from examples.estate.world import HERE, SERVERS, Component, World, components
from examples.stage import Processes

READY_S_MAX: Final = 15.0
LOOK_S: Final = 0.05


class Starter:
    """Processes by their names; each is started once, whoever asks how often."""

    def __init__(self, world: World, nats: str) -> None:
        self._world = world
        self._nats = nats
        self._known = {each.name: each for stage in components().values() for each in stage}
        self._processes = Processes(world.folder)
        self._lock = threading.Lock()
        self._never = threading.Event()

    def start(self, name: str) -> dict[str, Any]:
        """Start a component. Raises Refused when it does not come up."""
        component = self._component(name)
        if name == "guardrails":
            rules = load_rules(HERE / "guardrails.yaml")
            return {"component": name, "runs": f"{len(rules.guardrails)} rules"}
        self.run(component.starts)
        if component.model:
            there = [
                each["id"] for each in self._world.ask(component.starts, "/v1/models")["data"]
            ]
            if component.model not in there:
                raise movant.Refused("not_started", f"there is no model {component.model}")
        return {"component": name, "runs": name}

    def replace(self, name: str) -> dict[str, Any]:
        """Start what takes the place of a component."""
        instead = self._component(name).fallback
        if not instead:
            raise movant.Refused("not_started", f"nothing takes the place of {name}")
        self.start(instead)
        return {"component": name, "runs": instead, "replaced": True}

    def health(self) -> dict[str, bool]:
        """Tell of each server whether it answers."""
        return {name: self._world.answers(name) for name in SERVERS}

    def end(self) -> None:
        """End all processes."""
        self._processes.clear()

    def _component(self, name: str) -> Component:
        found = self._known.get(name)
        if found is None:
            raise movant.Refused("not_found", f"there is no component {name!r}")
        return found

    def run(self, process: str) -> None:
        """Start a process, unless it runs; wait until it answers."""
        with self._lock:
            if process in self._processes.names:
                return
            try:
                command = self._world.command(process, self._nats)
            except LookupError as error:
                raise movant.Refused("not_started", str(error)) from None
            running = self._processes.launch(
                process, *command, environment=self._world.environment
            )
            until = time.monotonic() + READY_S_MAX
            while process in SERVERS and not self._world.answers(process):
                if running.poll() is not None or time.monotonic() > until:
                    self._processes.end(process)
                    raise movant.Refused("not_started", f"{process} does not answer")
                self._never.wait(LOOK_S)


def service(starter: Starter) -> movant.Service:
    """Serve a starter."""
    found = movant.Service("estate-starter", version="1.0.0", description="Starts components")

    @found.operation("start")
    def start(request: dict[str, str]) -> dict[str, Any]:
        """Start a component."""
        return starter.start(request["name"])

    @found.operation("replace")
    def replace(request: dict[str, str]) -> dict[str, Any]:
        """Start what takes its place."""
        return starter.replace(request["name"])

    @found.operation("health")
    def health() -> dict[str, bool]:
        """Tell which servers answer."""
        return starter.health()

    return found


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Starts the components of the example.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the example")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of the server")
    given = parser.parse_args(arguments)
    starter = Starter(World(given.data), given.nats)
    try:
        starter.run("site")  # the world outside is there before any component
        movant.run_service(service(starter), nats=given.nats)
    finally:
        starter.end()


if __name__ == "__main__":
    main()
