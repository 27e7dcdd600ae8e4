"""A canonical digest of what a fold determines.

Two folds of one mailbox with one code give the same digest, on every machine. It holds what
the future depends on, and the outcome; it leaves out statistics and texts of exceptions, which
may differ between versions of a library.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from protocols import codec

if TYPE_CHECKING:
    from actors.kernel.generation import Seen
    from actors.kernel.ledger import Ledger
    from actors.kernel.step import Step
    from actors.kernel.tasks import Task
    from actors.kernel.view import View


def digest(instance: View, ledger: Ledger, seen: Seen, *, cancel: bool) -> str:
    """Return the SHA-256 of the folded state as hexadecimal text."""
    failure, blocked = instance.failure, instance.blocked
    facts = {
        "instance": [instance.id, instance.generation, instance.workflow, instance.definition],
        "status": instance.status,
        "now": instance.now,
        "times": [instance.started_at, instance.finished_at],
        "cancel": cancel,
        "result": instance.result,
        "failure": failure and [failure.kind, codec.encode(failure.details)],
        "blocked": blocked and [blocked.reason, blocked.error],
        "state": sorted(ledger.shown().items()),
        "seen": seen.facts(),
        "steps": [
            [
                step.path,
                step.attempt,
                step.due,
                step.service,
                step.operation,
                step.body,
                *_route(step),
                *([step.reviewing] if step.reviewing else []),
                *([{"last": step.last}] if step.last else []),
            ]
            for step in sorted(ledger.steps.values(), key=_path)
        ],
        "timers": [[timer.path, timer.due] for timer in sorted(ledger.timers.values(), key=_path)],
        "children": [
            [child.path, child.child, child.workflow]
            for child in sorted(ledger.children.values(), key=_path)
        ],
        "listeners": sorted(
            [name, [listener.path for listener in queue]]
            for name, queue in ledger.listeners.items()
        ),
        "signals": sorted(
            [name, [[mail.body, mail.content_type] for mail in queue]]
            for name, queue in ledger.signals.items()
        ),
        "decided": sorted(ledger.decided.items()),
        "late": sorted(ledger.late_successes),
        "tasks": list(_tasks(ledger.scheduler.main)),
    }
    if ledger.gates:
        facts["gates"] = [gate.facts() for gate in sorted(ledger.gates.values(), key=_path)]
    if ledger.late:
        facts["late"] = sorted(ledger.late)
    if ledger.updates is not None:
        facts["updates"] = ledger.updates.facts()
    if ledger.forks:
        facts["forks"] = sorted(ledger.forks)
    if ledger.taken is not None:
        facts["taken"] = msgspec.to_builtins(ledger.taken)
    if ledger.undoing is not None:
        facts["undo"] = ledger.undoing.facts()
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


def _route(step: Step[Any]) -> list[object]:
    return [] if step.routing is None else [step.routing.facts()]


def _path(operation: Any) -> str:
    return str(operation.path)


def _tasks(main: Task | None) -> list[Any]:
    """Return the place of every live task: what was counted and drawn there."""
    found = []
    pending = [main] if main is not None else []
    while pending:
        task = pending.pop()
        frames = [task.frame, *(nursery.frame for nursery in task.nurseries)]
        found.append(
            [[frame.prefix, sorted(frame.names.items()), frame.draws] for frame in frames]
        )
        for nursery in task.nurseries:
            pending.extend(nursery.tasks)
    return sorted(found)
