"""Question: how many instances can wait for a signal, what does one cost, and how fast do they end?

N instances wait for one signal each. Start all; wait until all have left the daemon's memory;
signal all; wait until all have ended. Memory is the resident memory of the process, after a
first round of the same size: what that round left behind (code, caches, free memory that the
process keeps) is there before and after, so that the difference is what the dormant cost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks.client import Finished, is_right, records, round_trips_per_s
from benchmarks.stage import Stage, fdatasync_per_s, machine, percentile, report, rss_bytes, stage
from protocols.errors import MovantError
from runtime.bridge.transport import NatsTransport, connect
from runtime.client import Client

LIMIT_S: Final = 120.0
POLL_S: Final = 0.1
ANSWER: Final = {"ok": True}
EVENTS: Final = "movant.event.bench-waiting.*.completed"


async def measure(opened: Stage, url: str, instances: int) -> dict[str, Any]:
    """Run two rounds and return the figures of the second one."""
    async with connect(url, name="bench client") as transport, Client.connect(url) as client:
        round_trips = await round_trips_per_s(transport)
        first = await _round(opened, transport, client, instances)
        figures = await _round(opened, transport, client, instances)
        found = await records(transport)
        right = sum(is_right(record, ANSWER) for _, record in found.values())
        return {
            **figures,
            "lost": 2 * instances - right,
            "bytes_per_dormant_first": first["bytes_per_dormant"],
            "bytes_per_live_first": first["bytes_per_live"],
            "round_trips_per_s": round(round_trips),
            **opened.cost(),
        }


async def _round(
    opened: Stage, transport: NatsTransport, client: Client, instances: int
) -> dict[str, Any]:
    pids = {"daemon": opened.processes["daemon"].pid, "server": opened.server_pid()}
    before = {name: rss_bytes(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    started = await client.start_many("bench.waiting", [None] * instances)
    took = time.perf_counter() - began
    live = rss_bytes(pids["daemon"])
    await _until_dormant(client)
    dormant = {name: rss_bytes(pid) for name, pid in pids.items()}

    finished = Finished(instances)
    subscription = await transport.subscribe(EVENTS, finished.take)
    signalled = time.perf_counter()
    answers = await client.signal_many([each.id for each in started], "go", ANSWER)
    signals_s = time.perf_counter() - signalled
    with trio.move_on_after(LIMIT_S):
        await finished.wait()
    finish_s = time.perf_counter() - signalled
    subscription.unsubscribe()
    times = [at - signalled for at in finished.ids.values()] or [0.0]
    await _until_dormant(client)
    return {
        "start_per_s": round(instances / took),
        "finish_s": round(finish_s, 3),
        "signals_per_s": round(instances / signals_s),
        "signals_refused": sum(isinstance(each, MovantError) for each in answers),
        "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
        "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
        "bytes_per_dormant": round((dormant["daemon"] - before["daemon"]) / instances),
        "bytes_per_dormant_server": round((dormant["server"] - before["server"]) / instances),
        "bytes_per_live": round((live - before["daemon"]) / instances),
    }


async def _until_dormant(client: Client) -> None:
    """Wait until no instance is in the daemon's memory."""
    with trio.fail_after(LIMIT_S):
        while (await client.status()).counters["live"]:
            await trio.sleep(POLL_S)


def run(*, instances: int = 10_000, durability: str = "fsync") -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        url = opened.daemon(durability).url
        figures = trio.run(partial(measure, opened, url, instances))
    return {
        "benchmark": "waiting",
        "instances": instances,
        "durability": durability,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="instances that wait for a signal")
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(
        run(instances=arguments.instances, durability=arguments.durability),
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
