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
    Routed            the first one for the current attempt, if it has a route
    Fired             for a timer that somebody waits for, not before its due time
    Signal            kept until somebody waits for it
    Turn              where others were first: the code runs, or it ends
    ChildEnded        for a child that is waited for
    Lacking           blocks: its value cannot be had; a Repaired puts it back or gives it up
    Cancel            the first one; the steps with an undo are undone before the end
    UndoAll           like Cancel: somebody asks for it by hand
    Decided           for a gate that is open, from whoever may decide there
    Reviewed          for an attempt about which a person is asked, or whose undo waits for that
    Fork              for the start of the same message id: what that run begins with
    Switch            where the run can go on with another definition; else it does nothing
    Woken, Migrate    never: they only move the time; both speak to the host
    Continued         never: it says where a fold may begin; the owner wrote it

``ctx.continue_as`` ends a generation and begins the next in the same fold. A fold that begins
with the snapshot of a generation goes on exactly like one that began with the start:

    instance = Instance.from_snapshot("order-1", snapshot, load)
    effects = instance.begin()
    for mail in mailbox above snapshot.through: effects = instance.fold(mail)

What comes again, too early or too late is counted. What this code never asked for blocks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote

import msgspec

from actors.kernel.beginning import Beginning
from actors.kernel.blocked import Blocked
from actors.kernel.compensation import came_late
from actors.kernel.generation import Seen, restore
from actors.kernel.operations import ANY_SIGNAL
from actors.kernel.outcome import cancelled_by
from actors.kernel.witness import witness_messages
from protocols.definition import MAILBOX_LIMIT_MAX
from protocols.effects import FINAL, AnyEffect, Arm
from protocols.errors import InternalError
from protocols.failure import PROTOCOL, Failure
from protocols.mail import (
    CLEAR_ANSWERS,
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Continued,
    Decided,
    Fired,
    Fork,
    Lacking,
    Mail,
    Migrate,
    Pinned,
    Repaired,
    Reply,
    Reviewed,
    Routed,
    Signal,
    Start,
    Switch,
    Turn,
    UndoAll,
    Woken,
)
from protocols.subjects import generation_of, step_token
from protocols.witness import LEAVES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocols.definition import Workflow
    from protocols.mail import Snapshot

SHOWN_MAX: Final = 50
"""Steps listed in the diff of a mismatch: enough to see what moved."""


class Instance(Beginning):
    """One execution of a workflow: its status, and what it waits for."""

    __slots__ = ()

    @classmethod
    def from_snapshot(
        cls,
        instance_id: str,
        snapshot: Snapshot,
        load: Callable[[str, str], Workflow[Any]],
        *,
        replaced: Mapping[int, str] | None = None,
    ) -> Self:
        """Return an instance at the beginning of a generation; call ``begin`` before ``fold``.

        The definition of a migration (``replaced``) goes before that of the snapshot.
        """
        instance = cls(
            instance_id,
            load,
            definition=snapshot.definition,
            generation=snapshot.generation,
            replaced=replaced,
        )
        restore(instance._ledger, snapshot)
        instance._seen = Seen(snapshot.seen)
        instance._start = snapshot.start
        instance._watch = 0
        instance.folded = snapshot.through
        instance.workflow = snapshot.start.workflow
        instance.started_at = snapshot.started_at
        return instance

    def begin(self) -> list[AnyEffect]:
        """Begin the generation of a snapshot, once; return what its code asks for at once."""
        assert self._watch == 0, "only an instance from a snapshot has something to begin"
        assert self._start is not None
        try:
            self._begin(self._start)
            if self._ledger.scheduler.ready:
                request = self._advance()
                if request is not None:
                    self._go_on(request)
        except BaseException:
            self._broken = True
            raise
        self._kept = 0
        return self._ledger.effects

    def close(self) -> None:
        """Drop the code, and all that it waits for, now. The instance cannot be folded any more.

        Nothing refers to itself then: memory is given back with the last reference.
        """
        self._broken = True
        self._ledger.close()

    # The fold

    def fold(self, mail: Mail) -> list[AnyEffect]:  # noqa: C901 - the hot path, in one piece
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
        if self.status == "blocked" and type(mail) not in {Cancel, UndoAll}:
            if type(mail) is Continued:
                self._note(mail)
            elif type(mail) is ChildEnded and self._ledger.undoing is not None:
                self._ledger.undoing.meanwhile.setdefault(mail.step, mail)
            return []
        ledger.cause = mail.seq
        effects: list[AnyEffect] = []
        ledger.effects = effects
        ledger.scheduler.entries = 0
        chain = ledger.chain
        chain.kind = kind = type(mail)
        leaf = mail.leaf
        if leaf:
            chain.leaves.append(leaf)
            if len(chain.leaves) >= LEAVES_MAX and self.status == "running":
                witness_messages(ledger)
        rule = _RULES.get(kind)
        messages = self.messages = self.messages + 1
        try:
            if rule is None:
                message = f"no rule for a {kind.__name__} message"
                self._halt(Blocked(reason="unknown", message=message))
            elif messages < self._watch or self._admits(mail):
                rule(self, mail)
            if ledger.scheduler.ready:
                request = self._advance()
                if request is not None:
                    self._go_on(request)
        except BaseException:
            self._broken = True
            raise
        ledger.effects = []  # they go with who does them, and not at the next fold
        return effects

    def _on_signal(self, mail: Signal) -> None:
        if self._repeated("signal", mail.message_id):
            return
        ledger = self._ledger
        ledger.chain.acted = (mail.seq, mail.by)
        if self.status in FINAL:
            ledger.counters.late += 1
            return
        listeners = ledger.listeners.get(mail.name) or ledger.listeners.get(ANY_SIGNAL)
        if listeners is None:
            if self.messages > MAILBOX_LIMIT_MAX:
                ledger.counters.stray += 1  # nobody has started it, and no limit will allow it
                ledger.chain.leaves = ledger.chain.leaves[:MAILBOX_LIMIT_MAX]
                return
            ledger.signals.setdefault(mail.name, deque()).append(mail)
            return
        listener = listeners.pop(0)
        if not listeners:
            del ledger.listeners[listener.name]
        listener.take(mail)

    def _on_reply(self, mail: Reply) -> None:
        if mail.odd and self._start is not None and self._start.kernel >= CLEAR_ANSWERS:
            unread = Failure(kind=PROTOCOL, message=mail.odd)
            mail = msgspec.structs.replace(mail, body=b"", failure=unread)
        step = self._ledger.steps.get(mail.step)
        if step is None:
            if self._ledger.undoing is not None:
                came_late(self._ledger, mail, ended=self.status in FINAL)
            self._not_open(mail.step, mail.attempt if mail.failure is None else 0)
            if self._ledger.late_event and self.status == "running":
                self._tell_late(mail)
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

    def _on_routed(self, mail: Routed) -> None:
        step = self._ledger.steps.get(mail.step)
        if step is None:
            self._not_open(mail.step, 0)
        elif not step.routed(mail):
            self._ledger.counters.late += 1
        else:
            facts = {
                "step": step.path,
                "attempt": mail.attempt,
                "service": mail.service,
                "reason": mail.reason,
                "candidates": [msgspec.to_builtins(each) for each in mail.candidates],
            }
            self._emit("routed", facts, f"{step.path}/{mail.attempt}")

    def _on_child_ended(self, mail: ChildEnded) -> None:
        child = self._ledger.children.get(mail.step)
        if child is None:
            if self._ledger.undoing is not None:
                self._ledger.undoing.child_ended(mail)
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
        elif self.status == "blocked":  # its code cannot run any more, not even to clean up
            self._cancel = mail
            if self._start is not None:
                self.blocked = None
                if self._ledger.undoing is not None:
                    self._strand()
                self._end(cancelled_by(mail))
        elif self._cancel is not None:
            self._ledger.counters.duplicates += 1
        else:
            self._cancel = mail
            main = self._ledger.scheduler.main
            if main is not None:
                self._ledger.scheduler.cancel()
            elif self._start is not None:
                self._end(cancelled_by(mail))

    def _on_undo(self, mail: UndoAll) -> None:
        """Cancel; that undoes all that can be undone, and says who wanted it and why."""
        if self._ledger.undoing is not None and self.status not in FINAL:
            self._ledger.undoing.by_hand = True
        who = mail.by.who if mail.by is not None else ""
        reason = ": ".join(filter(None, (f"undone by {who or 'hand'}", mail.reason)))
        self._on_cancel(
            Cancel(seq=mail.seq, at=mail.at, message_id=mail.message_id, reason=reason, by=mail.by)
        )

    def _on_reviewed(self, mail: Reviewed) -> None:
        """Take a person's word, and witness it with who gave it, from where and why."""
        if self._repeated("review", mail.message_id):
            return
        ledger = self._ledger
        ledger.chain.acted = (mail.seq, mail.by)
        step = ledger.steps.get(mail.step)
        if step is not None:
            path, counts = step.path, step.reviewed(mail)
        else:
            path, counts = "", ledger.undoing is not None and ledger.undoing.reviewed(mail)
        if not counts:
            ledger.counters.late += 1
            return
        facts = {"step": path or unquote(mail.step), "attempt": mail.attempt, "done": mail.done}
        self._witness("outcome_decided", facts, f"/{mail.seq}")

    def _on_repaired(self, mail: Repaired) -> None:
        if (told := self._given_up(mail)) is not None:
            _RULES[type(told)](self, told)

    def _on_decided(self, mail: Decided) -> None:
        """Take a person's word at a gate; the first decision stands."""
        if self._repeated("gate", mail.message_id):
            return
        ledger = self._ledger
        ledger.chain.acted = (mail.seq, mail.by)
        is_open = self.status not in FINAL
        gate = ledger.gates.get(step_token(mail.word.gate)) if is_open else None
        if gate is None or not gate.decided(mail):
            ledger.counters.late += 1
        elif gate.reason:
            self._on_cancel(Cancel(seq=mail.seq, at=mail.at, reason=gate.reason, by=mail.by))
            gate.give_up()

    def _on_host(self, mail: Woken | Migrate) -> None:
        """Only the time moves: the message speaks to the host. A migration is witnessed."""
        self.messages -= 1
        if type(mail) is Migrate and self.status == "running":
            self._ledger.chain.acted = (mail.seq, mail.by)
            self._witness("migrated", {"definition": mail.definition}, f"/{mail.seq}")

    def _on_continued(self, mail: Continued) -> None:
        """Note that the beginning of this generation stands in the mailbox."""
        self.messages -= 1
        self._note(mail)

    def _note(self, mail: Continued) -> None:
        if mail.generation == self.generation and mail.snapshot.definition == self.definition:
            self.recorded = mail.generation

    # Helpers of the rules

    def _not_open(self, step: str, success: int) -> None:
        """Count an answer that is late or repeated; block when the step was never asked for."""
        ledger = self._ledger
        decided = ledger.decided.get(step)
        if decided is None:
            if self.status != "running":
                ledger.counters.stray += 1
            elif generation_of(step) < ledger.generation:
                ledger.counters.late += 1  # too long ago to tell a repeat from a late success
            else:
                self._mismatch(step)
        elif success and success == decided:
            ledger.counters.duplicates += 1
        else:
            ledger.counters.late += 1
            if success and (step, success) not in ledger.late_successes:
                ledger.late_successes.append((step, success))

    def _tell_late(self, mail: Reply) -> None:
        path = "" if mail.step.startswith("~") else "/" + unquote(mail.step)
        success = mail.failure is None
        facts = {"step": mail.step, "path": path, "attempt": mail.attempt, "success": success}
        self._emit(self._ledger.late_event, facts, f"/{mail.seq}")

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


_RULES: Final[dict[type[Mail], Callable[[Instance, Any], None]]] = {
    Start: Instance._on_start,  # noqa: SLF001 - the table of the class's own rules
    Pinned: Instance._on_pinned,  # noqa: SLF001
    Signal: Instance._on_signal,  # noqa: SLF001
    Reply: Instance._on_reply,  # noqa: SLF001
    Fired: Instance._on_fired,  # noqa: SLF001
    Woken: Instance._on_host,  # noqa: SLF001
    Migrate: Instance._on_host,  # noqa: SLF001
    Switch: Instance._on_switch,  # noqa: SLF001
    Repaired: Instance._on_repaired,  # noqa: SLF001
    Fork: Instance._on_fork,  # noqa: SLF001
    Continued: Instance._on_continued,  # noqa: SLF001
    AttemptTimedOut: Instance._on_timed_out,  # noqa: SLF001
    AttemptRefused: Instance._on_refused,  # noqa: SLF001
    Routed: Instance._on_routed,  # noqa: SLF001
    Turn: Instance._on_turn,  # noqa: SLF001
    ChildEnded: Instance._on_child_ended,  # noqa: SLF001
    Lacking: Instance._on_lacking,  # noqa: SLF001
    Cancel: Instance._on_cancel,  # noqa: SLF001
    UndoAll: Instance._on_undo,  # noqa: SLF001
    Decided: Instance._on_decided,  # noqa: SLF001
    Reviewed: Instance._on_reviewed,  # noqa: SLF001
}
