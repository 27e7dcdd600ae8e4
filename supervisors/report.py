"""One shape for every record about a child, for people, logs and events alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec
import structlog

from protocols.errors import MovantError, RefusedError, UnavailableError

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
_EXPECTED: Final = (RefusedError, UnavailableError)
"""Errors that say by themselves what is wrong: a traceback would only hide it."""


def write(report: Report) -> None:
    """Log a report: warning = a human may look, error = a human must.

    That the tree comes up and goes down in order is detail; a restart is not.
    """
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
        expected = _expected(report.error)
        if expected is None:
            facts["exc_info"] = report.error
        else:
            facts["error"] = expected.message
    getattr(log, _level(report))(report.event, **facts)


def _level(report: Report) -> str:
    orderly = report.event == "child.stopped" and report.context == "shutdown"
    if orderly or (report.event == "child.started" and not report.restarts):
        return "debug"
    return _LEVELS[report.event]


def _expected(error: BaseException) -> MovantError | None:
    """Return the error that tells it all; None when a defect may be behind it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, MovantError) and error.code.startswith("supervision."):
        return _expected(error.__cause__) if error.__cause__ else None  # what the child said
    return error if isinstance(error, _EXPECTED) else None
