"""What a crash in the middle costs: time, lost instances, steps that run again.

N instances of 8 steps are under way. When half of all steps are done, one process gets SIGKILL
and is started again (the daemon restarts its server itself). The service notes every call of
its handler in a file, so the count survives its own death: the same key twice is a step that
ran again. Done is the time at which the server stored the last instance's record, counted
from the restart command. With ``--victim daemon`` the embedded server stops together with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import trio

from benchmarks.calls import count, read
from benchmarks.client import is_right, records, round_trips_per_s, stored, until_archived
from benchmarks.stage import Stage, fdatasync_per_s, machine, percentile, report, stage
from benchmarks.workflows import PAYLOAD, STEPS
from runtime.bridge.connection import connect
from runtime.client.client import Client

POLL_S: Final = 0.001
LIMIT_S: Final = 120.0
SLICE_S: Final = 0.05
"""Resolution of the timeline."""


class Kill(msgspec.Struct):
    """What was killed, and when (wall clock, as the server's timestamps are)."""

    at: float
    restarted_at: float
    calls: int
    ready_s: float


async def measure(opened: Stage, url: str, calls: Path, options: argparse.Namespace) -> Any:
    """Run the instances, kill in the middle and return the figures."""
    instances = options.instances
    async with connect(url, name="bench client") as transport:
        round_trips = await round_trips_per_s(transport)
        async with Client.connect(url, patience_s=LIMIT_S) as client:
            await client.start("bench.w8", PAYLOAD, wait_s=30)  # warm: route and code paths
            warm = count(calls)
            await client.start_many("bench.w8", [PAYLOAD] * instances)
            with trio.fail_after(LIMIT_S):
                while count(calls) - warm < instances * STEPS // 2:
                    await trio.sleep(POLL_S)
            # Not in a worker thread: a process that is started there ends with the thread.
            killed = _kill(opened, options.victim, calls)
            all_there = await until_archived(transport, instances + 1, LIMIT_S)
        await trio.sleep(SLICE_S)
        found = await records(transport)
        replies = [
            each.at / 1e9 for each in await stored(transport, "MAIL", "movant.mail.*.*.reply.>")
        ]
        ended = [at for at, _ in found.values()]
        right = sum(is_right(record, PAYLOAD) for _, record in found.values()) - 1
        late = [at - killed.restarted_at for at in ended if at > killed.at] or [0.0]
        return {
            "done_s": round(max(late), 3) if all_there else None,
            "ready_s": round(killed.ready_s, 3),
            "p50_ms": round(percentile(late, 0.5) * 1e3, 1),
            "p99_ms": round(percentile(late, 0.99) * 1e3, 1),
            "lost": instances - right,
            "steps_rerun": count(calls) - len({each.digest for each in read(calls)}),
            "in_flight": instances - sum(at <= killed.at for at in ended[1:]),
            "steps_at_kill": killed.calls - warm,
            "handler_calls": count(calls) - warm,
            "timeline": timeline(replies[STEPS:], killed.restarted_at),
            "round_trips_per_s": round(round_trips),
            **opened.cost(),
        }


def timeline(replies: Sequence[float], zero: float) -> list[tuple[float, int]]:
    """Return (seconds since the restart, stored steps in this slice) from first to last."""
    counts: dict[int, int] = {}
    for at in replies:
        number = int((at - zero) // SLICE_S)
        counts[number] = counts.get(number, 0) + 1
    if not counts:
        return []
    span = range(min(counts), max(counts) + 1)
    return [(round(number * SLICE_S, 3), counts.get(number, 0)) for number in span]


def _kill(opened: Stage, victim: str, calls: Path) -> Kill:
    """Kill a process and start it again."""
    called = count(calls)
    at = time.time()
    if victim == "server":
        pid = opened.server_pid()
        os.kill(pid, signal.SIGKILL)
        restarted = time.time()
        # The daemon starts it again; that one is ready when it has another pid.
        while opened.server_pid() in {0, pid}:
            pass
    else:
        process = opened.processes[victim]
        process.kill()
        restarted = time.time()
        process.start()
    return Kill(at=at, restarted_at=restarted, calls=called, ready_s=time.time() - restarted)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(options.durability)
        url = opened.login("admin")
        calls = opened.store / "calls"
        opened.start(
            "service", options.service, "--nats", opened.login("service"), "--calls", str(calls)
        )
        figures = trio.run(partial(measure, opened, url, calls, options))
    return {
        "benchmark": "crash",
        "victim": options.victim,
        "instances": options.instances,
        "durability": options.durability,
        "service": options.service,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="what a crash in the middle costs")
    parser.add_argument("--instances", type=int, default=1_000)
    parser.add_argument("--victim", choices=["daemon", "server", "service"], default="daemon")
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--service", choices=["hosted", "plain"], default="hosted")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = arguments(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
