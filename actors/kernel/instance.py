"""Instance: the deterministic fold of a workflow's code over its mailbox.

    instance = Instance("order-1", load)
    for mail in mailbox:
        effects = instance.fold(mail)

``fold`` is a function of the mails so far and of the code: no clock, no randomness, no I/O.
What it returns are the effects that this mail made the code ask for. The rules of what counts:

    Start             the first one; the code runs at once, or waits for a pin
    Pinned            the first one, when the start named no definition
    Reply             the first success of any attempt; a failure of the current attempt
    AttemptTimedOut   for the current attempt, not before its time
    AttemptRefused    for the current attempt
    Fired             for a timer that somebody waits for, not before its due time
    Signal            kept until somebody waits for it
    ChildEnded        for a child that is waited for
    Cancel            the first one
    Woken             never: it only moves the time

What comes again, too early or too late is counted. What this code never asked for blocks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from actors.kernel.blocked import Blocked, place_of, unlike_durable
from actors.kernel.context import Context
from actors.kernel.digest import digest
from actors.kernel.operations import Counters, Ledger
from actors.kernel.tasks import DAEMON_FAILURES, Frame, steppable
from protocols import codec
from protocols.effects import (
    FINAL,
    AnyEffect,
    Arm,
    Ask,
    Emit,
    Finish,
    LogLine,
    Pin,
    Status,
    Waiting,
)
from protocols.errors import (
    BadValueError,
    CancelledError,
    ConfigurationError,
    FailedError,
    FailError,
    GatherError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    OversizedError,
    TimedOutError,
    WorkflowError,
)
from protocols.failure import CANCELLED, CODE, TIMEOUT, VALIDATION, Failure
from protocols.mail import (
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Fired,
    Mail,
    Pinned,
    Reply,
    Signal,
    Start,
    Woken,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.definition import Workflow

SHOWN_MAX: Final = 50
"""Steps listed in the diff of a mismatch: enough to see what moved."""


class Instance:
    """One execution of a workflow: its status, and what it waits for."""

    __slots__ = (
        "_body",
        "_broken",
        "_cancel",
        "_ledger",
        "_load",
        "_seen",
        "_start",
        "_workflow",
        "blocked",
        "definition",
        "failure",
        "finished_at",
        "folded",
        "result",
        "started_at",
        "status",
        "workflow",
    )

    def __init__(
        self,
        instance_id: str,
        load: Callable[[str, str], Workflow[Any]],
        *,
        generation: int = 1,
    ) -> None:
        self._ledger = Ledger(instance_id, generation)
        self._load = load
        self._seen: set[tuple[str, str]] = set()
        self._start: Start | None = None
        self._cancel: Cancel | None = None
        self._broken = False
        self.status: Status = "pending"
        self.folded = 0
        self.workflow = ""
        self.definition = ""
        self.result: bytes | None = None
        self.failure: Failure | None = None
        self.blocked: Blocked | None = None
        self.started_at = 0
        self.finished_at = 0

    # What others read

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._ledger.instance_id

    @property
    def generation(self) -> int:
        """1, and one more each time the workflow goes on as new."""
        return self._ledger.generation

    @property
    def now(self) -> int:
        """Highest timestamp folded, in nanoseconds since 1970."""
        return self._ledger.now

    @property
    def input(self) -> bytes:
        """The body of the start message."""
        return self._start.body if self._start is not None else b""

    @property
    def start(self) -> Start | None:
        """The start message that counts."""
        return self._start

    @property
    def state(self) -> dict[str, Any]:
        """The facts that the code showed with ``ctx.set_state``."""
        return {name: codec.decode(body) for name, body in self._ledger.state.items()}

    @property
    def counters(self) -> Counters:
        """Statistics of messages that did not count."""
        return self._ledger.counters

    @property
    def late_successes(self) -> list[tuple[str, int]]:
        """(Step token, attempt) of successes that came after the step was decided."""
        return self._ledger.late_successes

    @property
    def refolding(self) -> bool:
        """Whether log lines are dropped because they were written before."""
        return self._ledger.refolding

    @refolding.setter
    def refolding(self, value: bool) -> None:
        self._ledger.refolding = value

    def is_open(self, effect: AnyEffect) -> bool:
        """Tell whether the fold still waits for what ``effect`` brings; True for other kinds."""
        if isinstance(effect, Ask):
            step = self._ledger.steps.get(effect.step)
            return step is not None and step.attempt == effect.attempt
        if isinstance(effect, Arm):
            timer = self._ledger.timers.get(effect.name)
            return timer is not None and timer.due == effect.due
        if isinstance(effect, Pin):
            return self._wants_pin
        return True

    def waiting(self) -> list[Waiting]:
        """Return what the instance waits for, oldest first."""
        ledger = self._ledger
        operations = [
            *ledger.steps.values(),
            *ledger.timers.values(),
            *ledger.children.values(),
            *(listener for queue in ledger.listeners.values() for listener in queue),
        ]
        found = [operation.waiting() for operation in operations]
        if self._wants_pin:
            found.append(
                Waiting(path="/", kind="pin", since=self.started_at, detail=self.workflow)
            )
        return sorted(found, key=lambda waiting: (waiting.since, waiting.path))

    def drain_logs(self) -> list[LogLine]:
        """Return the log lines since the last call."""
        lines, self._ledger.logs = self._ledger.logs, []
        return lines

    def state_hash(self) -> str:
        """Return a digest of everything that the fold determines, the same at every fold."""
        return digest(self, self._ledger, self._seen, cancel=self._cancel is not None)

    def close(self) -> None:
        """Drop the code's coroutines now. The instance cannot be folded any more."""
        self._broken = True
        self._ledger.scheduler.close()

    # The fold

    def fold(self, mail: Mail) -> list[AnyEffect]:
        """Take the next mail; return the effects that it made the code ask for.

        Raises nothing because of a mail. MemoryError, RecursionError and import errors are
        the daemon's failure: they come out, and this instance must be made and folded anew.
        """
        if self._broken:
            raise InternalError(
                f"instance {self.id} was folded after a failure of the daemon",
                hint="make a new Instance and fold its mailbox from the start",
            )
        if mail.seq <= self.folded:
            return []
        self.folded = mail.seq
        ledger = self._ledger
        ledger.now = max(ledger.now, mail.at)
        if self.status == "blocked":
            return []
        ledger.cause = mail.seq
        effects: list[AnyEffect] = []
        ledger.effects = effects
        ledger.scheduler.entries = 0
        rule = _RULES.get(type(mail))
        try:
            if rule is None:
                self._block("unknown", f"no rule for a {type(mail).__name__} message")
            else:
                rule(self, mail)
            if ledger.scheduler.ready:
                self._run()
        except BaseException:
            self._broken = True
            raise
        return ledger.effects

    def _on_start(self, mail: Start) -> None:
        if self._start is not None or self._repeated("start", mail.message_id):
            self._ledger.counters.duplicates += 1
            return
        self._start = mail
        self.workflow = mail.workflow
        self.definition = mail.definition
        self.started_at = self._ledger.now
        if self._cancel is not None:
            self._finish("cancelled", None, _cancelled(self._cancel))
        elif mail.definition:
            self._begin(mail)
        else:
            self._ledger.effects.append(Pin(cause=mail.seq, workflow=mail.workflow))

    def _on_pinned(self, mail: Pinned) -> None:
        if self._start is None or not self._wants_pin:
            self._ledger.counters.stray += 1
            return
        self.definition = mail.definition
        self._begin(self._start)

    def _on_signal(self, mail: Signal) -> None:
        if self._repeated("signal", mail.message_id):
            return
        ledger = self._ledger
        if self.status in FINAL:
            ledger.counters.late += 1
            return
        listeners = ledger.listeners.get(mail.name)
        if listeners is None:
            ledger.signals.setdefault(mail.name, deque()).append(mail)
            return
        listener = listeners.popleft()
        if not listeners:
            del ledger.listeners[mail.name]
        listener.take(mail)

    def _on_reply(self, mail: Reply) -> None:
        step = self._ledger.steps.get(mail.step)
        if step is None:
            self._not_open(mail.step, mail.attempt if mail.failure is None else 0)
        elif mail.failure is None:
            step.replied(mail.attempt, mail.body, mail.content_type)
        else:
            step.attempt_failed(mail.attempt, mail.failure)

    def _on_timed_out(self, mail: AttemptTimedOut) -> None:
        step = self._ledger.steps.get(mail.step)
        if step is None:
            self._not_open(mail.step, 0)
        else:
            step.timed_out(mail.attempt, mail.at)

    def _on_refused(self, mail: AttemptRefused) -> None:
        step = self._ledger.steps.get(mail.step)
        if step is None:
            self._not_open(mail.step, 0)
        else:
            step.attempt_failed(mail.attempt, mail.failure)

    def _on_child_ended(self, mail: ChildEnded) -> None:
        child = self._ledger.children.get(mail.step)
        if child is None:
            self._not_open(mail.step, 0)
        else:
            child.ended(mail)

    def _on_fired(self, mail: Fired) -> None:
        ledger = self._ledger
        timer = ledger.timers.get(mail.name)
        if timer is None:
            return
        if mail.at < timer.due:
            ledger.counters.early += 1
            ledger.effects.append(Arm(cause=mail.seq, name=mail.name, due=timer.due))
            return
        timer.fired()

    def _on_cancel(self, mail: Cancel) -> None:
        if self._repeated("cancel", mail.message_id):
            return
        if self.status in FINAL:
            self._ledger.counters.late += 1
        elif self._cancel is not None:
            self._ledger.counters.duplicates += 1
        else:
            self._cancel = mail
            main = self._ledger.scheduler.main
            if main is not None:
                self._ledger.scheduler.cancel()
            elif self._start is not None:
                self._finish("cancelled", None, _cancelled(mail))

    def _on_woken(self, mail: Woken) -> None:
        """Only the time moves: a wake speaks to the host."""

    # Helpers of the rules

    @property
    def _wants_pin(self) -> bool:
        return self._start is not None and not self.definition and self.status == "pending"

    def _repeated(self, kind: str, message_id: str) -> bool:
        """Remember a message id; tell whether it was seen before, and count it then."""
        if not message_id:
            return False
        if (kind, message_id) in self._seen:
            self._ledger.counters.duplicates += 1
            return True
        self._seen.add((kind, message_id))
        return False

    def _not_open(self, step: str, success: int) -> None:
        """Count an answer that is late or repeated; block when the step was never asked for."""
        ledger = self._ledger
        decided = ledger.decided.get(step)
        if decided is None:
            if self.status != "running":
                ledger.counters.stray += 1
                return
            self._mismatch(step)
        elif success and success == decided:
            ledger.counters.duplicates += 1
        else:
            ledger.counters.late += 1
            if success and (step, success) not in ledger.late_successes:
                ledger.late_successes.append((step, success))

    def _mismatch(self, step: str) -> None:
        ledger = self._ledger
        diff = {
            "recorded": step,
            "open": [*ledger.steps, *ledger.children][:SHOWN_MAX],
            "decided": list(ledger.decided)[-SHOWN_MAX:],
        }
        self._block(
            "mismatch",
            f"the mailbox holds an answer to step {step!r}, which this code never asked for: "
            "the code was changed under a running instance; fold it with the code it began with",
            diff=diff,
        )

    # Running the code

    def _begin(self, start: Start) -> None:
        """Load the code and start it with its input."""
        try:
            workflow = self._load(start.workflow, self.definition)
        except (NotFoundError, ConfigurationError) as error:
            self._block("definition", error.message)
            return
        ledger = self._ledger
        self.status = "running"
        self._emit("started", {"workflow": self.workflow})
        try:
            value = workflow.check_input(codec.decode(start.body, start.content_type))
        except InvalidInputError as error:
            self._finish("failed", None, _invalid(error.message, error.fields))
            return
        except (BadValueError, OversizedError) as error:
            self._finish("failed", None, _invalid(error.message, {}))
            return
        except ConfigurationError as error:
            self._block("definition", error.message)
            return
        except DAEMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - the code's: its types may run code
            self._block("exception", f"{type(error).__name__}: {error}", error=error)
            return
        ctx = Context(ledger, self.workflow, start.traceparent, workflow.options.steps)
        inputs = (value,) if workflow.takes_input else ()
        ledger.scheduler.start(steppable(workflow.function(ctx, *inputs)), Frame(""))

    def _run(self) -> None:
        """Run the code until it waits, and see whether it has ended."""
        scheduler = self._ledger.scheduler
        scheduler.run()
        if scheduler.dropped:
            for where, error in scheduler.dropped:
                facts = {"task": where, "error": type(error).__name__}
                self._ledger.log("warning", "task.error_dropped", facts)
            scheduler.dropped.clear()
        if scheduler.defect is not None:
            self._block("not_durable", str(scheduler.defect), error=scheduler.defect)
        elif scheduler.main is not None and scheduler.main.outcome:
            self._ended(scheduler.main.value, scheduler.main.error)

    def _ended(self, value: Any, error: BaseException | None) -> None:
        ledger = self._ledger
        if error is None:
            if ledger.unawaited:
                kinds = ", ".join(type(operation).__name__ for operation in ledger.unawaited)
                self._block("not_durable", f"never awaited: {kinds}; write 'await ctx...'")
                return
            try:
                body = codec.encode(value)
            except BadValueError as problem:
                self._block("result", f"the result is outside the value domain: {problem}")
                return
            self._finish("completed", body, None)
        elif isinstance(error, CancelledError) and self._cancel is not None:
            self._finish("cancelled", None, _cancelled(self._cancel))
        elif isinstance(error, WorkflowError):
            failure = failure_of(error)
            try:
                codec.encode(failure.details)
            except BadValueError as problem:
                self._block("result", f"the details of the failure are no value: {problem}")
                return
            self._finish("failed", None, failure)
        elif unlike_durable(error):
            self._block(
                "not_durable",
                f"{type(error).__name__}: {error}; workflow code cannot use trio or asyncio: "
                "await ctx.call(...), ctx.run(fn, ...), ctx.sleep(...)",
                error=error,
            )
        else:
            self._block("exception", f"{type(error).__name__}: {error}", error=error)

    def _finish(self, status: Status, body: bytes | None, failure: Failure | None) -> None:
        """End the instance: its last effects are an event and the outcome."""
        ledger = self._ledger
        self.status = status
        self.result = body
        self.failure = failure
        self.finished_at = ledger.now
        ledger.signals.clear()
        ledger.scheduler.main = None
        facts = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        self._emit(status, facts)
        assert self._start is not None
        ledger.effects.append(
            Finish(
                cause=ledger.cause,
                status=status,
                body=body or b"",
                failure=failure,
                parent=self._start.parent,
            )
        )

    def _block(
        self,
        reason: str,
        message: str,
        *,
        error: BaseException | None = None,
        diff: dict[str, Any] | None = None,
    ) -> None:
        """Halt. What this mail made the code ask for is dropped: repaired code asks again."""
        self.status = "blocked"
        self.blocked = Blocked(
            reason=reason,
            message=message,
            error=type(error).__name__ if error is not None else "",
            place=place_of(error) if error is not None else "",
            diff=diff,
        )
        ledger = self._ledger
        ledger.scheduler.ready.clear()
        ledger.effects = []
        facts = {"reason": reason, "message": message, "place": self.blocked.place}
        self._emit("blocked", facts, f"/{ledger.cause}")

    def _emit(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        ledger = self._ledger
        identity = ledger.identity(f"/{event}{suffix}")
        ledger.effects.append(Emit(cause=ledger.cause, event=event, data=facts, id=identity))


def failure_of(error: WorkflowError) -> Failure:
    """Return the failure that an instance ends with when ``error`` leaves its code."""
    if isinstance(error, FailedError):
        failure = error.failure
        return Failure(
            kind=failure.kind,
            message=str(error),
            retryable=failure.retryable,
            details=failure.details,
        )
    if isinstance(error, FailError):
        return Failure(kind=error.kind, message=error.message, details=error.details)
    if isinstance(error, TimedOutError):
        return Failure(kind=TIMEOUT, message=str(error))
    if isinstance(error, GatherError):
        first = error.errors[0][1]
        kind = failure_of(first).kind if isinstance(first, WorkflowError) else CODE
        details = {branch: str(problem) for branch, problem in error.errors}
        return Failure(kind=kind, message=str(error), details=details)
    return Failure(kind=CODE, message=f"{type(error).__name__}: {error}")


def _cancelled(mail: Cancel) -> Failure:
    return Failure(kind=CANCELLED, message=mail.reason or "cancelled", retryable=False)


def _invalid(message: str, fields: dict[str, str]) -> Failure:
    return Failure(kind=VALIDATION, message=message, retryable=False, details=fields)


_RULES: Final[dict[type[Mail], Callable[[Instance, Any], None]]] = {
    Start: Instance._on_start,  # noqa: SLF001 - the table of the class's own rules
    Pinned: Instance._on_pinned,  # noqa: SLF001
    Signal: Instance._on_signal,  # noqa: SLF001
    Reply: Instance._on_reply,  # noqa: SLF001
    Fired: Instance._on_fired,  # noqa: SLF001
    Woken: Instance._on_woken,  # noqa: SLF001
    AttemptTimedOut: Instance._on_timed_out,  # noqa: SLF001
    AttemptRefused: Instance._on_refused,  # noqa: SLF001
    ChildEnded: Instance._on_child_ended,  # noqa: SLF001
    Cancel: Instance._on_cancel,  # noqa: SLF001
}
