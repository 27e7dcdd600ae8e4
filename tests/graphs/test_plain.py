"""Steps that take one call: they have a way of their own, and leave the same trace."""

from __future__ import annotations

from typing import Any

import pytest

from actors.graphs.interpreter import GraphWorkflow
from protocols.rng import Rng
from tests.graphs.orders import graph_of
from tests.kernel.mailbox import Mailbox

PLAIN = """
name: plain
kinds: [odd]
defaults: {retry: {attempts: 2, jitter: 0}, timeout: 5s}
steps:
  a: {service: s, operation: a, params: {n: "{{input.n}}", all: ["{{input}}", 7]}}
  b: {service: s, operation: b, needs: a, params: "{{steps.a.result.id}}", critical: false}
  c:
    service: s
    operation: c
    needs: a
    params: {id: "{{steps.a.result.id ?? 5}}"}
    on_error:
      odd: {do: fallback, services: [t], unknown: switch}
      network: {do: retry, policy: {attempts: 2, jitter: 0, delays: [1]}, then: halt_and_alert}
  d:
    service: s
    operation: d
    needs: [b, c]
    join: any
    fallbacks: [{service: other, params: {c: "{{steps.c.result}}"}, unknown: switch}, {skip: [e]}]
  e: {service: s, operation: e, needs: [c, d], when: "steps.c.status == 'done'"}
outputs: ["{{steps.b.error}}", "{{steps.d.status}}", "{{steps.e.status}}"]
"""


@pytest.mark.parametrize("seed", range(40))
def test_a_step_that_takes_one_call_goes_the_way_of_every_other(seed: int) -> None:
    """It has a way of its own as long as it is answered; nobody can tell which one it went."""
    boxes = []
    for plain in (True, False):
        flow = GraphWorkflow(graph_of(PLAIN))
        for each in flow.plan("").steps.values():
            each.plain = each.plain and plain
        box = Mailbox(flow)
        play(box, Rng(f"plain/{seed}"))
        boxes.append(box)

    assert boxes[0].effects == boxes[1].effects
    assert boxes[0].instance.state_hash() == boxes[1].instance.state_hash()
    boxes[0].refold()


def play(box: Mailbox, rng: Rng) -> None:
    """Let things happen to a run, good ones and others."""
    kinds = ("network", "odd", "system", "refused", "timeout")
    values: tuple[Any, ...] = (None, 7, {"id": 5}, {"id": None}, "x" * 300_000)
    box.start({"n": 3})
    for _ in range(20):
        open_steps = [each for each in box.instance.waiting() if each.kind == "step"]
        if not open_steps:
            break
        one = open_steps[rng.integer(0, len(open_steps) - 1)]
        match rng.integer(0, 5):
            case 0:
                kind = kinds[rng.integer(0, len(kinds) - 1)]
                lost = rng.integer(0, 1) == 1
                box.fail(one.path, kind, attempt=one.attempt, unknown=lost, retryable=not lost)
            case 1:
                box.pass_time(6)
                box.time_out(one.path, attempt=one.attempt)
            case _:
                value = values[rng.integer(0, len(values) - 1)]
                box.reply(one.path, value, attempt=one.attempt)
