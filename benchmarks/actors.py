"""Measure how fast actors in this process are, and what an idle one costs.

Questions: messages told per second to one actor, asks per second (one asker; a thousand),
actors started per second, bytes per idle actor with and without a task of its own, and
whether the time to stop one actor stays flat from 1,000 to 100,000 of them.

The actor that is told and asked is the child of a supervisor, as in the daemon. Each figure
is the median of several rounds; memory is measured in a process of its own. The figures on
top are those of an actor with a task and a plain handler; ``kinds`` has all three. Stopping
is measured with Python's cyclic garbage collector on: above 10,000 actors its passes over the
living ones are half of the time (without it: 4 us at 1,000 and 5 us at 100,000).
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import trio

from actors.core.base import DrivenActor, TrioActor
from actors.core.ref import TrioRef
from actors.core.system import ActorSystem, open_system
from benchmarks.stage import machine, report
from supervisors.actor import actor_child
from supervisors.child import ChildSpec
from supervisors.supervisor import Supervisor

BURST: Final = 1_000
ROUNDS: Final = 5
STOP_COUNTS: Final = (1_000, 10_000, 100_000)


class Echo(TrioActor):
    """Answers with what it gets; a plain handler on a task."""

    def on_receive(self, message: Any) -> Any:
        """Echo."""
        return message


class EchoAsync(TrioActor):
    """The same with an async handler."""

    async def on_receive(self, message: Any) -> Any:
        """Echo."""
        return message


class EchoDriven(DrivenActor):
    """The same without a task."""

    def on_receive(self, message: Any) -> Any:
        """Echo."""
        return message


KINDS: Final[dict[str, type[TrioActor]]] = {
    "task": Echo,
    "task_async": EchoAsync,
    "driven": EchoDriven,
}


def run(*, quick: bool = False) -> dict[str, Any]:
    """Run everything and return the figures."""
    scale = 50 if quick else 1
    counts = [count for count in STOP_COUNTS if not quick or count <= 1_000]
    kinds = trio.run(_speed, scale)
    for kind, actor_class in KINDS.items():
        kinds[kind]["bytes_per_actor"] = _bytes_per_actor(kind, 50_000 // scale)
        kinds[kind]["stop_us_per_actor"] = {
            str(count): _stop_median(actor_class, count) for count in counts
        }
    return {
        "benchmark": "actors",
        **kinds["task"],
        "kinds": kinds,
        **machine(),
    }


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the work")
    parser.add_argument("--memory", metavar="KIND:COUNT", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory:
        kind, _, count = options.memory.partition(":")
        print(trio.run(_memory, KINDS[kind], int(count)))
        return 0
    report(run(quick=options.quick), as_json=options.json)
    return 0


async def _speed(scale: int) -> dict[str, dict[str, Any]]:
    speeds: dict[str, dict[str, Any]] = {}
    async with open_system() as system:
        specs = [
            ChildSpec(id=kind, start=actor_child(system, actor_class, name=kind))
            for kind, actor_class in KINDS.items()
        ]
        supervisor = Supervisor("benchmark", specs)
        await system.nursery.start(_supervise, supervisor)
        for kind, actor_class in KINDS.items():
            ref = system.registry.lookup(kind)
            speeds[kind] = {
                "tells_per_s": await _rate(_tell, ref, 300_000 // scale),
                "asks_per_s": await _rate(_ask, ref, 20_000 // scale),
                "asks_per_s_1000_askers": await _rate(_ask_many, ref, 50_000 // scale),
                "starts_per_s": await _start(system, actor_class, 20_000 // scale),
            }
        supervisor.request_stop()
    return speeds


async def _supervise(
    supervisor: Supervisor,
    *,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
) -> None:
    class Started:
        def started(self, value: Any = None, *, stop: Any = None) -> None:
            del stop
            task_status.started(value)

    await supervisor.run(task_status=Started())


async def _rate(
    work: Callable[[TrioRef[Any], int], Awaitable[None]], ref: TrioRef[Any], count: int
) -> float:
    rates = []
    for _ in range(ROUNDS):
        started = perf_counter()
        await work(ref, count)
        rates.append(count / (perf_counter() - started))
    return round(statistics.median(rates))


async def _tell(ref: TrioRef[Any], count: int) -> None:
    for _ in range(count // BURST):
        for number in range(BURST):
            ref.tell(number)
        while len(ref.actor_inbox):
            await trio.lowlevel.checkpoint()


async def _ask(ref: TrioRef[Any], count: int) -> None:
    for number in range(count):
        await ref.ask(number)


async def _ask_many(ref: TrioRef[Any], count: int) -> None:
    async def asker() -> None:
        for number in range(count // 1_000):
            await ref.ask(number)

    async with trio.open_nursery() as nursery:
        for _ in range(1_000):
            nursery.start_soon(asker)


async def _start(system: ActorSystem, actor_class: type[TrioActor], count: int) -> float:
    """Until the last one's ``on_start`` is done."""
    rates = []
    for _ in range(ROUNDS):
        started = perf_counter()
        refs = [system.start(actor_class) for _ in range(count)]
        await system.wait_ready(refs[-1])
        rates.append(count / (perf_counter() - started))
        for ref in refs:
            ref.request_stop()
        await system.wait_ended(refs[-1])
        while len(system.registry) > len(KINDS):
            await trio.lowlevel.checkpoint()
    return round(statistics.median(rates))


def _stop_median(actor_class: type[TrioActor], count: int) -> float:
    rounds = 1 if count > 10_000 else ROUNDS
    return statistics.median(trio.run(_stop, actor_class, count) for _ in range(rounds))


async def _stop(actor_class: type[TrioActor], count: int) -> float:
    async with open_system() as system:
        refs = [system.start(actor_class) for _ in range(count)]
        await system.wait_ready(refs[-1])
        started = perf_counter()
        await system.stop_all()
        return round((perf_counter() - started) / count * 1e6, 2)


async def _memory(actor_class: type[TrioActor], count: int) -> int:
    async with open_system() as system:
        await system.start_ready(actor_class)
        gc.collect()
        before = _resident_bytes()
        refs = [system.start(actor_class) for _ in range(count)]
        await system.wait_ready(refs[-1])
        await trio.sleep(0.01)
        return (_resident_bytes() - before) // count


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def _bytes_per_actor(kind: str, count: int) -> int | None:
    """In a fresh process, where no freed memory of other rounds is used again."""
    if not Path("/proc/self/statm").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.actors", "--memory", f"{kind}:{count}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


if __name__ == "__main__":
    raise SystemExit(main())
