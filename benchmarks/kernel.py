"""How many folds and steps per second the kernel alone does.

One step is: fold a reply, decode its 200-byte JSON payload, resume the coroutine, let it call
the next step, encode that step's input. No NATS, no actors, one thread.

One transition is: fold an owner's answer to a motion of ``benchmarks.flow``, let it go on to the
next state and ask that one's owner, and encode the event with its statement.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tracemalloc
from statistics import median
from time import perf_counter
from typing import Any, Final

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from actors.motions.interpreter import MotionWorkflow
from actors.owning.outbox import event_payload
from benchmarks.flow import NAME, submission
from benchmarks.stage import machine, report
from benchmarks.workflows import flow
from protocols import codec
from protocols.definition import Workflow, workflow
from protocols.effects import Ask, Emit
from protocols.events import TRANSITION
from protocols.mail import Mail, Reply, Start
from protocols.subjects import step_token
from protocols.witness import leaf

PAYLOAD: Final = {
    "order": "order-4711",
    "customer": {"name": "Ada Lovelace", "city": "London", "score": 0.75},
    "items": [{"sku": "a-1", "count": 2}, {"sku": "b-2", "count": 1}],
    "note": "leave it at the door, please, and ring twice",
}
AT: Final = 1_800_000_000_000_000_000
MILLISECOND: Final = 1_000_000
MOTION: Final = MotionWorkflow(flow)
LEAF: Final = leaf(1, AT, "movant.to.motion.reply.x.1.t", b"", b"{}")


@workflow
async def chain(ctx: Context, steps: int) -> int:
    """Call one step after the other."""
    value: Any = PAYLOAD
    for _ in range(steps):
        value = await ctx.call("payments", "charge", value)
    return steps


def load(_name: str, _definition: str) -> Workflow[Any]:
    """Return the one workflow that is measured."""
    return chain


def mailbox(steps: int) -> list[Mail]:
    """Return the mails of one instance, from its start to its last reply."""
    body = codec.encode(PAYLOAD)
    start = Start(seq=1, at=AT, workflow="chain", body=b"%d" % steps, definition="0" * 16)
    mails: list[Mail] = [start]
    for number in range(1, steps + 1):
        path = "/payments.charge" if number == 1 else f"/payments.charge#{number}"
        mails.append(
            Reply(
                seq=number + 1,
                at=AT + number * MILLISECOND,
                step=step_token(path),
                attempt=1,
                body=body,
                content_type="application/json",
            )
        )
    return mails


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures."""
    mails = mailbox(options.steps)
    rounds = [_round(mails, options.instances) for _ in range(options.rounds)]
    seconds = median(rounds)
    answers = answered()
    moved = [_motions(answers, options.instances) for _ in range(options.rounds)]
    transitions = len(answers) * options.instances
    folds = len(mails) * options.instances
    steps = options.steps * options.instances
    return {
        "benchmark": "kernel",
        "payload_bytes": len(codec.encode(PAYLOAD)),
        "steps_per_instance": options.steps,
        "instances": options.instances,
        "rounds": options.rounds,
        "folds_per_s": round(folds / seconds),
        "steps_per_s": round(steps / seconds),
        "us_per_step": round(seconds / steps * 1e6, 2),
        "us_per_step_best": round(min(rounds) / steps * 1e6, 2),
        "transitions_per_s": round(transitions / median(moved)),
        "us_per_transition": round(median(moved) / transitions * 1e6, 2),
        "us_per_transition_best": round(min(moved) / transitions * 1e6, 2),
        "bytes_per_instance": _weight(mails[:2], 1_000),
        **machine(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    report(run(options), as_json=options.json)
    return 0


def _round(mails: list[Mail], instances: int) -> float:
    """Fold the mailbox once per instance, interleaved as a daemon does; return the seconds."""
    population = [Instance(f"order-{number}", load) for number in range(instances)]
    asked = 0
    gc.collect()
    began = perf_counter()
    for mail in mails:
        for instance in population:
            for effect in instance.fold(mail):
                asked += type(effect) is Ask
    seconds = perf_counter() - began
    assert asked == (len(mails) - 1) * instances
    assert all(instance.status == "completed" for instance in population)
    return seconds


def answered() -> list[Mail]:
    """Return the mails of one motion that goes all the way."""
    motion = Instance("motion", lambda _name, _definition: MOTION)
    body = codec.encode(submission(0))
    mails: list[Mail] = [
        Start(seq=1, at=AT, workflow=NAME, body=body, definition="0" * 16, leaf=LEAF)
    ]
    effects = motion.fold(mails[0])
    while motion.status == "running":
        (asked,) = [each for each in effects if type(each) is Ask]
        seq = len(mails) + 1
        mails.append(
            Reply(
                seq=seq,
                at=AT + seq * MILLISECOND,
                step=asked.step,
                attempt=1,
                body=b'{"number":0,"ayes":60,"noes":9}',
                content_type="application/json",
                leaf=LEAF,
            )
        )
        effects = motion.fold(mails[-1])
    return mails


def _motions(mails: list[Mail], motions: int) -> float:
    """Fold a motion's mailbox once per motion, and encode its events; return the seconds."""
    population = [
        Instance(f"motion-{number}", lambda _name, _definition: MOTION)
        for number in range(motions)
    ]
    told = 0
    gc.collect()
    began = perf_counter()
    for mail in mails:
        for instance in population:
            for effect in instance.fold(mail):
                if type(effect) is Emit:
                    event_payload(instance, effect)
                    told += effect.event == TRANSITION
    seconds = perf_counter() - began
    assert told == len(mails) * motions
    return seconds


def _weight(mails: list[Mail], instances: int) -> int:
    """Return the bytes that one waiting instance keeps."""
    gc.collect()
    tracemalloc.start()
    population = [Instance(f"order-{number}", load) for number in range(instances)]
    for mail in mails:
        for instance in population:
            instance.fold(mail)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(instance.status == "running" for instance in population)
    return size // instances


if __name__ == "__main__":
    sys.exit(main())
