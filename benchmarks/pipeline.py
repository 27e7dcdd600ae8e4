"""How long it takes to be told where all active motions are.

Half of N motions wait in a parked state, out of memory once they have settled; the others are
in memory and wait for a service that nobody serves. A client asks for the pipeline again and
again, on one connection, through the API: the first page (50 rows) and, for comparison, the page
of 500 and the blocked ones; ``cpu_ms`` is the processor time that the daemon spends meanwhile per
question, on that and on everything else, which says more than the clock on a busy machine. Then
every tenth motion is moved, a few times: the answer right behind that has to look at what came.
At last the daemon is killed with SIGKILL and started again: it takes over dormant motions whose
place it does not know, and has to fold each once. ``known_s`` is the time from the first question
after the restart until nothing is unread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.client import round_trips_per_s
from benchmarks.stage import (
    Stage,
    asked,
    chosen,
    cpu_s,
    figures_of,
    many,
    report,
    rss_bytes,
    timed,
)
from protocols.api.runs import PipelineStatus
from runtime.bridge.connection import connect
from runtime.client.client import Client

LIMIT_S: Final = 240.0
POLL_S: Final = 0.1
SETTLED_S: Final = 4.0
"""Who only waits leaves memory after two seconds."""
GOAL_MS: Final = 200.0
MACHINE: Final = """
name: bench-pipeline
initial: RECEIVED
states:
  RECEIVED:
    parked: true
    timeout: 7d
    signals: {forward: AT_DESK, table: TABLED}
  AT_DESK:
    owner: desk
    timeout: 7d
    next: DONE
    signals: {table: TABLED}
  TABLED: {parked: true, signals: {forward: AT_DESK}}
  DONE: {terminal: true}
"""


async def measure(opened: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Fill the pipeline, ask, move some, ask, restart, ask."""
    file = opened.store / "pipeline.yaml"
    file.write_text(MACHINE)
    pid = opened.processes["daemon"].pid
    url = opened.login("admin")
    async with (
        connect(url, name="bench client") as transport,
        Client.connect(url, answer_s=LIMIT_S, patience_s=LIMIT_S) as client,
    ):
        await client.register_source(Path(file))
        round_trips = await round_trips_per_s(transport)
        half = options.motions // 2
        began = time.perf_counter()
        names = [each.id for each in await _start(client, options.motions)]
        await client.signal_many(names[:half], "forward")
        await _until(client, {"AT_DESK": half, "RECEIVED": options.motions - half})
        filled_s = time.perf_counter() - began
        await trio.sleep(SETTLED_S)
        live = (await client.status()).counters["live"]
        before = rss_bytes(pid)
        first = await timed(partial(client.pipeline))
        after = rss_bytes(pid)
        spent = cpu_s(pid)
        page = await many(client.pipeline, options.questions)
        spent = cpu_s(pid) - spent
        wide = await many(partial(client.pipeline, limit=500), options.questions // 5)
        blocked = await many(partial(client.pipeline, blocked=True), options.questions // 5)
        moved = [await _move(client, names[n::10]) for n in range(options.rounds)]
    opened.processes["daemon"].kill()
    opened.processes["daemon"].start()
    async with Client.connect(opened.login("admin"), patience_s=LIMIT_S) as client:
        began = time.perf_counter()
        restarted = await timed(client.pipeline)
        unread = (await client.pipeline()).unread
        await _until(client, None)
        known_s = time.perf_counter() - began
        again = await many(client.pipeline, options.questions)
        total = (await client.pipeline()).active_motions
    return {
        "live": int(live),
        "filled_s": round(filled_s, 1),
        "first_ms": round(first, 1),
        **figures_of("", page),
        "cpu_ms": round(spent * 1e3 / len(page), 1),
        **figures_of("rows_500_", wide),
        **figures_of("blocked_", blocked),
        "moved_max_ms": round(max(moved), 1),
        "restarted_first_ms": round(restarted, 1),
        "restarted_unread": unread,
        "known_s": round(known_s, 1),
        **figures_of("restarted_", again),
        "first_question_mb": round((after - before) / 2**20, 1),
        "missing": options.motions - total,
        "goal_ms": GOAL_MS,
        "round_trips_per_s": round(round_trips),
        **opened.cost(),
    }


async def _start(client: Client, motions: int) -> Any:
    return await client.start_many("bench-pipeline", [None] * motions)


async def _until(client: Client, states: dict[str, int] | None) -> PipelineStatus:
    """Ask until all is known, and stands so."""
    with trio.fail_after(LIMIT_S):
        while True:
            found = await client.pipeline(limit=1)
            if not found.unread and (states is None or states == found.motions_by_state):
                return found
            await trio.sleep(POLL_S)


async def _move(client: Client, names: Sequence[str]) -> float:
    """Move some motions, and return how long the question right behind it took, in ms."""
    await client.signal_many(names, "table")
    return await timed(client.pipeline)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    return asked(measure, options, benchmark="pipeline", motions=options.motions)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = chosen(argv, "where all active motions are", motions=10_000, questions=100, rounds=5)
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
