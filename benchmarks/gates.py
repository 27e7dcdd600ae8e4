"""How long it takes to be told what waits for a person.

N runs wait at a gate each, out of memory once they have settled. A client asks for the inbox again
and again, through the API: the first page (50 rows), a page of 500, and the gates of one run.
Then some are decided, one after the other, and then all events are purged and the daemon is killed
with SIGKILL: it has to fold each run once to know its gate. ``known_s`` is the time from the first
question after that until nothing is unread. ``inbox_ratio`` is the 99th percentile of the first
page by the goal: below 1 it is reached.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
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
    timed,
)
from protocols.api.runs import GatePage
from protocols.ports import Outgoing
from protocols.witness import Operator
from runtime.bridge.connection import connect
from runtime.client.client import Client

LIMIT_S: Final = 240.0
POLL_S: Final = 0.1
GOAL_MS: Final = 100.0
ANN: Final = Operator(who="ann", where="benchmark")
GRAPH: Final = """
name: bench-gates
input: {amount: number}
steps:
  allow:
    gate:
      title: "Pay {{input.amount}}?"
      values: {amount: "{{input.amount}}"}
      roles: finance
      expires: 30d
      remind: 1d
"""


async def measure(opened: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """Fill the inbox, ask, decide, purge, restart, ask."""
    file = opened.store / "gates.yaml"
    file.write_text(GRAPH)
    pid = opened.processes["daemon"].pid
    url = opened.login("admin")
    async with (
        connect(url, name="bench client") as transport,
        Client.connect(url, answer_s=LIMIT_S, patience_s=LIMIT_S) as client,
    ):
        await client.register_source(file)
        round_trips = await round_trips_per_s(transport)
        began = time.perf_counter()
        inputs = [{"amount": number} for number in range(options.gates)]
        names = [each.id for each in await client.start_many("bench-gates", inputs)]
        await _until(client, options.gates)
        filled_s = time.perf_counter() - began
        spent = cpu_s(pid)
        page = await many(client.gates, options.questions)
        spent = cpu_s(pid) - spent
        wide = await many(partial(client.gates, limit=500), options.questions // 5)
        one = await many(partial(client.gates, run=names[-1]), options.questions // 5)
        shown = await many(partial(client.gate, names[-1]), options.questions // 5)
        decided = [await _decide(client, each) for each in names[: options.decisions]]
        left = (await _until(client, options.gates - len(decided))).total
        answer = await transport.request(Outgoing("$JS.API.STREAM.PURGE.EVENTS", b""), LIMIT_S)
        purged = msgspec.json.decode(answer.payload)["purged"]
    opened.processes["daemon"].kill()
    opened.processes["daemon"].start()
    async with Client.connect(
        opened.login("admin"), answer_s=LIMIT_S, patience_s=LIMIT_S
    ) as client:
        began = time.perf_counter()
        await _until(client, left)
        known_s = time.perf_counter() - began
        again = await many(client.gates, options.questions)
    figures = figures_of("", page)
    return {
        "filled_s": round(filled_s, 1),
        **figures,
        "inbox_ratio": round(figures["p99_ms"] / GOAL_MS, 2),
        "cpu_ms": round(spent * 1e3 / len(page), 1),
        **figures_of("rows_500_", wide),
        **figures_of("one_run_", one),
        **figures_of("show_", shown),
        **figures_of("decide_", decided),
        "purged": purged,
        "known_s": round(known_s, 1),
        **figures_of("restarted_", again),
        "goal_ms": GOAL_MS,
        "round_trips_per_s": round(round_trips),
        **opened.cost(),
    }


async def _until(client: Client, count: int) -> GatePage:
    """Ask until so many gates are known."""
    with trio.fail_after(LIMIT_S):
        while True:
            found = await client.gates(limit=1)
            if not found.unread and found.total == count:
                return found
            await trio.sleep(POLL_S)


async def _decide(client: Client, run: str) -> float:
    return await timed(partial(client.decide, run, "approve", role="finance", by=ANN))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    return asked(measure, options, benchmark="gates", gates=options.gates)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = chosen(argv, "what waits for a person", gates=10_000, questions=100, decisions=50)
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
