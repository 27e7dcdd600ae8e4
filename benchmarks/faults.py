"""What services lose that are killed all the time: nothing.

Motions and workflows of eight steps are started at a fixed rate, while the processes of their
services get SIGKILL and are started again at random: when, which and for how long is chosen by
``--seed``. Some services run twice, some once, so that a request meets a dead process, a
service that is gone, and one that comes back. After ``--seconds`` all services are started, and
what is under way has to end.

- ``lost``: started, and without a record at the end.
- ``wrong_ends``: ended otherwise than its input says. No fault of a service is an excuse: it
  answers nothing, so it is asked again.
- ``drained_s``: from the last fault until all had ended.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks import client as view
from benchmarks.client import Finished, records, round_trips_per_s, until_archived
from benchmarks.flow import NAME, is_right, submission, transitions
from benchmarks.motions import verified
from benchmarks.stage import Process, Stage, fdatasync_per_s, machine, report, stage
from benchmarks.workflows import PAYLOAD, STEPS
from protocols.api import runs as api
from protocols.archive import ArchiveRecord
from protocols.errors import MovantError
from runtime.bridge.connection import connect
from runtime.client.client import Client

SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "bench": ("hosted",),
    "bench-2": ("hosted",),
    "council": ("offices", "--only", "conclave,president"),
    "works": ("offices", "--only", "duke,prince,knight"),
    "works-2": ("offices", "--only", "duke,prince,knight"),
}
"""Processes by name; the council runs once."""
PAUSE_S: Final = (0.2, 2.0)
"""Between two faults, from and to."""
DOWN_S: Final = (0.1, 3.0)
"""How long a killed one stays away."""
TICK_S: Final = 0.25
LIMIT_S: Final = 150.0
"""What is under way has to end within this when the faults are over."""
SAMPLE: Final = 100
EVENTS: Final = "movant.event.*.*.completed"


class Run:
    """What one run knows while it goes on."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.refused = 0
        self.kills: list[tuple[float, str]] = []
        self.restarts = 0
        self.finished = Finished(10**9)


async def measure(opened: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Run load and faults and return the figures."""
    run = Run()
    async with (
        connect(opened.login("admin"), name="bench client") as transport,
        Client.connect(opened.login("client"), patience_s=LIMIT_S) as client,
    ):
        round_trips = await round_trips_per_s(transport)
        await client.start("bench.w8", PAYLOAD, wait_s=60)  # warm: routes and code paths
        await client.start(NAME, submission(0), wait_s=60)
        await transport.subscribe(EVENTS, run.finished.take)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_faults, opened, run, options, began)
            await _load(client, run, options)
        ended = time.perf_counter()
        with trio.move_on_after(LIMIT_S):
            while len(run.finished.ids) < len(run.started):
                await trio.sleep(TICK_S)
        drained_s = time.perf_counter() - ended
        cost = opened.cost()
        await until_archived(transport, len(run.started) + 2, TICK_S * 40)
        found = {name: each for name, (_, each) in (await records(transport)).items()}
        motions = [each for each in run.started if each.startswith("m-")]
        status = await client.status()
        return {
            "started": len(run.started),
            "refused": run.refused,
            **judged(run.started, found),
            "kills": len(run.kills),
            "restarts": run.restarts,
            "killed": dict(Counter(name for _, name in run.kills)),
            "drained_s": round(drained_s, 2),
            **throughput(run.finished.ids, began, ended),
            "requests_reasked": status.counters["requests_reasked"],
            **await verified(client, motions, SAMPLE),
            "timeline": timeline(run.finished.ids, began),
            "killed_at": [round(at, 2) for at, _ in run.kills],
            "round_trips_per_s": round(round_trips),
            **cost,
        }


async def _load(client: Client, run: Run, options: argparse.Namespace) -> None:
    """Start motions and workflows at a rate, as many of the one as of the other."""
    began = trio.current_time()

    async def start(workflow: str, items: list[api.StartItem]) -> None:
        try:
            answers = await client.start_many(workflow, items)
        except MovantError:
            run.refused += len(items)
            return
        run.started += [each.id for each in answers if each.error is None]
        run.refused += sum(each.error is not None for each in answers)

    first = 0
    async with trio.open_nursery() as nursery:
        for tick in range(1, round(options.seconds / TICK_S) + 1):
            last = int(tick * TICK_S * options.per_s / 2)
            numbers = range(first, last)
            first = last
            if numbers:
                motions = [api.StartItem(id=f"m-{n}", input=submission(n)) for n in numbers]
                flows = [api.StartItem(id=f"w-{n}", input=PAYLOAD) for n in numbers]
                nursery.start_soon(start, NAME, motions)
                nursery.start_soon(start, "bench.w8", flows)
            await trio.sleep_until(began + tick * TICK_S)


async def _faults(opened: Stage, run: Run, options: argparse.Namespace, began: float) -> None:
    """Kill processes and start them again until the time is over; then start all."""
    chance = random.Random(options.seed)  # noqa: S311 - a run has to be repeatable
    back: dict[str, float] = {}
    next_at = chance.uniform(*PAUSE_S)
    while (now := time.perf_counter() - began) < options.seconds:
        for name in [each for each, at in back.items() if at <= now]:
            _start(opened.processes[name], run)
            del back[name]
        if now >= next_at:
            next_at = now + chance.uniform(*PAUSE_S)
            name = chance.choice(list(SERVICES))
            down_s = chance.uniform(*DOWN_S)
            if name not in back:
                opened.processes[name].kill()
                run.kills.append((now, name))
                back[name] = now + down_s
        await trio.sleep(TICK_S / 10)
    for name in back:
        _start(opened.processes[name], run)


def _start(process: Process, run: Run) -> None:
    """Start a process, and do not wait until it serves: it may be killed before that."""
    process.spawn()
    run.restarts += 1


def judged(started: Sequence[str], found: Mapping[str, ArchiveRecord]) -> dict[str, int]:
    """Return how many have no record, and how many have one that is not right."""
    there = [each for each in started if each in found]
    wrong = sum(not _ended_right(each, found[each]) for each in there)
    return {"lost": len(started) - len(there), "wrong_ends": wrong}


def _ended_right(instance: str, record: ArchiveRecord) -> bool:
    kind, _, number = instance.partition("-")
    if kind == "m":
        return is_right(record, int(number))
    return view.is_right(record, PAYLOAD)


def throughput(ends: Mapping[str, float], began: float, ended: float) -> dict[str, int]:
    """Return what ended per second while services were killed."""
    in_time = [name for name, at in ends.items() if at < ended]
    seconds = ended - began
    motions = [name for name in in_time if name.startswith("m-")]
    moves = sum(transitions(int(name.removeprefix("m-"))) for name in motions)
    steps = (len(in_time) - len(motions)) * STEPS
    return {
        "ended_per_s": round(len(in_time) / seconds),
        "transitions_per_s": round(moves / seconds),
        "steps_per_s": round(steps / seconds),
    }


def timeline(ends: Mapping[str, float], began: float) -> list[tuple[int, int]]:
    """Return (second, how many ended in it) from the first second to the last."""
    counts = Counter(int(at - began) for at in ends.values())
    return [(second, counts[second]) for second in range(max(counts, default=-1) + 1)]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon("fsync")
        url = opened.login("service")
        for name, words in SERVICES.items():
            opened.start(name, *words, "--nats", url, "--step-s", str(options.step_s))
        figures = trio.run(partial(measure, opened, options))
    return {
        "benchmark": "faults",
        "instances": figures["started"],
        "durability": "fsync",
        "seed": options.seed,
        "seconds": options.seconds,
        "per_s": options.per_s,
        "step_s": options.step_s,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="services that are killed all the time")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--per-s", type=float, default=80.0, help="started each second")
    parser.add_argument("--step-s", type=float, default=0.05, help="how long a handler sleeps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
