"""What guardrails cost: one evaluation, all rules of a step, a guarded step beside a plain one.

An evaluation looks at a result of 20 people with notes, about 6 kB, with rules of each pure type.
Redaction masks the same. Running is: fold the replies of a chain of 8 steps with and without five
rules. No NATS, one thread; times are of the processor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from statistics import quantiles
from time import process_time, process_time_ns
from typing import Any, Final

import msgspec

from actors.graphs.interpreter import GraphWorkflow
from actors.kernel.instance import Instance
from benchmarks.stage import machine, report
from protocols import codec
from protocols.graphs.field import Field
from protocols.graphs.graph import Graph, GraphStep
from protocols.guardrails.evaluation import Guard
from protocols.guardrails.guardrail import Allowed, Guardrail
from protocols.guardrails.sensitive import Redactor
from protocols.mail import Mail, Reply, Start
from protocols.subjects import step_token

AT: Final = 1_800_000_000_000_000_000
CHAIN: Final = 8
LIMIT_MS: Final = 50.0
RULES: Final[dict[str, Guardrail]] = {
    "private": Guardrail(type="data-privacy", find=("ssn", "card", "iban")),
    "secrets": Guardrail(type="security"),
    "fair": Guardrail(type="compliance", deny="has(params.group)"),
    "quick": Guardrail(type="performance", max_time=60.0, max_bytes=100_000),
    "allowed": Guardrail(type="allowlist", allow=Allowed(hosts=("*.example.org",))),
    "valid": Guardrail(
        type="output",
        result=Field(type="object", fields={"people": "array"}),
        require="size(result.people) > 0",
    ),
}


def people(count: int) -> dict[str, Any]:
    """Return a value as steps have them."""
    return {
        "people": [
            {
                "name": f"Ann {number}",
                "page": f"https://www.example.org/people/{number}",
                "notes": "Has seen the house twice, and would like the garden to be larger. " * 3,
                "since": f"2026-11-{number % 28 + 1:02d}T10:00:00Z",
                "price": 450_000 + number,
            }
            for number in range(count)
        ]
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures."""
    value = people(options.people)
    facts = {
        "params": value,
        "result": value,
        "took_s": 1.0,
        "calls": 1,
        "input": {},
        "steps": {},
        "run": {"id": "r"},
        "step": {"name": "s", "service": "web", "operation": "o", "kind": "service"},
    }
    guards = [Guard(name, rule) for name, rule in RULES.items()]

    def all_of_them() -> None:
        for guard in guards:
            assert not guard.check("before", facts)
            assert not guard.check("after", facts)

    redactor = Redactor()
    one = _spread(lambda: guards[0].check("after", facts), options.rounds)
    step = _spread(all_of_them, options.rounds)
    masked = _spread(lambda: redactor.value(value), options.rounds)
    plain_s, guarded_s = (_chain(options.instances, with_rules=each) for each in (False, True))
    return {
        "benchmark": "guardrails",
        "value_bytes": len(msgspec.json.encode(value)),
        "rules": len(RULES),
        "evaluation_ms": one,
        "all_rules_before_and_after_ms": step,
        "step_p99_ms": step["p99"],
        "redaction_ms": masked,
        "limit_ms": LIMIT_MS,
        "within_limit": step["p99"] < LIMIT_MS,
        "plain_step_us": round(plain_s * 1e6, 1),
        "guarded_step_us": round(guarded_s * 1e6, 1),
        "guarded_to_plain": round(guarded_s / plain_s, 2),
        **machine(),
    }


def _spread(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return the median, the 99th percentile and the most, in milliseconds."""
    work()
    taken = []
    for _ in range(max(rounds, 2)):
        began = process_time_ns()
        work()
        taken.append((process_time_ns() - began) / 1e6)
    cut = quantiles(taken, n=100, method="inclusive")
    return {"p50": round(cut[49], 3), "p99": round(cut[98], 3), "max": round(max(taken), 3)}


def _chain(instances: int, *, with_rules: bool) -> float:
    """Return the seconds that one step of a chain takes, with small values."""
    steps = {
        f"s{number}": GraphStep(
            service="bank",
            operation="charge",
            needs=(f"s{number - 1}",) if number else (),
            params="{{input}}",
            guardrails=("private", "secrets", "fair", "quick", "allowed") if with_rules else (),
        )
        for number in range(CHAIN)
    }
    graph = Graph(name="chain", steps=steps, guardrails=RULES if with_rules else {})
    flow = GraphWorkflow(graph)
    body = codec.encode({"amount": 7, "text": "a lamp for the hall"})
    mails: list[Mail] = [Start(seq=1, at=AT, workflow="chain", body=body, definition="0" * 16)]
    mails += [
        Reply(
            seq=number + 2,
            at=AT + number,
            step=step_token(f"/steps/s{number}/bank.charge"),
            attempt=1,
            body=body,
        )
        for number in range(CHAIN)
    ]
    population = [Instance(f"order-{number}", lambda *_: flow) for number in range(instances)]
    began = process_time()
    for mail in mails:
        for instance in population:
            instance.fold(mail)
    took_s = process_time() - began
    assert all(instance.status == "completed" for instance in population)
    return took_s / (CHAIN * instances)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    report(run(options), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
