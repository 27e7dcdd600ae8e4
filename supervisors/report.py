"""One shape for every record about a child, for people, logs and events alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec
import structlog

log = structlog.get_logger()

Event = Literal[
    "child.started", "child.restarting", "child.stopped", "child.failed", "supervisor.escalated"
]

Context = Literal["start", "run", "shutdown"]
"""In which part of its life the child was."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a child. ``restarts`` counts those of this child so far.

    ``at`` is the time of the trio clock. ``error`` is the child's own error, if it had one.
    """

    event: Event
    supervisor: str
    child: str
    context: Context
    reason: str
    restarts: int
    at: float
    delay_s: float = 0.0
    error: BaseException | None = None


Told = Callable[[Report], None]
"""Told every report, on the trio thread; must not wait and must not raise."""

_LEVELS: Final = {
    "child.started": "info",
    "child.stopped": "info",
    "child.restarting": "warning",
    "child.failed": "warning",
    "supervisor.escalated": "error",
}


def write(report: Report) -> None:
    """Log a report: warning = a human may look, error = a human must."""
    facts = {
        "supervisor": report.supervisor,
        "child_id": report.child,
        "context": report.context,
        "reason": report.reason,
        "restarts": report.restarts,
    }
    if report.delay_s:
        facts["delay_s"] = round(report.delay_s, 3)
    if report.error is not None and report.event != "child.restarting":
        facts["exc_info"] = report.error
    getattr(log, _LEVELS[report.event])(report.event, **facts)
