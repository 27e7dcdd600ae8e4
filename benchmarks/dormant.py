"""What a million waiting instances cost, and how fast one of them is there when it is needed.

N instances wait for one signal each, none of them in the daemon's memory. On the way to N, at
some smaller counts, and at N: resident memory of daemon and server, and the disk. When the
daemon has collected what piled up meanwhile (``collected_s``), 1,000
random instances get their signal one after the other (``p50_ms``, ``p99_ms``: from the client's
request to the event that tells the end; between them single round trips of core NATS tell what
the machine itself needs, ``round_trip_p99_ms``), and 1,000 others all at once (``burst_…``). Then
daemon and server are killed with SIGKILL and started again; ``first_progress_s`` is the time
from the restart command to the end of the first instance that is signalled, and some more
follow one by one (``restarted_p99_ms``), with a server that has read nothing yet.
``restart_cpu_s`` is the processor time of both until then.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks.client import (
    Finished,
    is_right,
    records,
    round_trips_per_s,
    until_collected,
    until_dormant,
)
from benchmarks.stage import (
    Stage,
    disk_bytes,
    fdatasync_per_s,
    machine,
    percentile,
    report,
    rss_bytes,
    stage,
)
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

LEVELS: Final = "0.1,0.25,0.5,1"
"""Parts of all instances at which memory is read."""
BATCH: Final = 20_000
SEED: Final = 1
LIMIT_S: Final = 300.0
COLLECTED_S: Final = 1_800.0
"""A pass over a million mailboxes, at the pace of a collector that is in nobody's way."""
ARCHIVED_S: Final = 0.5
ANSWER: Final = {"ok": True}
EVENTS: Final = "movant.event.bench-waiting.*.completed"


class Ends:
    """Tells when single instances have ended."""

    def __init__(self) -> None:
        self._waiting: dict[str, trio.Event] = {}

    def take(self, frames: Sequence[Any]) -> None:
        """Wake up whoever waits for one of these."""
        for frame in frames:
            found = self._waiting.pop(frame.subject.split(".")[3], None)
            if found is not None:
                found.set()

    async def signalled(self, client: Client, name: str) -> float:
        """Signal an instance and return the seconds until it has ended."""
        event = self._waiting[name] = trio.Event()
        began = time.perf_counter()
        await client.signal(name, "go", ANSWER)
        with trio.fail_after(LIMIT_S):
            await event.wait()
        return time.perf_counter() - began


@asynccontextmanager
async def clients(url: str) -> AsyncIterator[tuple[NatsTransport, Client, Ends]]:
    """Connect and listen for ends."""
    ends = Ends()
    async with (
        connect(url, name="bench client") as transport,
        Client.connect(url, patience_s=LIMIT_S) as client,
    ):
        heard = await transport.subscribe(EVENTS, ends.take)
        yield transport, client, ends
        heard.unsubscribe()


async def measure(opened: Stage, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Start all, signal some, kill both processes, signal some more."""
    pick = random.Random(SEED)  # noqa: S311  # the same choice in every run
    async with clients(url) as (transport, client, ends):
        round_trips = await round_trips_per_s(transport)
        warm = await client.start("bench.waiting")
        await ends.signalled(client, warm.id)
        figures, names = await _fill(opened, client, options.instances, options.levels)
        figures["collected_s"] = await until_collected(client, COLLECTED_S)
        signalled = min(options.signals, options.instances // 4)
        chosen = pick.sample(names, 2 * signalled + options.after_restart)
        one_by_one, idle = [], []
        for name in chosen[:signalled]:
            one_by_one.append(await ends.signalled(client, name))
            idle.append(1 / await round_trips_per_s(transport, 1))
        burst = await _burst(transport, client, chosen[signalled : 2 * signalled])
    cost = opened.cost()
    began = time.perf_counter()
    _restart(opened)
    ready_s = time.perf_counter() - began
    async with clients(url) as (transport, client, ends):
        after = chosen[2 * signalled :]
        first_s = await ends.signalled(client, after[0])
        progress_s = time.perf_counter() - began
        restart_cpu_s = opened.cost()["cpu_s"]
        del restart_cpu_s["client"]
        restarted = [await ends.signalled(client, name) for name in after[1:]] or [first_s]
        await trio.sleep(ARCHIVED_S)
        found = await records(transport)
        right = sum(is_right(record, ANSWER) for _, record in found.values()) - 1
    return {
        **figures,
        "p50_ms": round(percentile(one_by_one, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(one_by_one, 0.99) * 1e3, 2),
        "max_ms": round(max(one_by_one) * 1e3, 2),
        "round_trip_p99_ms": round(percentile(idle, 0.99) * 1e3, 2),
        "burst_p50_ms": round(percentile(burst, 0.5) * 1e3, 1),
        "burst_p99_ms": round(percentile(burst, 0.99) * 1e3, 1),
        "ready_s": round(ready_s, 3),
        "first_progress_s": round(progress_s, 3),
        "restart_cpu_s": restart_cpu_s,
        "first_ms": round(first_s * 1e3, 2),
        "restarted_p50_ms": round(percentile(restarted, 0.5) * 1e3, 2),
        "restarted_p99_ms": round(percentile(restarted, 0.99) * 1e3, 2),
        "signalled": len(chosen),
        "lost": len(chosen) - right,
        "round_trips_per_s": round(round_trips),
        **cost,
    }


async def _fill(
    opened: Stage, client: Client, instances: int, levels: str
) -> tuple[dict[str, Any], list[str]]:
    """Start all instances; return what memory says at each level, and their ids."""
    samples = [_sample(opened, 0)]
    names: list[str] = []
    took = 0.0
    for level in levels.split(","):
        wanted = int(instances * float(level))
        while len(names) < wanted:
            count = min(BATCH, wanted - len(names))
            began = time.perf_counter()
            started = await client.start_many("bench.waiting", [None] * count)
            took += time.perf_counter() - began
            names += [each.id for each in started]
        await until_dormant(client, COLLECTED_S)
        samples.append(_sample(opened, len(names)))
    empty, first, full = samples[0], samples[min(1, len(samples) - 2)], samples[-1]

    def each(what: str, since: dict[str, int]) -> int:
        return round((full[what] - since[what]) / (full["instances"] - since["instances"]))

    return {
        "start_per_s": round(instances / took),
        "server_bytes_per_dormant": each("server", empty),
        "disk_bytes_per_dormant": each("disk", empty),
        # Not from zero: a burst leaves behind once what the allocator keeps.
        "daemon_bytes_per_dormant": each("daemon", first),
        "daemon_mb": round(full["daemon"] / 2**20, 1),
        "server_mb": round(full["server"] / 2**20, 1),
        "disk_mb": round(full["disk"] / 2**20, 1),
        "samples": samples,
    }, names


def _sample(opened: Stage, instances: int) -> dict[str, int]:
    return {
        "instances": instances,
        "daemon": rss_bytes(opened.processes["daemon"].pid),
        "server": rss_bytes(opened.server_pid()),
        "disk": disk_bytes(opened.store),
    }


async def _burst(transport: NatsTransport, client: Client, chosen: Sequence[str]) -> list[float]:
    """Signal all at once; return the seconds until each has ended."""
    finished = Finished(len(chosen))
    heard = await transport.subscribe(EVENTS, finished.take)
    began = time.perf_counter()
    await client.signal_many(chosen, "go", ANSWER)
    with trio.move_on_after(LIMIT_S):
        await finished.wait()
    heard.unsubscribe()
    return [at - began for at in finished.ids.values()]


def _restart(opened: Stage) -> None:
    """Kill server and daemon, and start the daemon, which starts its server."""
    daemon = opened.processes["daemon"]
    os.kill(opened.server_pid(), signal.SIGKILL)
    daemon.kill()
    # Not in a worker thread: a process that is started there ends with the thread.
    daemon.start()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    if options.allocator == "c":
        os.environ["PYTHONMALLOC"] = "malloc"  # for the daemon, which inherits it
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(options.durability)
        url = opened.login("admin")
        figures = trio.run(partial(measure, opened, url, options))
    return {
        "benchmark": "dormant",
        "instances": options.instances,
        "durability": options.durability,
        "allocator": options.allocator,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="what a million waiting instances cost")
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--levels", default=LEVELS, help="parts at which memory is read")
    parser.add_argument("--signals", type=int, default=1_000, help="one by one, and at once")
    parser.add_argument("--after-restart", type=int, default=200)
    parser.add_argument(
        "--allocator",
        choices=["python", "c"],
        default="python",
        help="the daemon's: Python's own keeps what a burst took, C's gives it back",
    )
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
