"""How many witnessed transitions per second, from many motions at once.

N motions of one machine, all started at once: seven states of five owners on the way to the
end, which a vote may cut short after two. The owners are hosted services in a process of their
own; client, daemon, services and server share this machine. Each transition is an event with a
statement, and counts when the server has stored it. ``alone_…`` are those of motions that run
one after another, with nothing beside them.

Afterwards each motion's record is compared with the end that its number says, and a sample is
verified as ``movant verify`` does: folded again and compared with its statements. At last w8 is
run on the same daemon: ``of_w8`` is transitions per second as a share of its steps per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.owning.letters import Delivery
from benchmarks import w8
from benchmarks.client import Finished, records, round_trips_per_s, stored, until_archived
from benchmarks.flow import NAME, OFFICES, is_right, submission, transitions
from benchmarks.stage import (
    Stage,
    fdatasync_per_s,
    machine,
    peak_mb,
    percentile,
    report,
    rss_bytes,
    stage,
)
from protocols.archive import ArchiveRecord
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

LIMIT_S: Final = 240.0
ALONE_RUNS: Final = 30
SAMPLE: Final = 200
"""Motions that are verified."""
VERIFIED_AT_ONCE: Final = 8
EVENTS: Final = "movant.event.bench-flow.*"


class Told(msgspec.Struct):
    """What an event of a transition says about its time."""

    class Witness(msgspec.Struct):
        """The statement: ``at`` is the time of the message that was folded, nanoseconds."""

        at: int

    witness: Witness


TOLD: Final = msgspec.json.Decoder(Told)


async def measure(opened: Stage, motions: int) -> dict[str, Any]:
    """Run the motions and return the figures."""
    async with (
        connect(opened.login("admin"), name="bench client") as transport,
        Client.connect(opened.login("client"), patience_s=LIMIT_S) as client,
    ):
        round_trips = await round_trips_per_s(transport)
        alone = await _one_by_one(client)
        pids = {"daemon": opened.processes["daemon"].pid, "server": opened.server_pid()}
        before = {name: rss_bytes(pid) for name, pid in pids.items()}
        began, started_s, ended = await _at_once(transport, client, motions)
        grown = {name: peak_mb(pid) * 2**20 - before[name] for name, pid in pids.items()}
        cost = opened.cost()
        await until_archived(transport, motions + len(alone), LIMIT_S)
        found = {name: each for name, (_, each) in (await records(transport)).items()}
        told = await stored(transport, "EVENTS", f"{EVENTS}.transition")
        ids = list(ended)
        measured = figures(told, ids, began, alone)
        checked = await verified(client, ids)
        steps_per_s = await w8.speed(transport, client)
        return {
            **measured,
            "of_w8": round(measured["transitions_per_s"] / steps_per_s, 2),
            "start_per_s": round(motions / started_s),
            "motion_p50_ms": round(percentile([*ended.values()], 0.5) * 1e3, 1),
            "motion_p99_ms": round(percentile([*ended.values()], 0.99) * 1e3, 1),
            **{f"{name}_bytes_per_motion": round(size / motions) for name, size in grown.items()},
            "lost": lost(found, motions),
            **checked,
            "round_trips_per_s": round(round_trips),
            **cost,
        }


async def _one_by_one(client: Client) -> list[str]:
    """Run some motions one after the other; the first one finds code paths and routes cold."""
    ids = []
    for _ in range(ALONE_RUNS):
        outcome = await client.start(NAME, submission(0), wait_s=60)
        assert outcome.status == "completed", outcome
        ids.append(outcome.id)
    return ids


async def _at_once(
    transport: NatsTransport, client: Client, motions: int
) -> tuple[float, float, dict[str, float]]:
    """Run all motions; return when they began, how long starting took, and each one's time.

    The beginning is on the server's clock, in seconds since 1970.
    """
    finished = Finished(motions)
    subscription = await transport.subscribe(f"{EVENTS}.completed", finished.take)
    at, began = time.time(), time.perf_counter()
    await client.start_many(NAME, [submission(number) for number in range(motions)])
    started_s = time.perf_counter() - began
    with trio.move_on_after(LIMIT_S):
        await finished.wait()
    subscription.unsubscribe()
    return at, started_s, {name: each - began for name, each in finished.ids.items()}


def figures(
    told: Sequence[Delivery], ids: Sequence[str], began: float, alone: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of stored transitions, of the motions at once and of those alone.

    A transition took the time since the one before it of the same motion, as the statements
    tell: from one answer in the mailbox to the next. (Events are written in batches.)
    """
    wanted, single = set(ids), set(alone[1:])
    count, last = 0, began
    latest: dict[str, float] = {}
    took: list[float] = []
    took_alone: list[float] = []
    for each in told:
        name = each.subject.split(".")[3]
        at = TOLD.decode(each.payload).witness.at / 1e9
        if name in wanted:
            count, last = count + 1, max(last, each.at / 1e9)
        if name in latest:
            if name in wanted:
                took.append(at - latest[name])
            elif name in single:
                took_alone.append(at - latest[name])
        latest[name] = at
    seconds = last - began
    return {
        "transitions_per_s": round(count / seconds) if count else 0,
        "motions_per_s": round(len(wanted) / seconds) if count else 0,
        "transitions": count,
        "done_s": round(seconds, 3),
        "transition_p50_ms": round(percentile(took or [0.0], 0.5) * 1e3, 1),
        "transition_p99_ms": round(percentile(took or [0.0], 0.99) * 1e3, 1),
        "alone_p50_ms": round(percentile(took_alone or [0.0], 0.5) * 1e3, 2),
        "alone_p99_ms": round(percentile(took_alone or [0.0], 0.99) * 1e3, 2),
    }


def lost(found: dict[str, ArchiveRecord], motions: int) -> int:
    """Return how many motions have not ended where they have to, each number counted once."""
    right = set()
    alone = 0
    for record in found.values():
        number = _number(record)
        if number is not None and is_right(record, number):
            if number == 0:
                alone += 1
            right.add(number)
    missing = motions - len(right & set(range(motions)))
    return missing + max(0, ALONE_RUNS + 1 - alone)


def _number(record: ArchiveRecord) -> int | None:
    """Return the number of a motion, as its first owner has repeated it."""
    try:
        found = msgspec.json.decode(record.result)["data"]["INTRODUCED"]["number"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


async def verified(client: Client, ids: Sequence[str], sample: int = SAMPLE) -> dict[str, int]:
    """Verify some motions, evenly spread; tell how many, how many were clean, and what was not.

    Clean: no finding, and all statements of the fold are published.
    """
    chosen = ids[:: max(1, len(ids) // sample)][:sample]
    clean = findings = 0
    waiting = list(chosen)

    async def work() -> None:
        nonlocal clean, findings
        while waiting:
            found = await client.verify(waiting.pop())
            findings += len(found.findings)
            clean += not found.findings and found.published == found.statements

    async with trio.open_nursery() as nursery:
        for _ in range(VERIFIED_AT_ONCE):
            nursery.start_soon(work)
    return {"sampled": len(chosen), "verified": clean, "findings": findings}


def run(*, motions: int = 10_000, durability: str = "fsync") -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        opened.daemon(durability)
        opened.start("services", "offices", "--nats", opened.login("service"))
        opened.start("service", "hosted", "--nats", opened.login("service"))
        found = trio.run(partial(measure, opened, motions))
    return {
        "benchmark": "motions",
        "instances": motions,
        "durability": durability,
        "service": f"hosted, {len(OFFICES)}",
        "states": transitions(0) - 1,
        **found,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="witnessed transitions per second")
    parser.add_argument("--motions", type=int, default=10_000)
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    report(run(motions=arguments.motions, durability=arguments.durability), as_json=arguments.json)


if __name__ == "__main__":
    main()
