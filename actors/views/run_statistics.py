"""Tally: adds up what runs have come to, within a bound of memory.

    mailbox -> fold -> hear(message, effects) --.
    mailbox -> fold -> hear(message, effects) ---+--> Tally --> RunStats
    RunStats of another page ----- add ---------'

What a run has asked, and of whom, is not stored anywhere: it follows from its code and mailbox.
The times are those of the messages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import ceil, log2
from typing import Final

import msgspec

from protocols.api.stats import (
    FailureStats,
    RunStats,
    ServiceStats,
    Spread,
    StepStats,
    WorkflowStats,
)
from protocols.effects import AnyEffect, Ask
from protocols.failure import Failure
from protocols.mail import AnyMail, AttemptRefused, AttemptTimedOut, Reply

ROWS_MAX: Final = 200
"""Rows of one kind; what goes beyond them is counted in a row of that name."""
OTHERS: Final = "(others)"
KINDS_MAX: Final = 20
ACTIVE: Final = "active"
COMPLETED: Final = "completed"
_PER_OCTAVE: Final = 4
_NS: Final = 1_000_000_000
_MS: Final = 1_000_000
_NUMBERS: Final = re.compile(r"#\d+|/items/\d+")
_GRAPH: Final = "/steps/"
_UNDO: Final = "/undo"


class Durations:
    """Many durations, in whole nanoseconds: their sum is the same in any order."""

    __slots__ = ("buckets", "count", "most", "total")

    def __init__(self) -> None:
        self.count = self.total = self.most = 0
        self.buckets: Counter[int] = Counter()

    def add(self, took: int) -> None:
        """Take one more."""
        self.count += 1
        self.total += took
        self.most = max(self.most, took)
        milliseconds = took / _MS
        self.buckets[ceil(_PER_OCTAVE * log2(milliseconds)) if milliseconds > 1 else 0] += 1

    def merge(self, other: Spread) -> None:
        """Take those of a spread."""
        self.count += other.count
        self.total += round(other.total_s * _NS)
        self.most = max(self.most, round(other.max_s * _NS))
        self.buckets.update(other.buckets)

    def spread(self) -> Spread:
        """Return them as numbers."""
        return Spread(
            count=self.count,
            total_s=self.total / _NS,
            average_s=self.total / self.count / _NS if self.count else 0.0,
            p50_s=self._below(0.5),
            p95_s=self._below(0.95),
            max_s=self.most / _NS,
            buckets=dict(sorted(self.buckets.items())),
        )

    def _below(self, share: float) -> float:
        left = self.count * share
        for bucket, count in sorted(self.buckets.items()):
            left -= count
            if left <= 0:
                return min(2 ** (bucket / _PER_OCTAVE) * _MS, self.most) / _NS
        return self.most / _NS


class _Row(msgspec.Struct):
    """A workflow, an operation or a step."""

    durations: Durations
    counts: Counter[str]
    """Outcomes of a workflow, error kinds of an operation."""
    requests: int = 0
    ended: int = 0
    service: str = ""


class Tally:
    """What runs have come to. ``rows_max`` bounds the rows of each kind."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._completion = Durations()
        self._workflows: dict[tuple[str, ...], _Row] = {}
        self._services: dict[tuple[str, ...], _Row] = {}
        self._steps: dict[tuple[str, ...], _Row] = {}
        self._failures: dict[tuple[str, ...], FailureStats] = {}
        self.runs = 0
        self.unread = 0
        self.earliest = 0

    def ran(
        self,
        run: str,
        workflow: str,
        status: str,
        *,
        started_at: int,
        finished_at: int,
        failure: Failure | None,
    ) -> None:
        """Count a run; ``status`` is empty while it has not ended. Times in nanoseconds."""
        self.runs += 1
        self.earliest = min(self.earliest or started_at, started_at)
        row = self._of(self._workflows, workflow)
        row.counts[status or ACTIVE] += 1
        if status == COMPLETED:
            took = max(0, finished_at - started_at)
            row.durations.add(took)
            self._completion.add(took)
        elif status:
            kind = failure.kind if failure is not None else ""
            self._failed(
                FailureStats(
                    workflow=workflow,
                    status=status,
                    kind=kind,
                    runs=1,
                    example=run,
                )
            )

    def asked(self, ask: Ask) -> None:
        """Count a request."""
        self._of(self._services, ask.service, ask.operation).requests += 1

    def answered(self, ask: Ask, took: int, error: str) -> None:
        """Count the end of a request; ``error`` is empty for a success. Nanoseconds."""
        row = self._of(self._services, ask.service, ask.operation)
        row.ended += 1
        row.durations.add(took)
        if error:
            known = error in row.counts or len(row.counts) < KINDS_MAX
            row.counts[error if known else OTHERS] += 1

    def stepped(self, workflow: str, path: str, service: str, took: int) -> None:
        """Count a step. Nanoseconds."""
        row = self._of(self._steps, workflow, step_name(path))
        row.service = service
        row.durations.add(took)

    def add(self, page: RunStats) -> None:
        """Add what another one has counted."""
        self.runs += page.runs
        self.unread += page.unread
        if page.earliest:
            self.earliest = min(self.earliest or page.earliest, page.earliest)
        self._completion.merge(page.completion)
        for each in page.workflows:
            row = self._of(self._workflows, each.workflow)
            row.counts.update(each.outcomes)
            row.durations.merge(each.completion)
        for asked in page.services:
            row = self._of(self._services, asked.service, asked.operation)
            row.requests += asked.requests
            row.ended += asked.latency.count
            row.counts.update(asked.kinds)
            row.durations.merge(asked.latency)
        for step in page.steps:
            row = self._of(self._steps, step.workflow, step.step)
            row.service = row.service or step.service
            row.durations.merge(step.time)
        for failed in page.failures:
            self._failed(failed)

    def stats(self, *, total: int, following: str = "") -> RunStats:
        """Return all of it; ``following`` is the cursor of the next page."""
        outcomes: Counter[str] = Counter()
        for row in self._workflows.values():
            outcomes.update(row.counts)
        return RunStats(
            runs=self.runs,
            total=total,
            success_rate=_success(outcomes),
            completion=self._completion.spread(),
            workflows=sorted(
                (
                    WorkflowStats(
                        workflow=key[0],
                        outcomes=dict(sorted(row.counts.items())),
                        success_rate=_success(row.counts),
                        completion=row.durations.spread(),
                    )
                    for key, row in self._workflows.items()
                ),
                key=lambda each: (-sum(each.outcomes.values()), each.workflow),
            ),
            services=sorted(
                (
                    ServiceStats(
                        service=key[0],
                        operation=key[1],
                        requests=row.requests,
                        errors=sum(row.counts.values()),
                        error_rate=sum(row.counts.values()) / row.ended if row.ended else 0.0,
                        kinds=dict(sorted(row.counts.items())),
                        latency=row.durations.spread(),
                    )
                    for key, row in self._services.items()
                ),
                key=lambda each: (-each.latency.total_s, each.service, each.operation),
            ),
            steps=sorted(
                (
                    StepStats(
                        workflow=key[0],
                        step=key[1],
                        service=row.service,
                        time=row.durations.spread(),
                    )
                    for key, row in self._steps.items()
                ),
                key=lambda each: (-each.time.total_s, each.workflow, each.step),
            ),
            failures=sorted(
                self._failures.values(),
                key=lambda each: (-each.runs, each.workflow, each.status, each.kind),
            ),
            unread=self.unread,
            earliest=self.earliest,
            next=following,
        )

    def _of(self, rows: dict[tuple[str, ...], _Row], *key: str) -> _Row:
        if key not in rows and len(rows) >= self._rows_max:
            key = (OTHERS,) * len(key)
        row = rows.get(key)
        if row is None:
            row = rows[key] = _Row(Durations(), Counter())
        return row

    def _failed(self, failed: FailureStats) -> None:
        """Count failures; the example of the newest page stays."""
        key: tuple[str, ...] = (failed.workflow, failed.status, failed.kind)
        if key not in self._failures and len(self._failures) >= self._rows_max:
            key = (OTHERS, failed.status, "")
            failed = msgspec.structs.replace(failed, workflow=OTHERS, kind="")
        known = self._failures.get(key)
        if known is not None:
            failed = msgspec.structs.replace(known, runs=known.runs + failed.runs)
        self._failures[key] = failed


class Listener:
    """Hears the fold of one run, and tells a tally of its requests and steps."""

    def __init__(self, workflow: str, tally: Tally) -> None:
        self._workflow = workflow
        self._tally = tally
        self._open: dict[tuple[str, int], tuple[Ask, int]] = {}
        self._steps: dict[str, tuple[str, int, int]] = {}
        """Service, first request and last answer by path."""

    def hear(self, mail: AnyMail | None, effects: Sequence[AnyEffect]) -> None:
        """Hear a message and what the fold asks for behind it; None: a generation begins."""
        if isinstance(mail, Reply):
            self._ended(mail, mail.failure.kind if mail.failure is not None else "")
        elif isinstance(mail, AttemptTimedOut):
            self._ended(mail, "timeout")
        elif isinstance(mail, AttemptRefused):
            self._ended(mail, mail.failure.kind)
        at = mail.at if mail is not None else 0
        for each in effects:
            if isinstance(each, Ask) and not each.unrouted:
                key = (each.step, each.attempt)
                if key not in self._open:
                    self._tally.asked(each)
                self._open[key] = (each, max(at, each.due))

    def end(self) -> None:
        """Count the steps: the mailbox has no more messages."""
        for path, (service, first, last) in self._steps.items():
            self._tally.stepped(self._workflow, path, service, last - first)

    def _ended(self, mail: Reply | AttemptTimedOut | AttemptRefused, error: str) -> None:
        found = self._open.pop((mail.step, mail.attempt), None)
        if found is None:  # a repeat, or nobody waits for it
            return
        ask, at = found
        self._tally.answered(ask, max(0, mail.at - at), error)
        _, first, _ = self._steps.get(ask.path, ("", at, 0))
        self._steps[ask.path] = (ask.service, first, max(first, mail.at))


def step_name(path: str) -> str:
    """Return what all items and repeats of a step have in common; of a graph, the step's name."""
    undone = path.endswith(_UNDO)
    found = _NUMBERS.sub("", path.removesuffix(_UNDO))
    if found.startswith(_GRAPH):
        name, _, _ = found.removeprefix(_GRAPH).partition("/")
    else:
        name = found.removeprefix("/")
    return f"{name} (undo)" if undone else name


def _success(outcomes: Counter[str]) -> float | None:
    ended = sum(outcomes.values()) - outcomes[ACTIVE]
    return outcomes[COMPLETED] / ended if ended else None
