"""Compensation: steps that can be undone, and the code that undoes them.

    UndoableStep   a step whose undo is on record before its first attempt
    compensate     undoes what a scope holds, the newest first, one after the other; a child
                   by a run of its own
    Saga           a block that compensates when it fails

``compensate`` is workflow code of the kernel's own: an undo is a step as every other, below the
path of the step that it undoes (``/charge/undo``). Nothing cancels it. It waits until nothing in
its scope is undecided, asks for one undo, and looks again: what comes late is planned as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import msgspec

from actors.kernel.branches import Scope
from actors.kernel.children import ChildUndo
from actors.kernel.operations import UNREADABLE, Operation, Sleep, T
from actors.kernel.records import Record
from actors.kernel.step import Step, review_of
from actors.kernel.tasks import CancelScope, Frame, Wait
from actors.kernel.undoing import NEVER, Undoing, deadline_of
from protocols import codec
from protocols.blobs import LARGE
from protocols.compensation import NEVER_SEEN, PlannedUndo, Undo, UndoRequest
from protocols.effects import Ask, Emit, LocalCall
from protocols.errors import (
    BadValueError,
    CancelledError,
    OversizedError,
    StepFailedError,
    WorkflowError,
)
from protocols.failure import Failure
from protocols.subjects import check_name, check_step_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from actors.kernel.ledger import Ledger
    from actors.kernel.records import Entry
    from actors.kernel.tasks import Task
    from protocols.mail import ChildEnded, Reply


class UndoableStep(Step[T]):
    """A step that can be undone."""

    __slots__ = ("before", "function", "record", "undo")

    undo: Undo
    function: Callable[[UndoRequest], Any] | None
    record: Record | None
    before: int
    """Attempts of the record before those of this step."""

    def undone_by(self, undo: Undo, function: Callable[[UndoRequest], Any] | None = None) -> Self:
        """Say how the step is undone; for ``ctx.run`` by which function."""
        self.undo, self.function, self.record, self.before = undo, function, None, 0
        return self

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        if self.undo.input is not msgspec.UNSET:
            codec.encode(self.undo.input)  # an undo that cannot be sent is the code's error now
        return super().begin(task)

    def ask(self) -> None:  # noqa: D102 - as in Step
        if self.record is None:
            self.record = _record(self)
        routing = self.routing
        service = self.service if routing is None else routing.service
        self.record.asked(self.attempt + self.before, service)
        super().ask()

    def replied(self, attempt: int, body: bytes, content_type: str) -> None:  # noqa: D102
        assert self.record is not None
        try:
            codec.decode(body, content_type)
        except (BadValueError, OversizedError):
            self.attempt_failed(attempt, UNREADABLE)
            return
        if attempt + self.before not in self.record.attempts:
            self.ledger.counters.stray += 1  # an attempt that was never asked for
            return
        self.record.result = (body, content_type)
        if self.record.succeeded(attempt + self.before, deadline_of(self)):
            tidy(self.ledger, self.record.place)
        super().replied(attempt, body, content_type)

    def attempt_failed(self, attempt: int, failure: Failure) -> None:  # noqa: D102 - as in Step
        assert self.record is not None
        if attempt != self.attempt or not self.needs_word(failure):
            self.record.failed(attempt + self.before, failure, self.ledger.now)
        super().attempt_failed(attempt, failure)


class UndoStep(Step[T]):
    """The undo of a step: carries the key that it undoes."""

    __slots__ = ("entry", "undoes")

    undoes: str
    entry: Entry | None

    def undoing(self, key: str, entry: Entry | None = None) -> Self:
        """Say which step is undone, when it is one of this instance by which entry."""
        self.undoes, self.entry = key, entry
        if entry is not None:
            self.routing = None  # who did it undoes it
        return self

    def ask(self) -> None:  # noqa: D102 - as in Step
        super().ask()
        effects = self.ledger.effects
        asked = effects[-1]
        assert isinstance(asked, Ask)
        effects[-1] = msgspec.structs.replace(asked, undoes=self.undoes)
        if self.entry is not None:
            _undoing(self.ledger).undos[self.token] = self.entry


class Until(Sleep):
    """Wait until a point in time, or until something changes."""

    __slots__ = ()

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        at_once = super().begin(task)
        _undoing(self.ledger).waits[self] = None
        return at_once

    def fired(self) -> None:  # noqa: D102 - as in Sleep
        _undoing(self.ledger).waits.pop(self, None)
        super().fired()

    def look(self) -> None:
        """Let the code look again."""
        super().fired()


class Changed(Wait):
    """Wait until something changes in what can be undone."""

    __slots__ = ("ledger",)

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __await__(self) -> Generator[Wait, None, None]:
        self.task = self.ledger.scheduler.current()
        _undoing(self.ledger).waits[self] = None
        yield self

    def look(self) -> None:
        """Let the code look again."""
        self.ledger.scheduler.resume(self, None)


class Saga(Scope):
    """A scope that undoes what was done in it when it fails or is cancelled."""

    __slots__ = ()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        assert self._nursery is not None
        path = self._nursery.path
        try:
            swallowed = await super().__aexit__(kind, error, trace)
        except (WorkflowError, CancelledError):
            await self._compensate(path)
            raise
        if swallowed or isinstance(error, (WorkflowError, CancelledError)):
            await self._compensate(path)
        return swallowed

    async def _compensate(self, path: str) -> None:
        if self._ledger.undoing is not None:
            with CancelScope(self._ledger.scheduler, shield=True):
                await compensate(self._ledger, path, everything=True)


async def compensate(ledger: Ledger, scope: str, *, everything: bool) -> None:
    """Undo what is planned at and below a path; ``everything``, or what nobody wants."""
    undoing = _undoing(ledger)
    while True:
        entry = next(undoing.plan(scope, everything=everything), None)
        if entry is not None and undoing.reviews(scope):
            await Changed(ledger)
        elif entry is not None:
            due = undoing.due(entry, scope)
            if due <= ledger.now and entry.needs_word:
                _ask_for_word(ledger, entry)
                continue
            if due <= ledger.now:
                await _undo(ledger, entry)
                continue
            if due == NEVER:
                await Changed(ledger)
                continue
            task = ledger.scheduler.current()
            around, task.frame = task.frame, entry.record.frame
            try:
                await Until(ledger, "_until", due=due)
            finally:
                task.frame = around
        elif undoing.busy(scope):
            await Changed(ledger)
        else:
            return


def tidy(ledger: Ledger, path: str) -> None:
    """Undo what nobody wants of one step, beside whatever else goes on."""
    ledger.scheduler.spawn(compensate(ledger, path, everything=False), Frame(path))


def came_late(ledger: Ledger, mail: Reply, *, ended: bool) -> None:
    """Take an answer to a step that is closed: what came late is undone, or told after the end."""
    undoing = _undoing(ledger)
    entry = undoing.late(mail.step, mail.attempt, mail.failure, ledger.now)
    if entry is None or entry.state in {"undone", "asked"}:
        return
    if ended:
        entry.detail = entry.detail or "it succeeded after the end"
        _incident(ledger, entry, "late", f"/late/{mail.attempt}")
    elif not entry.state:
        tidy(ledger, entry.record.place)


def _ask_for_word(ledger: Ledger, entry: Entry) -> None:
    """Let a person say whether there is something to undo."""
    entry.state = "review"
    attempt = entry.attempt
    why = "it may have to be undone"
    path = entry.record.path
    ledger.effects.append(review_of(ledger, path, attempt, why, place="undo/review"))


async def _undo(ledger: Ledger, entry: Entry) -> None:
    """Ask for one undo and note what comes of it."""
    record = entry.record
    known = entry.outcome
    entry.state = "asked"
    task = ledger.scheduler.current()
    around, task.frame = task.frame, record.frame
    try:
        if record.child:
            _child_undone(ledger, entry, await ChildUndo(ledger, entry))
        else:
            await undo_step(ledger, entry)
            entry.state = "undone"
    except StepFailedError as error:
        _failed(ledger, entry, error.failure, known)
    finally:
        task.frame = around
    _undoing(ledger).changed()


def _child_undone(ledger: Ledger, entry: Entry, mail: ChildEnded) -> None:
    """Note what came of the undo of a child: what each of its steps came to."""
    failure = mail.failure
    if failure is None and mail.status == "completed":
        entry.state = "done" if mail.body in {b"", b"null", b"[]"} else "undone"
        entry.detail = "it had nothing that can be undone" if entry.state == "done" else ""
        return
    found = failure.details if failure is not None and isinstance(failure.details, list) else []
    fates = {each.get("fate") for each in found if isinstance(each, dict)}
    entry.state = "unknown" if fates and fates <= {"undone", "unknown"} else "could_not"
    told = "" if failure is None else f": {failure.kind}: {failure.message}"
    entry.detail = f"the undo of {entry.record.child} ended as {mail.status}{told}"
    _incident(ledger, entry, entry.state, "/incident/1")


def _failed(ledger: Ledger, entry: Entry, failure: Failure, known: str) -> None:
    """Note that an undo did nothing, and tell somebody."""
    if failure.kind == NEVER_SEEN and known == "unknown":
        if entry.outcome == "ok":  # its success came meanwhile: once more
            entry.state = ""
            return
        entry.state = "unknown"
    else:
        entry.state = "could_not"
    entry.detail = f"{failure.kind}: {failure.message}"
    _incident(ledger, entry, entry.state, f"/incident/{entry.record.frame.names['undo']}")


def planned(ledger: Ledger, *, ended: bool) -> list[PlannedUndo]:
    """Return what an undo of everything would undo, in order; after the end what is left."""
    undoing = ledger.undoing
    if undoing is None:
        return []
    return [
        PlannedUndo(
            path=entry.record.path,
            service="" if entry.record.child else entry.record.undo.service or entry.service,
            operation=entry.record.undo.operation,
            key=entry.record.key,
            outcome=entry.outcome or "unknown",
            undecided=bool(entry.open) and not ended,
            input=None
            if entry.record.local is not None or entry.record.child
            else undo_input(entry),
            run=entry.record.child,
        )
        for entry in undoing.entries()
        if (entry.outcome or entry.open)
        and (entry.unwanted or not entry.record.kept)
        and (
            entry.state not in {"undone", "done"}
            if ended
            else entry.state in {"", "asked", "review"}
        )
    ]


def undo_step(ledger: Ledger, entry: Entry) -> Operation[Any]:
    """Return the step that undoes an entry."""
    record = entry.record
    undo = record.undo
    service = undo.service or entry.service
    options = msgspec.structs.replace(
        record.options,
        retry=undo.retry,
        retries=None,
        timeout_s=undo.timeout_s or record.options.timeout_s,
        absent="wait",
        idempotent=True,
        unknown="retry",
    )
    value = undo_input(entry)
    local = record.local
    if local is not None:
        local = LocalCall(local.function, (value,), {})
    step = UndoStep[Any](ledger, service, undo.operation, value, "undo", Any, options, local)
    return step.undoing(record.key, entry)


def undo_input(entry: Entry) -> Any:
    """Return what the service of an undo gets."""
    record = entry.record
    if record.undo.input is not msgspec.UNSET:
        return record.undo.input
    given = codec.decode(record.input, LARGE) if record.input else None
    if record.local is not None:
        given = list(record.local.args)
    result = None
    if record.result is not None and record.value == entry.service:
        result = codec.decode(*record.result)
    request = UndoRequest(record.key, given, result)
    if record.local is not None:
        return request
    try:
        codec.encode(request)
    except (BadValueError, OversizedError):  # one level deeper, or both together
        return UndoRequest(record.key)
    return request


def undo_of(undo: str | Undo) -> Undo:
    """Return how a step is undone. Raises InvalidIdError for a name that cannot be one."""
    how = Undo(undo) if isinstance(undo, str) else undo
    check_step_name(how.operation)
    if how.service:
        check_name(how.service, "service")
    return how


def _record(step: UndoableStep[Any]) -> Record:
    """Put the undo of a step on record, before its first attempt."""
    ledger = step.ledger
    if ledger.undoing is None:
        ledger.undoing = Undoing()
    local = None
    if step.function is not None:
        given = step.local.args if step.local is not None else ()
        local = LocalCall(step.function, given, {})
    record = Record(step, step.undo, step.options, local, body=step.body)
    record.kept = ledger.undoing.pivoted
    ledger.undoing.records[step.token] = record
    return record


def _incident(ledger: Ledger, entry: Entry, reason: str, suffix: str) -> None:
    record = entry.record
    ledger.effects.append(
        Emit(
            cause=ledger.cause,
            event="incident",
            data={
                "reason": f"undo_{reason}",
                "path": record.path,
                "service": "" if record.child else entry.service,
                **({"child": record.child} if record.child else {}),
                "undo": record.undo.operation,
                "key": record.key,
                "detail": entry.detail,
                "next": f"movant run undo {ledger.instance_id}",
            },
            id=ledger.identity(record.path + suffix),
        )
    )


def _undoing(ledger: Ledger) -> Undoing:
    assert ledger.undoing is not None
    return ledger.undoing
