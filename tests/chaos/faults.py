"""Faults: drawn from a seed, and done to daemon, server, services and the wire between them."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import Final, Protocol

import trio

from tests.chaos.proxy import Proxy
from tests.support.daemon import Process

FAULTS: Final = (
    *("kill daemon", "kill daemon", "kill server", "kill hosted", "kill plain"),
    *("freeze daemon", "freeze server", "freeze hosted", "freeze plain"),
    *("drain daemon", "cut", "half-open", "delay"),
)
EMBEDDED: Final = tuple(each for each in FAULTS if each not in {"cut", "half-open", "delay"})
LANES: Final = 2
"""So many faults may last at once."""
DRAIN_S: Final = 8.0
KEEP_S: Final = 0.5
SERVER_KILLS_MAX: Final = 3
"""A daemon gives up on its own server after five restarts in a minute."""


class Stage(Protocol):
    """What faults are done to."""

    daemon: Process
    services: dict[str, Process]
    proxy: Proxy | None

    async def kill_server(self) -> None:
        """Kill the server; it is started again at once."""
        ...

    def server_pid(self) -> int:
        """Return the pid of the server, 0 while there is none."""
        ...


class Faults:
    """Does the faults of one seed. ``done`` counts them by kind."""

    def __init__(self, stage: Stage, seed: int, *, count: int) -> None:
        self._stage = stage
        self._chance = random.Random(f"faults {seed}")  # noqa: S311 - a seed that replays it
        self._count = count
        self._ending = trio.Lock()
        self.done: Counter[str] = Counter()
        self.notes: list[str] = []

    async def run(self, lasting_s: float) -> None:
        """Do all faults within some seconds; some while another one lasts."""
        began = trio.current_time()

        async def lane(drawn: list[tuple[float, str, float]]) -> None:
            for at_s, fault, seconds in drawn:
                await trio.sleep_until(began + at_s)
                self.notes.append(f"{trio.current_time() - began:.2f} s {fault} ({seconds:.2f} s)")
                await self._do(fault, seconds)

        faults = [
            (self._chance.uniform(0.2, lasting_s), self._draw(), self._chance.uniform(0.5, 3.0))
            for _ in range(self._count)
        ]
        faults.sort()
        async with trio.open_nursery() as nursery:
            for number in range(LANES):
                nursery.start_soon(lane, faults[number::LANES])

    async def keep(self) -> None:
        """Start again what ended by itself, as a service manager does."""
        while True:
            await trio.sleep(KEEP_S)
            for name, process in {**self._stage.services, "daemon": self._stage.daemon}.items():
                async with self._ending:
                    if not process.running:
                        self.notes.append(f"  {name} had ended by itself: {process.log[-300:]}")
                        process.start()

    def _draw(self) -> str:
        while True:
            fault = self._chance.choice(FAULTS if self._stage.proxy else EMBEDDED)
            if fault != "kill server" or self.done[fault] < SERVER_KILLS_MAX:
                self.done[fault] += 1
                return fault

    async def _do(self, fault: str, seconds: float) -> None:
        stage = self._stage
        verb, _, whom = fault.partition(" ")
        match verb:
            case "kill" if whom == "server":
                await stage.kill_server()
            case "kill":
                async with self._ending:
                    process = self._process(whom)
                    process.kill()
                    process.start()
            case "freeze":
                pid = stage.server_pid() if whom == "server" else self._process(whom).pid
                await frozen(pid, seconds)
            case "drain":
                async with self._ending:
                    await self._drain(stage.daemon)
            case _:
                assert stage.proxy is not None
                if verb == "cut":
                    stage.proxy.cut()
                elif verb == "half-open":
                    await stage.proxy.half_open(seconds)
                else:
                    await stage.proxy.delay(0.05, seconds)

    async def _drain(self, daemon: Process) -> None:
        daemon.ask_to_end()
        with trio.move_on_after(DRAIN_S):
            while daemon.running:
                await trio.sleep(0.02)
        if daemon.running:
            self.notes.append(f"  the drain took longer than {DRAIN_S} s: killed")
            daemon.kill()
        daemon.start()

    def _process(self, whom: str) -> Process:
        return self._stage.daemon if whom == "daemon" else self._stage.services[whom]


async def frozen(pid: int, seconds: float) -> None:
    """Stop a process for a while."""
    if not pid:
        return
    try:
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(seconds)
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return
