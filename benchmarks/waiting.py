"""How many instances can wait for a signal, what one costs, and how fast they end.

N instances wait for one signal each. Start all; wait until all have left the daemon's memory;
start N more; wait again; then signal those and wait until they have ended. The memory of a
dormant instance is what the second N added to the resident memory of the process. The first N
also add what a burst leaves behind once: code, caches, and free memory that the allocator
keeps; that figure stands beside it as ``..._first``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks.client import Finished, is_right, records, round_trips_per_s, until_dormant
from benchmarks.stage import Stage, fdatasync_per_s, machine, percentile, report, rss_bytes, stage
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

LIMIT_S: Final = 120.0
ARCHIVED_S: Final = 0.2
"""An instance's record may be stored a moment after its event."""
ANSWER: Final = {"ok": True}
EVENTS: Final = "movant.event.bench-waiting.*.completed"


async def measure(opened: Stage, url: str, instances: int) -> dict[str, Any]:
    """Run it and return the figures."""
    pids = {"daemon": opened.processes["daemon"].pid, "server": opened.server_pid()}

    def resident() -> dict[str, int]:
        return {name: rss_bytes(pid) for name, pid in pids.items()}

    async with connect(url, name="bench client") as transport, Client.connect(url) as client:
        round_trips = await round_trips_per_s(transport)
        warm = await client.start("bench.waiting")
        await client.signal(warm.id, "go", ANSWER)
        await client.wait(warm.id, timeout_s=LIMIT_S)
        empty = resident()
        first, first_per_s = await _start(client, instances)
        full = resident()
        await until_dormant(client, LIMIT_S)
        before = resident()
        second, per_s = await _start(client, instances)
        await until_dormant(client, LIMIT_S)
        after = resident()
        figures = await _finish(transport, client, second)
        await _finish(transport, client, first)
        found = await records(transport)
        right = sum(is_right(record, ANSWER) for _, record in found.values()) - 1
        return {
            "start_per_s": per_s,
            "start_per_s_first": first_per_s,
            **figures,
            "bytes_per_dormant": round((after["daemon"] - before["daemon"]) / instances),
            "bytes_per_dormant_first": round((before["daemon"] - empty["daemon"]) / instances),
            "bytes_per_dormant_server": round((after["server"] - before["server"]) / instances),
            "bytes_per_live": round((full["daemon"] - empty["daemon"]) / instances),
            "lost": 2 * instances - right,
            "round_trips_per_s": round(round_trips),
            **opened.cost(),
        }


async def _start(client: Client, instances: int) -> tuple[list[str], int]:
    began = time.perf_counter()
    started = await client.start_many("bench.waiting", [None] * instances)
    took = time.perf_counter() - began
    return [each.id for each in started], round(instances / took)


async def _finish(
    transport: NatsTransport, client: Client, waiting: Sequence[str]
) -> dict[str, Any]:
    """Signal all and wait until they have ended."""
    finished = Finished(len(waiting))
    subscription = await transport.subscribe(EVENTS, finished.take)
    began = time.perf_counter()
    answers = await client.signal_many(waiting, "go", ANSWER)
    signals_s = time.perf_counter() - began
    with trio.move_on_after(LIMIT_S):
        await finished.wait()
    took = time.perf_counter() - began
    subscription.unsubscribe()
    times = [at - began for at in finished.ids.values()] or [0.0]
    await trio.sleep(ARCHIVED_S)
    return {
        "finish_s": round(took, 3),
        "signals_per_s": round(len(waiting) / signals_s),
        "signals_refused": sum(each.error is not None for each in answers),
        "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
        "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
    }


def run(
    *, instances: int = 10_000, durability: str = "fsync", allocator: str = "python"
) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    if allocator == "c":
        os.environ["PYTHONMALLOC"] = "malloc"  # for the daemon, which inherits it
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(durability)
        url = opened.login("admin")
        figures = trio.run(partial(measure, opened, url, instances))
    return {
        "benchmark": "waiting",
        "instances": instances,
        "durability": durability,
        "allocator": allocator,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="instances that wait for a signal")
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument(
        "--allocator",
        choices=["python", "c"],
        default="python",
        help="the daemon's: Python's own is faster, C's gives the memory of a burst back",
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(
        run(
            instances=arguments.instances,
            durability=arguments.durability,
            allocator=arguments.allocator,
        ),
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
