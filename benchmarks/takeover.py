"""What it costs when one of two daemons goes: time, lost instances, harmful requests.

Two daemons share the partitions; N instances of 8 steps are under way, each step takes
``--step-s`` in the service, so that all are alive at once. When a quarter of the steps is done,
the daemon without the server gets SIGKILL (or, with ``--freeze``, SIGSTOP until the other one
has its partitions and then SIGCONT, or, with ``--drain``, SIGTERM). Times count from that
signal and are those of the server's clock.

- ``asked_s``: the next owner's first request for one of the lost partitions left it.
- ``first_progress_s``: that was answered and stored, so it contains one step. What the killed
  one had asked is answered meanwhile too, and counts as nothing; so does what a frozen one asked
  before it returned.
- ``done_s``: each instance of those partitions has ended, or its next step is stored.
- ``pause_…``: what one instance waited for that, from its last step before; it contains one
  ordinary step.
- ``harmful``: requests that the frozen one wrote, after it returned, for partitions that it had
  lost; also what it sent before and what only then left its queues, when the other one had
  asked the same before (``harmful_queued``: no check of a lease can call those back, only their
  key protects the service).

By default the two daemons believe to be on two hosts: the lease has to lapse. ``--one-host``:
the survivor sees that the process is gone.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import structlog
import trio

from benchmarks.calls import Called, count, digest, read
from benchmarks.client import is_right, records, round_trips_per_s, shared, stored, until_archived
from benchmarks.launch import KEY, REQUEST
from benchmarks.stage import Stage, fdatasync_per_s, machine, percentile, report, stage
from benchmarks.workflows import PAYLOAD, STEPS
from protocols.ports import Frame
from protocols.subjects import partition_of
from runtime.bridge.connection import connect
from runtime.bridge.transport import NatsTransport
from runtime.client.client import Client

VICTIM: Final = "second"
SURVIVOR: Final = "daemon"
PARTITIONS: Final = 64
BEGIN: Final = 0.25
"""The signal comes when this part of the steps is done."""
FROZEN_S: Final = 8.0
"""The lease is 2 s; what is taken over then is under way again."""
RETURNED_S: Final = 3.0
"""How long a frozen one is watched at least after its return."""
POLL_S: Final = 0.002
LIMIT_S: Final = 180.0
SLICE_S: Final = 0.1
"""Resolution of the timeline."""
REPLIES: Final = "movant.mail.*.*.reply.>"
CLAIMS: Final = "$KV.movant_leases.partition."


class Step(msgspec.Struct, frozen=True):
    """One stored reply: which request it answers, and when it was stored."""

    instance: str
    digest: bytes
    at: float


class Event(msgspec.Struct):
    """What was done to the victim, and when (wall clock, as the server's timestamps are)."""

    at: float
    partitions: frozenset[int]
    steps: int
    returned_at: float = 0.0
    ended_s: float = 0.0


class Wire:
    """Listens to all requests, as any observer at the server can."""

    def __init__(self) -> None:
        self.seen: list[Called] = []

    def take(self, frames: Sequence[Frame]) -> None:
        """Note what was sent."""
        now = time.time()
        for frame in frames:
            if KEY in frame.headers:
                key = frame.headers.split(KEY, 1)[1].split(b"\r\n", 1)[0].decode()
                self.seen.append(Called(digest(key), now))


async def measure(opened: Stage, url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the instances, let one daemon go and return the figures."""
    async with connect(url, name="bench client") as transport:
        round_trips = await round_trips_per_s(transport)
        async with Client.connect(url, patience_s=LIMIT_S) as client:
            await client.start("bench.w8", PAYLOAD, wait_s=60)  # warm: route and code paths
            parts = await shared(client, {SURVIVOR, VICTIM}, PARTITIONS)
            calls = opened.store / "calls"
            warm = count(calls)
            wire = Wire()
            if options.freeze:
                await transport.subscribe(f"{REQUEST}bench.noop", wire.take)
            await client.start_many("bench.w8", [PAYLOAD] * options.instances)
            wanted = options.instances * STEPS * BEGIN
            with trio.fail_after(LIMIT_S):
                while count(calls) - warm < wanted:
                    await trio.sleep(POLL_S)
            event = Event(time.time(), frozenset(parts[VICTIM]), count(calls) - warm)
            await _let_go(opened, event, options)
            all_there = await until_archived(transport, options.instances + 1, LIMIT_S)
        if options.freeze:
            await trio.sleep_until(
                trio.current_time() + event.returned_at + RETURNED_S - time.time()
            )
        cost = opened.cost()
        return {
            **await _figures(opened, transport, event, options.instances, wire),
            "all_ended": all_there,
            "round_trips_per_s": round(round_trips),
            **cost,
        }


async def _let_go(opened: Stage, event: Event, options: argparse.Namespace) -> None:
    """Do to the victim what is measured."""
    victim = opened.processes[VICTIM]
    if options.freeze:
        victim.popen.send_signal(signal.SIGSTOP)
        await trio.sleep(options.frozen_s)
        event.returned_at = time.time()
        victim.popen.send_signal(signal.SIGCONT)
    elif options.drain:
        victim.popen.send_signal(signal.SIGTERM)
        while victim.popen.poll() is None:
            await trio.sleep(POLL_S)
        event.ended_s = time.time() - event.at
    else:
        victim.kill()


async def _figures(
    opened: Stage, transport: NatsTransport, event: Event, instances: int, wire: Wire
) -> dict[str, Any]:
    steps = [_step(each.subject, each.at) for each in await stored(transport, "MAIL", REPLIES)]
    found = await records(transport)
    right = sum(is_right(record, PAYLOAD) for _, record in found.values()) - 1
    ended = {name: at for name, (at, _) in found.items()}
    asked = [each for each in read(opened.store / f"{SURVIVOR}.requests") if each.at > event.at]
    if event.returned_at:
        again = read(opened.store / f"{VICTIM}.requests")
        asked += [each for each in again if each.at > event.returned_at]
    key_of = {each.digest: each.instance for each in steps}
    asked = [each for each in asked if is_moved(key_of.get(each.digest, ""), event)]
    moved = caught_up(steps, ended, asked, event)
    times = [at - event.at for at, _ in moved.values()]
    pauses = [pause for _, pause in moved.values()]
    calls = read(opened.store / "calls")
    times_asked = Counter(each.digest for each in calls)
    figures: dict[str, Any] = {
        "first_progress_s": round(min(times), 3) if times else None,
        "done_s": round(max(times), 3) if times else None,
        **await _phases(transport, asked, event),
        "ended_s": round(max(ended.values()) - event.at, 3),
        "pause_p50_s": round(percentile(pauses, 0.5), 3) if pauses else None,
        "pause_p99_s": round(percentile(pauses, 0.99), 3) if pauses else None,
        "lost": instances - right,
        "steps_rerun": sum(times_asked.values()) - len(times_asked),
        "steps_at_signal": event.steps,
        "instances_moved": len(moved),
        "partitions_moved": len(event.partitions),
        "timeline": timeline(steps, event),
    }
    if event.returned_at:
        sent = read(opened.store / f"{VICTIM}.requests")
        marks = await _marks(transport, VICTIM, event.returned_at)
        late = harmful(sent, wire.seen, key_of, marks, event)
        figures |= {
            "harmful": len(late),
            "harmful_queued": len(set(late) - set(sent)),
            "sent_after_return": sum(each.at > event.returned_at for each in sent),
            "partitions_retaken": len(marks),
        }
    if event.ended_s:
        figures["drained_s"] = round(event.ended_s, 3)
    return figures


def _step(subject: str, at_ns: int) -> Step:
    """Return what a reply's subject tells."""
    tokens = subject.split(".")
    return Step(tokens[3], digest(f"{tokens[3]}/1/{unquote(tokens[5])}"), at_ns / 1e9)


def is_moved(instance: str, event: Event) -> bool:
    """Tell whether an instance is in one of the partitions that got another owner."""
    return partition_of(instance, PARTITIONS) in event.partitions


def caught_up(
    steps: Sequence[Step], ended: dict[str, float], asked: Sequence[Called], event: Event
) -> dict[str, tuple[float, float]]:
    """Return for each instance that had to move when it went on, and what it waited for that.

    It went on when a reply is stored that a next owner asked for, or its record.
    """
    asked_at: dict[bytes, float] = {}
    for each in asked:
        asked_at[each.digest] = min(each.at, asked_at.get(each.digest, inf))
    stored_at: dict[str, list[Step]] = {}
    for step in steps:
        stored_at.setdefault(step.instance, []).append(step)
    moved = {}
    for name, ended_at in ended.items():
        if ended_at <= event.at or not is_moved(name, event):
            continue
        own = stored_at.get(name, [])
        answered = [each.at for each in own if asked_at.get(each.digest, inf) <= each.at]
        at = min([*answered, ended_at])
        before = [each.at for each in own if each.at < at]
        moved[name] = (at, at - max(before, default=event.at))
    return moved


def harmful(
    sent: Sequence[Called],
    wire: Sequence[Called],
    key_of: dict[bytes, str],
    marks: dict[int, float],
    event: Event,
) -> list[Called]:
    """Return what a frozen daemon sent after its return for partitions that it had lost.

    ``marks`` has the time of its next marker in each partition that it owns again.
    """

    def is_lost(each: Called) -> bool:
        number = partition_of(key_of.get(each.digest, ""), PARTITIONS)
        return number in event.partitions and each.at < marks.get(number, inf)

    late = [each for each in sent if each.at > event.returned_at and is_lost(each)]
    before = {each.digest for each in sent if each.at <= event.at}
    known = {each.digest for each in wire if each.at <= event.returned_at}
    late += [
        each
        for each in wire
        if each.at > event.returned_at and each.digest in before & known and is_lost(each)
    ]
    return late


async def _phases(
    transport: NatsTransport, asked: Sequence[Called], event: Event
) -> dict[str, float | None]:
    """Return when the survivor had claimed and marked the lost partitions, and first asked."""
    claims = [
        each.at / 1e9
        for number in event.partitions
        for each in await stored(transport, "KV_movant_leases", f"{CLAIMS}{number}")
    ]
    marks = await _marks(transport, SURVIVOR, event.at)
    times = {
        # A frozen one that has returned claims some of them again.
        "claimed_s": 0.0 if event.returned_at else max(claims, default=0.0),
        "marked_s": max((marks.get(each, 0.0) for each in event.partitions), default=0.0),
        "asked_s": min((each.at for each in asked), default=0.0),
    }
    return {name: round(at - event.at, 3) if at > event.at else None for name, at in times.items()}


async def _marks(transport: NatsTransport, daemon: str, after: float) -> dict[int, float]:
    """Return when a daemon marked each partition for the first time since a moment."""
    found: dict[int, float] = {}
    for each in await stored(transport, "MAIL", "movant.mail.*._owner"):
        value = msgspec.json.decode(each.payload)
        if value["daemon"] == daemon and each.at / 1e9 > after:
            found.setdefault(int(each.subject.split(".")[2]), each.at / 1e9)
    return found


def timeline(steps: Sequence[Step], event: Event) -> list[tuple[float, int, int]]:
    """Return (seconds since the signal, steps stored in the lost partitions, in the others)."""
    moved: Counter[int] = Counter()
    others: Counter[int] = Counter()
    for step in steps:
        number = int((step.at - event.at) // SLICE_S)
        if is_moved(step.instance, event):
            moved[number] += 1
        else:
            others[number] += 1
    numbers = moved.keys() | others.keys()
    if not numbers:
        return []
    span = range(max(min(numbers), int(-2 / SLICE_S)), max(numbers) + 1)
    return [(round(each * SLICE_S, 3), moved[each], others[each]) for each in span]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with stage() as opened:
        raw = fdatasync_per_s(opened.store)
        hosts = ("one", "one" if options.one_host else "another")

        def own(name: str, host: str) -> tuple[str, ...]:
            return ("--host", host, "--requests", str(opened.store / f"{name}.requests"))

        opened.daemon(options.durability, "--name", SURVIVOR, *own(SURVIVOR, hosts[0]))
        url = opened.login("admin")
        opened.another(VICTIM, *own(VICTIM, hosts[1]))
        calls = ("--calls", str(opened.store / "calls"), "--step-s", str(options.step_s))
        opened.start("service", "hosted", "--nats", opened.login("service"), *calls)
        figures = trio.run(partial(measure, opened, url, options))
    return {
        "benchmark": "takeover",
        "variant": "freeze" if options.freeze else "drain" if options.drain else "kill",
        "detection": "process" if options.one_host else "lease",
        "instances": options.instances,
        "durability": options.durability,
        "step_s": options.step_s,
        **figures,
        "fdatasync_per_s": round(raw),
        **machine(),
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="what it costs when one of two daemons goes")
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--step-s", type=float, default=1.0)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--freeze", action="store_true", help="SIGSTOP beyond the lease, SIGCONT")
    how.add_argument("--drain", action="store_true", help="SIGTERM: hand over in order")
    parser.add_argument("--frozen-s", type=float, default=FROZEN_S)
    parser.add_argument("--one-host", action="store_true", help="the survivor sees the process")
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    options = arguments(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    report(run(options), as_json=options.json)


if __name__ == "__main__":
    main()
