"""Again: work that can be undone, asked for once more.

    attempt 1, 2 of /charge ── given up ── /charge#2: attempt 3, 4 of the same record

One key, so one effect and one undo: the step joins the record of the first one, as the newest
one of its scope. While it is open a success of the first one is not late. A key whose undo was
asked for is spent, because its service refuses it from then on: then the step is one of its
own, with a key and an undo of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actors.kernel.compensation import UndoableStep, tidy
from actors.kernel.operations import Operation, T
from actors.kernel.step import Again
from protocols.effects import Ask
from protocols.subjects import step_token

if TYPE_CHECKING:
    from actors.kernel.ledger import Ledger
    from actors.kernel.records import Record
    from protocols.failure import Failure
    from protocols.policy import StepOptions


def asked_again(  # noqa: PLR0917 - as a step is built
    ledger: Ledger,
    of: str,
    service: str,
    operation: str,
    value: Any,
    name: str,
    options: StepOptions,
) -> Operation[Any]:
    """Return the step that asks once more for the work of the one at ``of``."""
    known = None if ledger.undoing is None else ledger.undoing.known(step_token(of))[0]
    if known is None:
        plain = Again[Any](ledger, service, operation, value, name, Any, options, None)
        plain.of = of
        return plain
    function = None if known.local is None else known.local.function
    step = UndoableAgain[Any](ledger, service, operation, value, name, Any, options, None)
    step.of = of
    return step.undone_by(known.undo, function)


def can_be_undone(ledger: Ledger, of: str) -> bool:
    """Tell whether the work of the call at ``of`` has an undo."""
    return ledger.undoing is not None and ledger.undoing.known(step_token(of))[0] is not None


class UndoableAgain(UndoableStep[T]):
    """The work of an earlier step that can be undone, asked for once more."""

    __slots__ = ("of",)

    of: str

    def ask(self) -> None:  # noqa: D102 - as in Step
        former = None
        if self.record is None:
            routing = self.routing
            former = _newest(self.ledger, self.of)
            _join(former, self, self.service if routing is None else routing.service)
        super().ask()
        assert self.record is not None
        if former is not None and former is not self.record:
            former.heir = self.record
        effects = self.ledger.effects
        asked = effects[-1]
        assert isinstance(asked, Ask)
        effects[-1] = msgspec.structs.replace(asked, key=self.record.key)

    def attempt_failed(self, attempt: int, failure: Failure) -> None:  # noqa: D102 - as in Step
        super().attempt_failed(attempt, failure)
        record = self.record
        assert record is not None
        given_up = record.again == self.token and self.token not in self.ledger.steps
        if given_up and _give_up(record):
            tidy(self.ledger, record.place)


def _newest(ledger: Ledger, of: str) -> Record:
    """Return the record whose key the work of a path has by now."""
    assert ledger.undoing is not None
    record, _ = ledger.undoing.known(step_token(of))
    assert record is not None
    while record.heir is not None:
        record = record.heir
    return record


def _join(record: Record, step: UndoableAgain[Any], service: str) -> None:
    """Let a step join a record, as its newest attempts, unless its key is spent."""
    entry = record.entries.get(service)
    undoing = step.ledger.undoing
    if undoing is None or (entry is not None and entry.state):
        return
    token = step_token(record.path)
    if token in step.ledger.steps or record.again:
        raise step.ledger.scheduler.misuse(
            f"{record.path} is still under way: wait for its end before you ask for it again"
        )
    step.record, step.before = record, max(record.attempts, default=0)
    undoing.again[step.token] = (record, step.before)
    undoing.records[token] = undoing.records.pop(token)
    record.again, record.place, record.input = step.token, step.path, step.body
    undoing.changed()


def _give_up(record: Record) -> bool:
    """Close a record that was asked for again; tell whether a success comes too late now."""
    record.again = ""
    late = False
    for entry in record.entries.values():
        if entry.service != record.value and not entry.state:
            late = late or entry.outcome == "ok"
            entry.unwanted = entry.unwanted or record.given_up or entry.outcome == "ok"
    return late
