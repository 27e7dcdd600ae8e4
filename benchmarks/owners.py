"""What more daemons cost on the same machine: steps per second with N of them, and with one.

The load is that of w8. One daemon and N daemons take turns, each time on a fresh store, so that
both meet the same machine. ``relative`` is the median with N over the median with one. On the
same cores more daemons cannot be faster: what is measured is what sharing costs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks.client import Finished, round_trips_per_s, shared
from benchmarks.stage import Stage, fdatasync_per_s, machine, report, stage
from benchmarks.w8 import at_once
from benchmarks.workflows import PAYLOAD
from runtime.bridge.connection import connect
from runtime.client.client import Client

PARTITIONS: Final = 64
FIRST: Final = "daemon"
KEPT: Final = ("start_per_s", "p50_ms", "p99_ms", "round_trips_per_s", "rss_mb", "cpu_s")
"""What is told of the best round."""


async def measure(opened: Stage, url: str, names: Sequence[str], instances: int) -> dict[str, Any]:
    """Run the instances once and return the figures."""
    async with connect(url, name="bench client") as transport, Client.connect(url) as client:
        round_trips = await round_trips_per_s(transport)
        await shared(client, set(names), PARTITIONS)
        # Warm all of them: definition, route, code paths.
        warm = Finished(instances // 10)
        heard = await transport.subscribe("movant.event.bench-w8.*.completed", warm.take)
        await client.start_many("bench.w8", [PAYLOAD] * (instances // 10))
        await warm.wait()
        heard.unsubscribe()
        figures = await at_once(transport, client, instances)
        return {**figures, "round_trips_per_s": round(round_trips), **opened.cost()}


def once(daemons: int, instances: int, durability: str) -> dict[str, Any]:
    """Run the instances once with so many daemons."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        names = [FIRST, *(f"daemon{number}" for number in range(2, daemons + 1))]
        opened.daemon(durability, "--name", FIRST)
        url = opened.login("admin")
        for name in names[1:]:
            opened.another(name)
        opened.start("service", "hosted", "--nats", opened.login("service"))
        figures = trio.run(partial(measure, opened, url, names, instances))
    return figures | {"fdatasync_per_s": round(raw)}


def run(*, daemons: int, instances: int, durability: str, rounds: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    one, several = [], []
    for _ in range(rounds):
        one.append(once(1, instances, durability))
        several.append(once(daemons, instances, durability))
    speeds = {
        count: [each["steps_per_s"] for each in found]
        for count, found in ((1, one), (daemons, several))
    }
    median = {count: statistics.median(found) for count, found in speeds.items()}
    best = max(several, key=lambda each: each["steps_per_s"])
    return {
        "benchmark": "owners",
        "daemons": daemons,
        "instances": instances,
        "durability": durability,
        "rounds": rounds,
        **{key: best[key] for key in KEPT},
        "relative": round(median[daemons] / median[1], 3),
        "steps_per_s": round(median[daemons]),
        "steps_per_s_one": round(median[1]),
        "steps_per_s_all": speeds[daemons],
        "steps_per_s_one_all": speeds[1],
        "fdatasync_per_s": best["fdatasync_per_s"],
        "lost": sum(instances - each["finished"] for each in (*one, *several)),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="what more daemons cost on one machine")
    parser.add_argument("--daemons", type=int, default=2)
    parser.add_argument("--instances", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    figures = run(
        daemons=arguments.daemons,
        instances=arguments.instances,
        durability=arguments.durability,
        rounds=arguments.rounds,
    )
    report(figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
