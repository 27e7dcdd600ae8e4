"""How many durable steps per second, from many instances of 8 steps in sequence.

N instances of 8 sequential steps with 200-byte JSON payloads; a no-op service in a process of
its own; client, daemon, service and server on this machine. ``--idle`` runs 100 instances one
after another instead and tells the time of one. ``--form yaml`` runs the same eight steps as a
graph from a YAML file; ``--form both`` runs both in turns, and ``yaml_to_python`` is the speed of
the graph as a share of that of the code.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any, Final

import structlog
import trio

from benchmarks.client import Finished, round_trips_per_s
from benchmarks.stage import (
    Stage,
    cpu_s,
    fdatasync_per_s,
    machine,
    percentile,
    report,
    stage,
)
from benchmarks.workflows import PAYLOAD, STEPS
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

LIMIT_S: Final = 240.0
IDLE_RUNS: Final = 100
FORMS: Final = {"python": "bench.w8", "yaml": "bench.w8-yaml"}
TURNS: Final = 3


async def measure(
    opened: Stage, instances: int, *, idle: bool, form: str = "python"
) -> dict[str, Any]:
    """Run the instances and return the figures."""
    names = [*FORMS.values()] if form == "both" else [FORMS[form]]
    async with (
        connect(opened.login("admin"), name="bench client") as transport,
        Client.connect(opened.login("client")) as client,
    ):
        round_trips = await round_trips_per_s(transport)
        for name in names:
            await client.start(name, PAYLOAD, wait_s=30)  # warm: definition, route, code paths
        figures: dict[str, Any] = {}
        if idle:
            times = await _one_by_one(client, names[0])
            figures = {
                "p50_ms": round(percentile(times, 0.5) * 1e3, 2),
                "p99_ms": round(percentile(times, 0.99) * 1e3, 2),
            }
        elif form == "both":
            figures = await _in_turns(opened, transport, client, instances)
        else:
            figures = await at_once(transport, client, instances, names[0])
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


async def _in_turns(
    opened: Stage, transport: NatsTransport, client: Client, instances: int
) -> dict[str, Any]:
    """Run both forms in turns; return the speeds of their middle turns, and their ratio."""
    pid = opened.processes["daemon"].pid
    turns: dict[str, list[dict[str, Any]]] = {form: [] for form in FORMS}
    spent_s = dict.fromkeys(FORMS, 0.0)
    for _ in range(TURNS):
        for form, name in FORMS.items():
            before = cpu_s(pid)
            turns[form].append(await at_once(transport, client, instances, name))
            spent_s[form] += cpu_s(pid) - before
    steps = TURNS * instances * STEPS
    speeds = {form: median(each["steps_per_s"] for each in of) for form, of in turns.items()}
    ended = [each["finished"] for of in turns.values() for each in of]
    return {
        **{f"{form}_steps_per_s": speed for form, speed in speeds.items()},
        "yaml_to_python": round(speeds["yaml"] / speeds["python"], 2),
        **{f"{form}_daemon_us_per_step": round(s / steps * 1e6) for form, s in spent_s.items()},
        "finished": min(ended),
    }


async def speed(transport: NatsTransport, client: Client, instances: int = 1_000) -> float:
    """Return the steps per second of the middle of some turns: what the machine gives now."""
    name = FORMS["python"]
    await client.start(name, PAYLOAD, wait_s=30)
    turns = [await at_once(transport, client, instances, name) for _ in range(TURNS)]
    return float(median(each["steps_per_s"] for each in turns))


async def _one_by_one(client: Client, name: str) -> list[float]:
    times = []
    for _ in range(IDLE_RUNS):
        began = time.perf_counter()
        outcome = await client.start(name, PAYLOAD, wait_s=30)
        times.append(time.perf_counter() - began)
        assert outcome.status == "completed", outcome
    return times


async def at_once(
    transport: NatsTransport, client: Client, instances: int, name: str = FORMS["python"]
) -> dict[str, Any]:
    """Start all instances and wait until they have completed."""
    finished = Finished(instances)
    subject = f"movant.event.{name.replace('.', '-')}.*.completed"
    subscription = await transport.subscribe(subject, finished.take)
    began = time.perf_counter()
    await client.start_many(name, [PAYLOAD] * instances)
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
    form: str = "python",
) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(durability)
        opened.start("service", service, "--nats", opened.login("service"))
        figures = trio.run(partial(measure, opened, instances, idle=idle, form=form))
    return {
        "benchmark": "w8-idle" if idle else "w8-forms" if form == "both" else "w8",
        "form": form,
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
    parser.add_argument("--form", choices=[*FORMS, "both"], default="python")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(
        run(
            instances=arguments.instances,
            durability=arguments.durability,
            service=arguments.service,
            idle=arguments.idle,
            form=arguments.form,
        ),
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
