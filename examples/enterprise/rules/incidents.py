"""Incidents: errors in logs, severity, what to do, what the ticket says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

Severity = Literal["critical", "high", "medium", "low"]

WINDOW: Final = timedelta(hours=1)
MESSAGES_MAX: Final = 100
RESTART_ABOVE_CPU: Final = 80.0
OUT_OF_MEMORY: Final = "OutOfMemoryError"
URGENCY: Final[dict[Severity, str]] = {
    "critical": "high",
    "high": "low",
    "medium": "low",
    "low": "low",
}
"""How urgently people are paged: only what is critical wakes somebody up."""
PAGED_AT_ONCE: Final = ("critical", "high")
CAUSES: Final[dict[Severity, str]] = {
    "critical": "System overload with multiple errors",
    "high": "High resource utilization",
    "medium": "Elevated resource usage",
    "low": "Minor performance degradation",
}


class Metrics(msgspec.Struct, frozen=True):
    """What the monitoring says of a server's CPU, in percent."""

    current: float = 0.0
    avg: float = 0.0
    max: float = 0.0


class Found(msgspec.Struct, frozen=True):
    """What the three sources have said; None: a source has not answered."""

    metrics: Metrics | None = None
    errors: list[str] | None = None
    related: int | None = None


class Classified(msgspec.Struct, frozen=True):
    """What an incident is, and what is to be done."""

    severity: Severity
    root_cause: str
    page: bool
    urgency: str
    reason: str
    playbooks: list[str]
    missing: list[str]


class Handled(msgspec.Struct, frozen=True):
    """What became of an incident, for its conclusion."""

    incident: str
    run: str
    classified: Classified | None = None
    metrics: Metrics | None = None
    errors: list[str] | None = None
    remediated: str = "skipped"
    """Status of the step: done, skipped, failed."""
    actions: list[str | None] | None = None
    assigned_to: str | None = None


class Concluded(msgspec.Struct, frozen=True):
    """The result, and the comment of the ticket."""

    incident_id: str
    severity: str
    remediation_status: Literal["success", "failed", "not_attempted", "escalated"]
    escalated: bool
    auto_resolved: bool
    comment: str


def errors_in(lines: Iterable[str], until: datetime) -> list[str]:
    """Return the messages of errors in the hour before a moment, at most 100."""
    found = []
    for line in lines:
        when, _, rest = line.partition(" ")
        level, _, message = rest.partition(" ")
        if level == "ERROR" and until - WINDOW <= datetime.fromisoformat(when) <= until:
            found.append(message.strip())
    return found[:MESSAGES_MAX]


def classify(found: Found) -> Classified:
    """Return the severity and the playbooks. A source that is missing counts as nothing."""
    metrics = found.metrics or Metrics()
    errors = found.errors or []
    severity = severity_of(metrics.current, len(errors), found.related or 0)
    page = severity in PAGED_AT_ONCE
    playbooks = []
    if metrics.current > RESTART_ABOVE_CPU:
        playbooks.append("restart_service")
    if any(OUT_OF_MEMORY in each for each in errors):
        playbooks.append("clear_cache")
    if page:
        reason = f"Incident severity: {severity}"
    else:
        reason = "Automated remediation failed: no remediation pattern matched this incident"
    sources = {"metrics": found.metrics, "logs": found.errors, "tickets": found.related}
    return Classified(
        severity,
        CAUSES[severity],
        page,
        URGENCY[severity],
        reason,
        [] if page else playbooks,
        [name for name, said in sources.items() if said is None],
    )


def severity_of(cpu: float, errors: int, related: int) -> Severity:
    """Return the severity by the rules."""
    if cpu > 95 or errors > 50 or related > 5:  # noqa: PLR2004 - the rules' own figures
        return "critical"
    if cpu > 85 or errors > 20:  # noqa: PLR2004
        return "high"
    if cpu > 75 or errors > 5:  # noqa: PLR2004
        return "medium"
    return "low"


def conclude(handled: Handled) -> Concluded:
    """Return the result and the ticket's comment."""
    escalated = handled.assigned_to is not None
    remediated = handled.remediated == "done"
    status: Literal["success", "failed", "not_attempted", "escalated"] = (
        "success"
        if remediated
        else "failed"
        if handled.remediated == "failed"
        else "escalated"
        if escalated
        else "not_attempted"
    )
    classified = handled.classified
    metrics = handled.metrics
    lines = ["**Automated Investigation Results**", ""]
    if classified is None:
        lines.append("The investigation itself has failed.")
    else:
        lines += [
            f"**Severity**: {classified.severity.upper()}",
            f"**Root Cause**: {classified.root_cause}",
        ]
        if classified.missing:
            lines.append(f"**Without**: {', '.join(classified.missing)}")
    cpu = (
        "N/A" if metrics is None else f"{metrics.current} (avg {metrics.avg}, peak {metrics.max})"
    )
    lines += [f"**CPU %**: {cpu}", f"**Errors**: {len(handled.errors or ())} in the last hour"]
    lines.append(f"**Remediation**: {status}")
    actions = [each.strip() for each in handled.actions or () if each]
    if actions:
        lines.append(f"**Actions Taken**: {', '.join(actions)}")
    if escalated:
        lines.append(f"**Escalated To**: {handled.assigned_to}")
    lines.append(f"**Trace**: {handled.run}")
    return Concluded(
        handled.incident,
        "unknown" if classified is None else classified.severity,
        status,
        escalated,
        remediated,
        "\n".join(lines),
    )
