"""How many durable steps per second, from many instances of 8 steps in sequence.

N instances of 8 sequential steps with 200-byte JSON payloads; a no-op service in a process of
its own; client, daemon, service and server on this machine. ``--idle`` runs 100 instances one
after another instead and tells the time of one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from benchmarks.client import Finished, round_trips_per_s
from benchmarks.stage import Stage, fdatasync_per_s, machine, percentile, report, stage
from benchmarks.workflows import PAYLOAD, STEPS
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client import Client

LIMIT_S: Final = 240.0
IDLE_RUNS: Final = 100


async def measure(opened: Stage, instances: int, *, idle: bool) -> dict[str, Any]:
    """Run the instances and return the figures."""
    async with (
        connect(opened.login("admin"), name="bench client") as transport,
        Client.connect(opened.login("client")) as client,
    ):
        round_trips = await round_trips_per_s(transport)
        await client.start("bench.w8", PAYLOAD, wait_s=30)  # warm: definition, route, code paths
        figures: dict[str, Any] = {}
        if idle:
            times = await _one_by_one(client)
            figures = {
                "p50_ms": round(percentile(times, 0.5) * 1e3, 2),
                "p99_ms": round(percentile(times, 0.99) * 1e3, 2),
            }
        else:
            figures = await at_once(transport, client, instances)
        status = await client.status()
        figures |= {
            "lost": instances - figures.pop("finished", instances),
            "requests_sent": status.counters["requests_sent"],
            "requests_reasked": status.counters["requests_reasked"],
            "mail_commits": status.counters["writer_MAIL_commits"],
            "round_trips_per_s": round(round_trips),
            **opened.cost(),
        }
        return figures


async def _one_by_one(client: Client) -> list[float]:
    times = []
    for _ in range(IDLE_RUNS):
        began = time.perf_counter()
        outcome = await client.start("bench.w8", PAYLOAD, wait_s=30)
        times.append(time.perf_counter() - began)
        assert outcome.status == "completed", outcome
    return times


async def at_once(transport: NatsTransport, client: Client, instances: int) -> dict[str, Any]:
    """Start all instances and wait until they have completed."""
    finished = Finished(instances)
    subscription = await transport.subscribe("movant.event.bench-w8.*.completed", finished.take)
    began = time.perf_counter()
    await client.start_many("bench.w8", [PAYLOAD] * instances)
    started = time.perf_counter() - began
    with trio.move_on_after(LIMIT_S):
        await finished.wait()
    took = time.perf_counter() - began
    subscription.unsubscribe()
    times = [at - began for at in finished.ids.values()]
    return {
        "steps_per_s": round(len(times) * STEPS / took),
        "instances_per_s": round(len(times) / took),
        "start_per_s": round(instances / started),
        "done_s": round(took, 3),
        "p50_ms": round(percentile(times, 0.5) * 1e3, 1),
        "p99_ms": round(percentile(times, 0.99) * 1e3, 1),
        "finished": len(times),
    }


def run(
    *,
    instances: int = 1_000,
    durability: str = "fsync",
    service: str = "hosted",
    idle: bool = False,
) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(durability)
        opened.start("service", service, "--nats", opened.login("service"))
        figures = trio.run(partial(measure, opened, instances, idle=idle))
    return {
        "benchmark": "w8-idle" if idle else "w8",
        "instances": IDLE_RUNS if idle else instances,
        "durability": durability,
        "service": service,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="durable steps per second")
    parser.add_argument("--instances", type=int, default=1_000)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--service", choices=["hosted", "plain"], default="hosted")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(
        run(
            instances=arguments.instances,
            durability=arguments.durability,
            service=arguments.service,
            idle=arguments.idle,
        ),
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
