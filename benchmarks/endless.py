"""Whether it goes on like this: a paced load for minutes, with what has ended being removed.

Instances of 8 steps are started at a fixed rate, whatever becomes of those before. Each second:
resident memory of server and daemon, the disk, what the streams hold, how many steps were
completed, and how long one more instance took from start to end, the probe. What has ended is
kept for ``--keep-s`` only, so that everything comes to its plateau within the run.

- ``throughput``: completed steps of the last minute over those of the first one (of a third of
  the run when that is less; the first seconds do not count).
- ``…_growth``: the highest value in the last third of the run over that in the third before.
- ``probe_cliff``: the slowest of the probes over the median one.
- ``day_…``: what a day at this rate comes to.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio

from benchmarks.client import Finished, round_trips_per_s
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
from benchmarks.workflows import PAYLOAD, STEPS
from protocols.errors import MovantError
from protocols.ports import Outgoing
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client
from runtime.config import DaemonConfig

EVENTS: Final = "movant.event.bench-w8.*.completed"
STREAMS: Final = ("MAIL", "ARCHIVE", "EVENTS", "TIMERS")
TICK_S: Final = 0.1
WARM_S: Final = 5.0
WINDOW_S: Final = 60.0
LIMIT_S: Final = 120.0
ANSWER_S: Final = 5.0
KEPT: Final = ("retention.finished_s", "retention.events_s")
"""How long what has ended is kept; a daemon that keeps all for ever shows how that grows."""
SHOWN: Final = 150
"""Samples that are kept in the result; each stands for as many seconds as it takes."""
DAY_S: Final = 86_400


class Run:
    """What one run knows while it goes on."""

    def __init__(self) -> None:
        self.started = 0
        self.refused = 0
        self.behind_s = 0.0
        """The longest that a tick waited for its turn."""
        self.finished = Finished(10**9)
        self.samples: list[dict[str, float]] = []
        self.probes: list[tuple[float, float]] = []


async def measure(opened: Stage, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the load and return the figures."""
    run = Run()
    async with (
        connect(url, name="bench client") as transport,
        Client.connect(url, patience_s=LIMIT_S) as client,
        Client.connect(url, patience_s=LIMIT_S) as prober,
    ):
        round_trips = await round_trips_per_s(transport)
        await client.start("bench.w8", PAYLOAD, wait_s=60)  # warm: route and code paths
        await transport.subscribe(EVENTS, run.finished.take)
        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_sample, opened, transport, run, began)
            nursery.start_soon(_probe, prober, run, began)
            await _load(client, run, options.per_s, options.minutes * 60.0)
            nursery.cancel_scope.cancel()
        with trio.move_on_after(LIMIT_S):
            while len(run.finished.ids) < run.started:
                await trio.sleep(TICK_S)
        return {
            **figures(run, began, options.minutes * 60.0),
            "round_trips_per_s": round(round_trips),
            **opened.cost(),
        }


async def _load(client: Client, run: Run, per_s: float, seconds: float) -> None:
    """Start instances at a rate; wait for the answers at the end."""
    began = trio.current_time()
    due = 0.0

    async def start(count: int) -> None:
        try:
            answers = await client.start_many("bench.w8", [PAYLOAD] * count)
        except MovantError:
            run.refused += count
            return
        created = sum(each.error is None for each in answers)
        run.started += created
        run.refused += count - created

    async with trio.open_nursery() as nursery:
        for tick in range(round(seconds / TICK_S)):
            at = began + tick * TICK_S
            await trio.sleep_until(at)
            run.behind_s = max(run.behind_s, trio.current_time() - at)
            due += per_s * TICK_S
            nursery.start_soon(start, int(due))
            due -= int(due)
        await trio.sleep_until(began + seconds)


async def _probe(client: Client, run: Run, began: float) -> None:
    """Take the time of one instance each second."""
    number = 0
    while True:
        at = time.perf_counter()
        run.started += 1
        started = await client.start("bench.w8", PAYLOAD, wait_s=LIMIT_S)
        run.probes.append((at - began, time.perf_counter() - at))
        assert started.status == "completed", started
        number = max(number + 1, int(time.perf_counter() - began) + 1)
        await trio.sleep(max(0.0, began + number - time.perf_counter()))


async def _sample(opened: Stage, transport: NatsTransport, run: Run, began: float) -> None:
    """Note each second how everything stands."""
    pids = {"daemon": opened.processes["daemon"].pid, "server": opened.server_pid()}
    number = 0
    while True:
        sample: dict[str, float] = {
            "at_s": round(time.perf_counter() - began, 2),
            "completed": len(run.finished.ids),
            "disk_mb": round(disk_bytes(opened.store) / 2**20, 1),
        }
        for name, pid in pids.items():
            sample[f"{name}_mb"] = round(rss_bytes(pid) / 2**20, 1)
        for name in STREAMS:
            messages, size = await _stream(transport, name)
            sample[f"{name}_messages"] = messages
            sample[f"{name}_mb"] = round(size / 2**20, 1)
        run.samples.append(sample)
        number = max(number + 1, int(time.perf_counter() - began) + 1)
        await trio.sleep(max(0.0, began + number - time.perf_counter()))


async def _stream(transport: NatsTransport, name: str) -> tuple[int, int]:
    """Return messages and bytes of a stream."""
    try:
        answer = await transport.request(Outgoing(f"$JS.API.STREAM.INFO.{name}", b""), ANSWER_S)
    except MovantError:
        return 0, 0
    state = msgspec.json.decode(answer.payload)["state"]
    return state["messages"], state["bytes"]


def figures(run: Run, began: float, seconds: float) -> dict[str, Any]:
    """Return the figures of a run."""
    ends = [at - began for at in run.finished.ids.values()]
    warm = min(WARM_S, seconds / 6)
    window = min(WINDOW_S, seconds / 3)

    def steps(since: float, to: float) -> float:
        return sum(since <= at < to for at in ends) * STEPS / (to - since)

    first, last = steps(warm, warm + window), steps(seconds - window, seconds)
    times = [took for _, took in run.probes] or [0.0]
    late = [took for at, took in run.probes if at >= seconds - window] or times[-1:]
    overall = steps(warm, seconds)
    return {
        "steps_per_s": round(overall),
        "steps_per_s_first": round(first),
        "steps_per_s_last": round(last),
        "throughput": round(last / first, 3) if first else None,
        "probe_p50_ms": round(percentile(times, 0.5) * 1e3, 1),
        "probe_p99_ms": round(percentile(times, 0.99) * 1e3, 1),
        "probe_max_ms": round(max(times) * 1e3, 1),
        "probe_last_p50_ms": round(percentile(late, 0.5) * 1e3, 1),
        "probe_cliff": round(max(times) / statistics.median(times), 1) if run.probes else None,
        **{
            f"{name}_growth": growth([each[f"{name}_mb"] for each in run.samples])
            for name in ("server", "daemon", "disk", "MAIL", "ARCHIVE")
        },
        "started": run.started,
        "refused": run.refused,
        "lost": run.started - len(run.finished.ids),
        "behind_s": round(run.behind_s, 3),
        "day_steps": round(overall * DAY_S),
        "day_instances": round(overall * DAY_S / STEPS),
        "samples": thinned(run, SHOWN),
    }


def growth(values: Sequence[float]) -> float | None:
    """Return the highest of the last third over the highest of the third before."""
    third = len(values) // 3
    if not third:
        return None
    before, after = max(values[third : 2 * third]), max(values[-third:])
    return round(after / before, 3) if before else None


def thinned(run: Run, count: int) -> list[dict[str, float]]:
    """Return about ``count`` samples, with the speed and the slowest probe since the last one."""
    every = max(1, -(-len(run.samples) // count))
    kept = run.samples[::every]
    found = []
    for before, after in itertools.pairwise(kept):
        took = after["at_s"] - before["at_s"]
        completed = after["completed"] - before["completed"]
        probes = [ms for at, ms in run.probes if before["at_s"] <= at < after["at_s"]]
        found.append(
            {
                **after,
                "steps_per_s": round(completed * STEPS / took) if took else 0,
                "probe_ms": round(max(probes, default=0.0) * 1e3, 1),
            }
        )
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    sections = DaemonConfig.__struct_fields__
    settings = [f"{key}={options.keep_s}" for key in KEPT if key.partition(".")[0] in sections]
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        more = [word for each in (*settings, *options.set) for word in ("--set", each)]
        opened.daemon(options.durability, *more)
        url = opened.login("admin")
        opened.start("service", "hosted", "--nats", opened.login("service"))
        found = trio.run(partial(measure, opened, url, options))
    return {
        "benchmark": "endless",
        "minutes": options.minutes,
        "instances": found["started"],
        "per_s": options.per_s,
        "keep_s": options.keep_s,
        "durability": options.durability,
        **found,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="a paced load for minutes")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--per-s", type=float, default=640.0, help="instances that are started")
    parser.add_argument("--keep-s", type=int, default=60, help="how long what has ended is kept")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the configuration"
    )
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
