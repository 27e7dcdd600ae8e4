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
    Woken, Migrate    never: they only move the time; both speak to the host

What comes again, too early or too late is counted. What this code never asked for blocks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from actors.kernel.blocked import Blocked, blocked_by
from actors.kernel.context import Context
from actors.kernel.outcome import Ended, cancelled_by, end_of_error, end_of_value, input_of
from actors.kernel.tasks import Frame, steppable
from actors.kernel.view import View
from protocols.effects import (
    FINAL,
    AnyEffect,
    Arm,
    Emit,
    Finish,
    Pin,
)
from protocols.errors import ConfigurationError, InternalError, NotFoundError
from protocols.mail import (
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Fired,
    Mail,
    Migrate,
    Pinned,
    Reply,
    Signal,
    Start,
    Woken,
)

if TYPE_CHECKING:
    from collections.abc import Callable


SHOWN_MAX: Final = 50
"""Steps listed in the diff of a mismatch: enough to see what moved."""


class Instance(View):
    """One execution of a workflow: its status, and what it waits for."""

    __slots__ = ()

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
        if self.status == "blocked" and type(mail) is not Cancel:
            return []
        ledger.cause = mail.seq
        effects: list[AnyEffect] = []
        ledger.effects = effects
        ledger.scheduler.entries = 0
        rule = _RULES.get(type(mail))
        try:
            if rule is None:
                message = f"no rule for a {type(mail).__name__} message"
                self._halt(Blocked(reason="unknown", message=message))
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
        self.definition = self._migrated or mail.definition
        self.started_at = self._ledger.now
        if self._cancel is not None:
            self._end(cancelled_by(self._cancel))
        elif self.definition:
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
            if self.status == "blocked":  # its code cannot run any more, not even to clean up
                self.blocked = None
                self._end(cancelled_by(mail))
            elif main is not None:
                self._ledger.scheduler.cancel()
            elif self._start is not None:
                self._end(cancelled_by(mail))

    def _on_host(self, mail: Woken | Migrate) -> None:
        """Only the time moves: the message speaks to the host."""

    # Helpers of the rules

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
        self._halt(
            Blocked(
                reason="mismatch",
                message=f"the mailbox holds an answer to step {step!r}, which this code never "
                "asked for: fold it with the code that it began with",
                diff={
                    "recorded": step,
                    "open": [*ledger.steps, *ledger.children][:SHOWN_MAX],
                    "decided": list(ledger.decided)[-SHOWN_MAX:],
                },
            )
        )

    # Running the code

    def _begin(self, start: Start) -> None:
        """Load the code and start it with its input."""
        try:
            workflow = self._load(start.workflow, self.definition)
        except (NotFoundError, ConfigurationError) as error:
            self._halt(Blocked(reason="definition", message=error.message))
            return
        ledger = self._ledger
        self.status = "running"
        self._emit("started", {"workflow": self.workflow})
        given = input_of(workflow, start)
        if isinstance(given, Ended | Blocked):
            self._end(given)
            return
        ctx = Context(ledger, self.workflow, start.traceparent, workflow.options.steps)
        ledger.scheduler.start(steppable(workflow.function(ctx, *given)), Frame(""))

    def _run(self) -> None:
        """Run the code until it waits, and see whether it has ended."""
        ledger = self._ledger
        scheduler = ledger.scheduler
        scheduler.run()
        if scheduler.dropped:
            for where, error in scheduler.dropped:
                facts = {"task": where, "error": type(error).__name__}
                ledger.log("warning", "task.error_dropped", facts)
            scheduler.dropped.clear()
        if scheduler.defect is not None:
            self._halt(blocked_by(scheduler.defect))
        elif scheduler.main is not None and scheduler.main.outcome:
            main = scheduler.main
            if main.error is not None:
                self._end(end_of_error(main.error, self._cancel))
            elif ledger.unawaited:
                kinds = ", ".join(type(operation).__name__ for operation in ledger.unawaited)
                message = f"never awaited: {kinds}; write 'await ctx...'"
                self._halt(Blocked(reason="not_durable", message=message))
            else:
                self._end(end_of_value(main.value))

    def _end(self, end: Ended | Blocked) -> None:
        """End the instance, or halt it: the last effects are an event and the outcome."""
        if isinstance(end, Blocked):
            self._halt(end)
            return
        ledger = self._ledger
        self.status = end.status
        self.result = end.body
        self.failure = end.failure
        self.finished_at = ledger.now
        ledger.signals.clear()
        ledger.scheduler.main = None
        failure = end.failure
        facts = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        self._emit(end.status, facts)
        assert self._start is not None
        ledger.effects.append(
            Finish(
                cause=ledger.cause,
                status=end.status,
                body=end.body or b"",
                failure=failure,
                parent=self._start.parent,
            )
        )

    def _halt(self, blocked: Blocked) -> None:
        """Block. What this mail made the code ask for is dropped: repaired code asks again."""
        self.status = "blocked"
        self.blocked = blocked
        ledger = self._ledger
        ledger.scheduler.ready.clear()
        ledger.effects = []
        facts = {"reason": blocked.reason, "message": blocked.message, "place": blocked.place}
        self._emit("blocked", facts, f"/{ledger.cause}")

    def _emit(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        ledger = self._ledger
        identity = ledger.identity(f"/{event}{suffix}")
        ledger.effects.append(Emit(cause=ledger.cause, event=event, data=facts, id=identity))


_RULES: Final[dict[type[Mail], Callable[[Instance, Any], None]]] = {
    Start: Instance._on_start,  # noqa: SLF001 - the table of the class's own rules
    Pinned: Instance._on_pinned,  # noqa: SLF001
    Signal: Instance._on_signal,  # noqa: SLF001
    Reply: Instance._on_reply,  # noqa: SLF001
    Fired: Instance._on_fired,  # noqa: SLF001
    Woken: Instance._on_host,  # noqa: SLF001
    Migrate: Instance._on_host,  # noqa: SLF001
    AttemptTimedOut: Instance._on_timed_out,  # noqa: SLF001
    AttemptRefused: Instance._on_refused,  # noqa: SLF001
    ChildEnded: Instance._on_child_ended,  # noqa: SLF001
    Cancel: Instance._on_cancel,  # noqa: SLF001
}
