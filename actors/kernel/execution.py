"""Execution: runs the code of an instance, from its begin to its end, within its limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from actors.kernel.answers import give_up, take_back
from actors.kernel.blocked import Blocked, blocked_by
from actors.kernel.compensation import compensate
from actors.kernel.outcome import (
    Ended,
    cancelled_by,
    end_of_error,
    end_of_value,
)
from actors.kernel.tasks import ContinueAs, Frame, Scheduler, Task
from actors.kernel.undoing import UNDOABLE, Undoing
from actors.kernel.view import View
from actors.kernel.witness import witness
from protocols.compensation import FATES_MAX
from protocols.effects import FINAL, Emit, Finish
from protocols.errors import (
    ConfigurationError,
    InternalError,
    NotFoundError,
)
from protocols.mail import (
    Cancel,
    Continued,
    Mail,
    Migrate,
    Switch,
    UndoAll,
    Woken,
)
from protocols.moving import Moving, refused

if TYPE_CHECKING:
    from protocols.definition import Workflow
    from protocols.mail import SwitchOrder


class Execution(View):
    """A view that runs: what ``Instance`` does when its rules let the code go on."""

    __slots__ = ()

    def _on_switch(self, mail: Switch) -> None:
        """Go on with another definition from here, or tell why that is not possible."""
        if self._repeated("switch", mail.message_id):
            return
        ledger = self._ledger
        ledger.chain.acted = (mail.seq, mail.by)
        if self.status in FINAL or self._start is None:
            ledger.counters.late += 1
            return
        definition = self._replaced.get(mail.seq, mail.order.definition)
        try:
            workflow = self._load(self.workflow, definition)
        except (NotFoundError, ConfigurationError) as error:
            self._halt(Blocked(reason="definition", message=error.message))
            return
        moving = self.moving(workflow, mail.order, go=True)
        if moving.problems:
            facts = {"definition": definition, "problems": moving.problems}
            self._emit("migration_refused", facts, f"/{mail.seq}")
            return
        self.definition = definition
        self.switched = mail.seq
        ledger.routes = workflow.routes
        ledger.kept_s = workflow.options.kept_s
        self._limits = (workflow.options.mailbox_warn, workflow.options.mailbox_max)
        told = {"definition": definition, "moves": mail.order.moves, "from": mail.seq}
        self._witness("migrated", told, f"/{mail.seq}")

    def moving(self, workflow: Workflow[Any], order: SwitchOrder, *, go: bool = False) -> Moving:
        """Tell how the run would go over to a definition where it stands; ``go``: do it."""
        undoing = self._ledger.undoing
        if self.status != "running":
            return refused(f"the run is {self.status}, not running")
        if undoing is not None and undoing.ending is not None:
            return refused("the run is being undone")
        if self._cancel is not None:
            return refused("the run is being cancelled")
        if self._ledger.mover is None:
            return refused("its definition is code: only a fold from the start can take another")
        scheduler = self._ledger.scheduler
        scheduler.running = scheduler.main  # it speaks for its code
        try:
            return self._ledger.mover(workflow, order, go)
        finally:
            scheduler.running = None

    def _repeated(self, kind: str, message_id: str) -> bool:
        """Remember a message id; tell whether it was seen before, and count it then."""
        if not message_id or not self._seen.repeated(kind, message_id):
            return False
        self._ledger.counters.duplicates += 1
        return True

    def _advance(self) -> ContinueAs | None:
        """Run the code until it waits or has ended; return how it continues, if it does."""
        ledger = self._ledger
        scheduler = ledger.scheduler
        scheduler.run()
        if scheduler.dropped:
            for where, dropped in scheduler.dropped:
                facts = {"task": where, "error": type(dropped).__name__}
                ledger.log("warning", "task.error_dropped", facts)
            scheduler.dropped.clear()
        main = scheduler.main
        if scheduler.defect is not None:
            self._halt(blocked_by(scheduler.defect))
        elif main is not None and main.outcome:
            if ledger.undoing is None or ledger.undoing.ending is None:
                return self._left(main)
            if main.error is not None:
                raise main.error  # the kernel's own code: a failure of the daemon
            self._end(ledger.undoing.ending)
        return None

    def _left(self, main: Task) -> ContinueAs | None:
        """End as the code did, when it has left its function; return how it continues."""
        ledger, error = self._ledger, main.error
        if not (error is None or isinstance(error, ContinueAs)):
            self._end(end_of_error(error, self._cancel))
        elif ledger.unawaited:
            kinds = ", ".join(type(operation).__name__ for operation in ledger.unawaited)
            message = f"never awaited: {kinds}; write 'await ctx...'"
            self._halt(Blocked(reason="not_durable", message=message))
        elif error is not None:
            if ledger.undoing is None or not ledger.undoing.holds or self._cancel is not None:
                return error
            self._halt(Blocked(reason="not_durable", message=UNDOABLE))
        elif ledger.scheduler.continuing:
            message = "the code went on after ctx.continue_as: let it leave the function"
            self._halt(Blocked(reason="not_durable", message=message))
        else:
            self._end(end_of_value(main.value, self._ledger))
        return None

    def _end(self, end: Ended | Blocked) -> None:
        """End the instance, or halt it: the last effects are an event and the outcome."""
        if isinstance(end, Blocked):
            self._halt(end)
            return
        ledger = self._ledger
        give_up(ledger, f"the run has ended as {end.status} and has not answered")
        undoing = ledger.undoing
        self.status = end.status
        if undoing is not None:
            if undoing.ending is None:
                self._compensate(undoing, end)
                return
            self.status = undoing.verdict(end.status)
            self.steps = undoing.fates(ledger.decided)
        self.result = end.body
        self.failure = end.failure
        self.finished_at = ledger.now
        self._watch = sys.maxsize
        ledger.signals.clear()
        ledger.scheduler.main = None
        failure = end.failure
        facts = {} if failure is None else {"kind": failure.kind, "message": failure.message}
        self._witness(self.status, facts)
        assert self._start is not None
        ledger.effects.append(
            Finish(
                cause=ledger.cause,
                status=self.status,
                body=end.body or b"",
                failure=failure,
                parent=self._start.parent,
                steps=self.steps,
            )
        )

    def _compensate(self, undoing: Undoing, end: Ended) -> None:
        """Undo what has to be undone, and then end."""
        ledger = self._ledger
        if undoing.by_hand and self._cancel is not None and end.status == "completed":
            end = cancelled_by(self._cancel)
        undoing.ending = end
        self.status = "running"
        self._watch = sys.maxsize  # what it takes is bounded by what was done
        everything = end.status != "completed" and not undoing.pivoted
        planned = [x.record.path for x in undoing.plan(ledger.root, everything=everything)]
        if planned:
            self._emit("compensating", {"status": end.status, "steps": planned[:FATES_MAX]})
        work = compensate(ledger, ledger.root, everything=everything)
        ledger.scheduler.main = ledger.scheduler.spawn(work, Frame(ledger.root))
        self._advance()

    def _strand(self) -> None:
        """Give up the code of a blocked instance; what it has done is still undone."""
        ledger = self._ledger
        assert ledger.undoing is not None
        ledger.scheduler = Scheduler()
        ledger.undoing.stranded(list(ledger.steps.values()), list(ledger.children.values()))
        ledger.timers.clear()
        ledger.late.clear()
        ledger.gates.clear()
        ledger.listeners.clear()
        ledger.unawaited.clear()

    def _halt(self, blocked: Blocked) -> None:
        """Block. What this mail made the code ask for is dropped: repaired code asks again."""
        self.status = "blocked"
        self.blocked = blocked
        ledger = self._ledger
        ledger.scheduler.ready.clear()
        dropped = [each for each in ledger.effects[self._kept :] if isinstance(each, Emit)]
        ledger.chain.take_back(each.statement for each in dropped if each.statement is not None)
        take_back(ledger, dropped)
        del ledger.effects[self._kept :]
        facts = {"reason": blocked.reason, "message": blocked.message, "place": blocked.place}
        self._emit("blocked", facts, f"/{ledger.cause}")

    def _emit(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        ledger = self._ledger
        identity = ledger.identity(f"/{event}{suffix}")
        ledger.effects.append(Emit(cause=ledger.cause, event=event, data=facts, id=identity))

    def _witness(self, event: str, facts: dict[str, Any], suffix: str = "") -> None:
        """State a transition of the instance as a whole, and publish it."""
        ledger = self._ledger
        ledger.chain.workflow = self.workflow
        ledger.chain.definition = self.definition
        assert self._start is not None
        ended = event in FINAL and event != "completed"
        witness(
            ledger,
            event,
            facts,
            ledger.identity(f"/{event}{suffix}"),
            by=self._cancel.by if ended and self._cancel is not None else None,
            input=self._start.body,
            output=self.failure or self.result,
        )

    # The limits of the mailbox

    def _admits(self, mail: Mail) -> bool:
        """Look at the limits of the mailbox; False when this message goes beyond them."""
        if self.status == "pending":
            raise InternalError(f"instance {self.id} was folded before its generation began")
        if isinstance(mail, Woken | Migrate | Continued):
            return True
        if self.messages > self._limits[1] and not isinstance(mail, Cancel | UndoAll):
            self._halt(self._full())
            return False
        self._warn()
        return True

    def _warn(self) -> None:
        """Publish, once, that the mailbox has grown large; from then on look at its limit."""
        warn, limit = self._limits
        if warn <= self.messages and self._watch <= warn:
            self._emit("mailbox_large", {"messages": self.messages, "limit": limit})
            self._watch = limit + 1

    def _full(self) -> Blocked:
        return Blocked(
            reason="mailbox_full",
            message=f"generation {self.generation} has more than {self._limits[1]} messages: "
            "migrate it to a definition with a larger mailbox_max that calls ctx.continue_as in "
            "time, or cancel it",
        )
