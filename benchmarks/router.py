"""How many routing decisions per second, and what parking and releasing requests costs.

A decision is: find the choices of a name in a table, and choose among three candidates by what
was measured. ``told`` has the scores for the message as well. Parking is: 100,000 requests wait
for a service, in order of priority and age, and all are released. No NATS, one thread; sending
itself is not counted.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, Final, cast

from actors.kernel.context import Context
from actors.kernel.instance import Instance
from actors.owning.workflow import Host, OpenAsk, WorkflowActor
from actors.routing.flow import Flow
from actors.routing.parking import Parking
from actors.routing.ranking import Option, best, first, options_of, told
from actors.routing.router import Presence, Route
from benchmarks.stage import machine, report
from protocols.definition import workflow
from protocols.effects import Ask
from protocols.flow import FlowSettings
from protocols.mail import Start
from protocols.routes import RouteSpec, RoutingTable, ServiceFacts, checked
from runtime.clock import SystemClock

NAMES: Final = ("card-eu", "card-us", "clerks")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and return the figures."""
    rounds = max(1, options.rounds)
    ranked = median(_decisions(options.decisions, _ranked) for _ in range(rounds))
    ordered = median(_decisions(options.decisions, _ordered) for _ in range(rounds))
    scored = median(_decisions(max(1, options.decisions // 10), _scored) for _ in range(rounds))
    parked = [_parking(options.requests) for _ in range(rounds)]
    park_s, release_s = (median(each[at] for each in parked) for at in (0, 1))
    return {
        "benchmark": "router",
        "candidates": len(NAMES),
        "rounds": rounds,
        "decisions_per_s": round(ranked),
        "decisions_in_order_per_s": round(ordered),
        "decisions_with_scores_per_s": round(scored),
        "parked_requests": options.requests,
        "park_s": round(park_s, 3),
        "release_s": round(release_s, 3),
        "park_us": round(park_s / options.requests * 1e6, 2),
        "release_us": round(release_s / options.requests * 1e6, 2),
        **machine(),
    }


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=500_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    report(run(options), as_json=options.json)
    return 0


def _candidates() -> tuple[Option, ...]:
    """Return three candidates of one route, measured and present."""
    table = RoutingTable(
        services={name: ServiceFacts(cost=number) for number, name in enumerate(NAMES)},
        routes={"cards": RouteSpec(to=NAMES, rank="measured")},
    )
    choices = checked(table)["cards"]
    routes = []
    for number, name in enumerate(NAMES):
        route = Route(name, "charge", f"movant.svc.{name}.charge", Flow(name))
        route.presence = Presence.PRESENT
        route.flow.ranked = True
        route.flow.answered(None, 0.0, 0.01 * (number + 1))
        routes.append(route)
    return options_of(choices, routes, "")


def _ranked(table: dict[str, tuple[Option, ...]], now: float) -> object:
    return best(table["cards"], now)


def _ordered(table: dict[str, tuple[Option, ...]], now: float) -> object:
    return first(table["cards"], now, "card-us")


def _scored(table: dict[str, tuple[Option, ...]], now: float) -> object:
    options = table["cards"]
    return best(options, now), told(options, now)


def _decisions(
    count: int, choose: Callable[[dict[str, tuple[Option, ...]], float], object]
) -> float:
    """Return decisions per second."""
    table = {"cards": _candidates()}
    gc.collect()
    began = perf_counter()
    for _ in range(count):
        choose(table, 1.0)
    return count / (perf_counter() - began)


def _parking(count: int) -> tuple[float, float]:
    """Return the seconds that parking takes, and those that releasing takes."""
    sent = []
    parking = Parking(
        SystemClock(),
        send=lambda _, state: sent.append(state.ask.cause),
        rouse=lambda *_: None,
    )
    flow = Flow("cards", FlowSettings(release_per_s=1e9), parking.stir)
    waiting = _requests(count)
    gc.collect()
    began = perf_counter()
    for actor, state in waiting:
        parking.park(actor, state, flow)
    parked_s = perf_counter() - began
    began = perf_counter()
    flow.begin_release(0.0)
    while parking.queued(flow):
        parking.release(flow, 1.0)
    released_s = perf_counter() - began
    assert len(sent) == count
    assert flow.parked == 0
    return parked_s, released_s


def _requests(count: int) -> list[tuple[WorkflowActor, OpenAsk]]:
    """Return open requests of real instances, a hundred each, of three priorities."""
    found: list[tuple[WorkflowActor, OpenAsk]] = []
    number = 0
    while len(found) < count:
        number += 1
        instance = Instance(f"order-{number}", lambda _name, _hash: pay)
        effects = instance.fold(
            Start(
                seq=number,
                at=number,
                workflow="pay",
                body=b"100",
                definition="d",
                priority=(9, 0, -9)[number % 3],
            )
        )
        actor = WorkflowActor(cast("Host", None), instance, 0)
        found += [(actor, OpenAsk(each)) for each in effects if isinstance(each, Ask)]
    return found[:count]


@workflow("pay")
async def pay(ctx: Context, times: int) -> None:
    """Ask for many things at once."""
    await ctx.gather(*(ctx.call("cards", "charge", number) for number in range(times)))


if __name__ == "__main__":
    sys.exit(main())
