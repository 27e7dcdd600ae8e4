"""Flows as people see them: breaker, what is parked, limits and measurements of a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from actors.routing.flow import Flow
from protocols.api import runs as api

SHOWN_MAX: Final = 200
"""Services of one daemon beside its tree: all daemons have to fit into one answer."""


class FlowRow(msgspec.Struct, frozen=True):
    """How another daemon stands to a service."""

    parked: int
    breaker: str
    answers: int
    failures: int


class FlowRows(msgspec.Struct, frozen=True):
    """How another daemon stands to all services that it asked."""

    daemon: str
    rows: dict[str, FlowRow]


def rows_of(daemon: str, flows: Mapping[str, Flow]) -> FlowRows:
    """Return what this daemon tells another one."""
    return FlowRows(
        daemon,
        {
            name: FlowRow(each.parked, each.breaker.shown(), each.answers, each.failures)
            for name, each in flows.items()
        },
    )


def service_flows(
    daemon: str, flows: Mapping[str, Flow], most: int = SHOWN_MAX
) -> list[api.ServiceFlow]:
    """Return how a daemon stands to its services, those in trouble first, at most so many."""
    shown = sorted(flows.values(), key=lambda each: (-each.guarded, -each.parked, each.service))
    return [
        api.ServiceFlow(
            service=each.service,
            daemon=daemon,
            breaker=each.breaker.shown(),
            paused=each.hold.text() if each.hold is not None else "",
            parked=each.parked,
            answers=each.answers,
            p50_s=each.percentile_s(0.5),
            p99_s=each.percentile_s(0.99),
            error_rate=round(each.error_share, 4),
        )
        for each in shown[:most]
    ]


def with_others(view: api.ServiceView, others: list[FlowRows]) -> api.ServiceView:
    """Return a service's view with what the other daemons have parked and think of it."""
    found = {each.daemon: each.rows[view.name] for each in others if view.name in each.rows}
    if not found:
        return view
    counters = dict(view.counters)
    for row in found.values():
        for name in ("answers", "failures"):
            counters[name] = counters.get(name, 0.0) + getattr(row, name)
    elsewhere = {
        name: f"breaker {row.breaker}, {row.parked} parked" for name, row in found.items()
    }
    return msgspec.structs.replace(
        view,
        parked=view.parked + sum(row.parked for row in found.values()),
        counters=counters,
        settings={**view.settings, "other daemons": elsewhere},
    )


def with_flow(view: api.ServiceView, flow: Flow | None, now: float) -> api.ServiceView:
    """Return a service's view with what this daemon's flow knows; times are in seconds."""
    if flow is None:
        return view
    told = {
        "answers": float(flow.answers),
        "failures": float(flow.failures),
        "breaker_opened": float(flow.breaker.opened),
        "in_flight": float(flow.in_flight) if flow.settings.concurrency_max else 0.0,
        "error_rate": round(flow.error_share, 4),
        "p50_s": flow.percentile_s(0.5),
        "p99_s": flow.percentile_s(0.99),
        "ping_s": round(flow.ping_s, 6),
        "silent_s": round(max(now - flow.silent_since, 0.0), 1),
    }
    verdict = flow.verdict(now) if flow.guarded else None
    settings = {
        key: value for key, value in msgspec.structs.asdict(flow.settings).items() if value
    }
    if verdict is not None:
        settings["waits"] = verdict.reason
    return msgspec.structs.replace(
        view,
        state=flow.state(now) or view.state,
        parked=flow.parked,
        breaker=flow.breaker.shown(),
        paused=flow.hold.text() if flow.hold is not None else "",
        counters={**view.counters, **{key: each for key, each in told.items() if each}},
        settings={**view.settings, **settings},
    )
