"""What graphs cost: to load a file, to plan a large one, to run one, beside the same in Python.

Loading is: read a YAML file of 500 steps, find every mistake. Planning is: check a graph of 2,000
steps with 6,000 needs, and make its plan. Running is: fold the replies of a graph, and of the
same 8 steps in Python. No NATS, one thread; times are of the processor, so that others on the
machine count less.

``--dag 2000`` runs a graph of so many steps instead, each of which needs three of the layer
before it, with a daemon, a server and a no-op service: once alone, and several at once. w8 follows
on the same daemon; ``of_w8`` is the speed of several as a share of it.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.files.definitions import parse
from actors.graphs.interpreter import GraphWorkflow
from actors.graphs.plan import GraphPlan
from actors.kernel.context import Context
from actors.kernel.instance import Instance
from benchmarks import w8
from benchmarks.kernel import PAYLOAD
from benchmarks.stage import Stage, machine, report, stage
from protocols import codec
from protocols.conditions import Condition
from protocols.definition import Workflow, workflow
from protocols.effects import Ask
from protocols.graphs.check import check
from protocols.graphs.graph import Graph, GraphStep
from protocols.graphs.text import plan
from protocols.mail import Mail, Reply, Start
from protocols.references import Template
from protocols.subjects import step_token
from runtime.bridge.connection import connect
from runtime.client.client import Client

AT: Final = 1_800_000_000_000_000_000
CHAIN: Final = 8
NEEDS: Final = 3
"""Of each step of the large graph, as far as there are so many before it."""
LAYER: Final = 50
"""Steps of the graph that is run with a daemon which may run side by side."""
LIMIT_S: Final = 120.0
_STEP: Final = """\
  step-{number}:
    service: depot
    operation: pack
    needs: [{needs}]
    params:
      amount: "{{{{input.amount}}}}"
      before: "{{{{steps.step-{before}.result.id}}}}"
    timeout: 30s
"""


@workflow("chain")
async def chain(ctx: Context, given: Any) -> Any:
    """Call eight steps, each with what the one before has answered."""
    value = given
    for number in range(CHAIN):
        value = await ctx.call("payments", "charge", value, name=f"s{number}")
    return value


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures."""
    text = _file(options.file_steps)
    large = _large(options.steps)
    graph_s, python_s = (_folding(*each, options.instances) for each in (_graph(), _python()))
    names = {"input": {"a": {"b": 7}}, "steps": {"x": {"status": "done", "result": {"id": 1}}}}
    template = Template("{{steps.x.result.id}}")
    condition = Condition("steps.x.result.id > 0 && input.a.b == 7")
    return {
        "benchmark": "graphs",
        "file_steps": options.file_steps,
        "file_bytes": len(text),
        "load_ms": _ms(lambda: parse(text), options.rounds),
        "steps": len(large.steps),
        "needs": sum(len(step.needed) for step in large.steps.values()),
        "plan_ms": _ms(lambda: (check(large), plan(large)), options.rounds),
        "make_ready_ms": _ms(lambda: GraphPlan(large), options.rounds),
        "run_large_steps_per_s": round(len(large.steps) / _large_run(large)),
        "chain_graph_us_per_step": round(graph_s * 1e6, 1),
        "chain_python_us_per_step": round(python_s * 1e6, 1),
        "graph_to_python": round(python_s / graph_s, 2),
        "reference_us": _us(lambda: template.fill(names)),
        "condition_us": _us(lambda: condition.holds(names)),
        **machine(),
    }


def run_dag(steps: int, runs: int) -> dict[str, Any]:
    """Run a wide graph with a daemon, and return the figures."""
    graph = wide(steps)
    with stage() as opened:
        file = opened.store / "wide.yaml"  # JSON is YAML as well
        file.write_bytes(msgspec.json.encode(graph))
        opened.daemon("interval")
        opened.start("service", "hosted", "--nats", opened.login("service"))
        found = trio.run(_run_dag, opened, file, graph, runs)
    return {
        "benchmark": "graphs-dag",
        "steps": steps,
        "needs": sum(len(step.needed) for step in graph.steps.values()),
        "layers": -(-steps // LAYER),
        "runs": runs,
        "durability": "interval",
        **found,
        **machine(),
    }


async def _run_dag(opened: Stage, file: Path, graph: Graph, runs: int) -> dict[str, Any]:
    async with (
        connect(opened.login("admin"), name="bench client") as transport,
        Client.connect(opened.login("client"), patience_s=LIMIT_S) as client,
    ):
        began = perf_counter()
        await client.register_source(file)
        registered_s = perf_counter() - began

        async def one() -> None:
            outcome = await client.start(graph.name, {"amount": 7}, wait_s=LIMIT_S)
            assert outcome.status == "completed", outcome

        async def several(count: int) -> float:
            began = perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(one)
            return count * len(graph.steps) / (perf_counter() - began)

        await one()  # routes and code paths are cold
        alone, at_once = await several(1), await several(runs)
        cost = opened.cost()
        return {
            "register_ms": round(registered_s * 1e3, 1),
            "alone_steps_per_s": round(alone),
            "steps_per_s": round(at_once),
            "of_w8": round(at_once / await w8.speed(transport, client), 2),
            **cost,
        }


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file-steps", type=int, default=500)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dag", type=int, default=0, help="run a graph of so many steps")
    parser.add_argument("--runs", type=int, default=4, help="of that graph, at once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    found = run_dag(options.dag, options.runs) if options.dag else run(options)
    report(found, as_json=options.json)
    return 0


def _file(steps: int) -> bytes:
    """Return a file of so many steps, each of which needs some before it."""
    lines = ["name: large\ninput: {amount: number}\nsteps:\n"]
    lines.append("  step-0: {service: depot, operation: pack}\n")
    for number in range(1, steps):
        needs = _needs(number, 2)
        told = ", ".join(f"step-{each}" for each in needs)
        lines.append(_STEP.format(number=number, needs=told, before=needs[0]))
    return "".join(lines).encode()


def _needs(number: int, most: int) -> list[int]:
    """Return different steps before one, near and far."""
    return sorted({number - 1, number // 2, number // 3, number - 7} & set(range(number)))[-most:]


def _large(steps: int) -> Graph:
    return Graph(
        name="large",
        steps={
            f"s{number}": GraphStep(
                service="depot",
                operation="pack",
                needs=tuple(f"s{each}" for each in _needs(number, NEEDS)),
                params={"amount": "{{input.amount}}"},
            )
            for number in range(steps)
        },
    )


def wide(steps: int) -> Graph:
    """Return a graph in layers: each step needs three of the layer before."""
    return Graph(
        name="bench.wide",
        input={"amount": "number"},
        outputs=f"{{{{steps.s{steps - 1}.result}}}}",
        steps={
            f"s{number}": GraphStep(
                service="bench",
                operation="noop",
                needs=tuple(
                    f"s{(number // LAYER - 1) * LAYER + (number + each) % LAYER}"
                    for each in range(NEEDS if number >= LAYER else 0)
                ),
                params={"amount": "{{input.amount}}", "number": number},
            )
            for number in range(steps)
        },
    )


def _graph() -> tuple[Workflow[Any], Callable[[int], str]]:
    """Return the chain as a graph, and the path of each step."""
    steps = {
        f"s{number}": GraphStep(
            service="payments",
            operation="charge",
            needs=(f"s{number - 1}",) if number else (),
            params=f"{{{{steps.s{number - 1}.result}}}}" if number else "{{input}}",
        )
        for number in range(CHAIN)
    }
    return GraphWorkflow(Graph(name="chain", steps=steps)), "/steps/s{0}/payments.charge".format


def _python() -> tuple[Workflow[Any], Callable[[int], str]]:
    return chain, "/s{0}".format


def _folding(flow: Workflow[Any], path: Callable[[int], str], instances: int) -> float:
    """Return the seconds that one step of the chain takes."""
    body = codec.encode(PAYLOAD)
    mails: list[Mail] = [Start(seq=1, at=AT, workflow="chain", body=body, definition="0" * 16)]
    mails += [_reply(number + 2, path(number), body) for number in range(CHAIN)]
    population = [Instance(f"order-{number}", lambda *_: flow) for number in range(instances)]
    gc.collect()
    began = process_time()
    for mail in mails:
        for instance in population:
            instance.fold(mail)
    took_s = process_time() - began
    assert all(instance.status == "completed" for instance in population)
    return took_s / (CHAIN * instances)


def _large_run(graph: Graph) -> float:
    """Return the seconds that a run of the large graph takes, each step answered in turn."""
    instance = Instance("large", lambda *_: flow)
    flow = GraphWorkflow(graph)
    body = codec.encode({"amount": 7})
    begin = Start(seq=1, at=AT, workflow="large", body=body, definition="0" * 16)
    began = process_time()
    waiting = [each for each in instance.fold(begin) if isinstance(each, Ask)]
    number = 1
    while waiting:
        number += 1
        reply = _reply(number, waiting.pop().path, b"1")
        waiting += [each for each in instance.fold(reply) if isinstance(each, Ask)]
    took_s = process_time() - began
    assert instance.status == "completed", instance.blocked
    return took_s


def _reply(seq: int, path: str, body: bytes) -> Reply:
    return Reply(seq=seq, at=AT + seq, step=step_token(path), attempt=1, body=body)


def _ms(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(max(1, rounds)):
        gc.collect()
        began = process_time()
        work()
        taken.append(process_time() - began)
    return round(median(taken) * 1e3, 1)


def _us(work: Callable[[], object]) -> float:
    times = 10_000
    began = process_time()
    for _ in range(times):
        work()
    return round((process_time() - began) / times * 1e6, 2)


if __name__ == "__main__":
    sys.exit(main())
