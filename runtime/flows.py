"""Flows as people see them: breaker, what is parked, limits and measurements of a service."""

from __future__ import annotations

import msgspec

from actors.flow import Flow
from protocols import api


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
