"""Execution: runs the code of an instance, from its begin to its end, within its limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec

from actors.kernel.blocked import Blocked, blocked_by
from actors.kernel.compensation import compensate
from actors.kernel.context import Context
from actors.kernel.generation import ENTRIES_PER_GENERATION, Boundary, leave, snapshot_of
from actors.kernel.outcome import (
    Ended,
    cancelled_by,
    end_of_error,
    end_of_value,
    input_of,
    invalid,
    over,
)
from actors.kernel.tasks import ContinueAs, Frame, Scheduler, Task, steppable
from actors.kernel.undoing import UNDOABLE, Undoing
from actors.kernel.view import View
from actors.kernel.witness import witness
from protocols import codec
from protocols.blobs import BLOB, BLOB_BYTES_MAX
from protocols.compensation import FATES_MAX
from protocols.effects import FINAL, Continue, Emit, Enqueue, Finish
from protocols.errors import ConfigurationError, InternalError, InvalidInputError, NotFoundError
from protocols.failure import Failure
from protocols.headers import GROUP_CHARS_MAX
from protocols.mail import (
    LARGE_VALUES,
    QUEUES,
    Cancel,
    ChildEnded,
    Continued,
    Lacking,
    Mail,
    Migrate,
    Repaired,
    Reply,
    Signal,
    Start,
    Switch,
    Turn,
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

    def _begin(self, start: Start, *, granted: bool = False) -> None:
        """Load the code and start it with its input, or wait for its turn."""
        if self._lacks_signal():
            return
        try:
            workflow = self._load(start.workflow, self.definition)
        except (NotFoundError, ConfigurationError) as error:
            self._halt(Blocked(reason="definition", message=error.message))
            return
        ledger = self._ledger
        ledger.routes = workflow.routes
        if start.kernel >= LARGE_VALUES:
            ledger.value_bytes_max = BLOB_BYTES_MAX
        ledger.kept_s = workflow.options.kept_s
        ledger.started_by = "" if start.by is None else start.by.who
        ledger.profile = start.profile
        self._limits = (workflow.options.mailbox_warn, workflow.options.mailbox_max)
        if self.messages > self._limits[1]:
            self._halt(self._full())
            return
        if not granted and start.kernel >= QUEUES and self._queues(workflow, start):
            return
        self.status = "running"
        self._watch = self._limits[0]
        if ledger.generation == 1:
            self._witness("started", {"workflow": self.workflow})
        else:
            self._witness("continued", {"generation": ledger.generation})
            self._kept = len(ledger.effects)
        self._warn()
        given = input_of(workflow, start)
        if isinstance(given, Ended | Blocked):
            self._end(given)
            return
        ctx = Context(ledger, self.workflow, start.traceparent, workflow.options.steps)
        frame = Frame(ledger.root)
        ledger.scheduler.start(steppable(workflow.function(ctx, *given)), frame)

    def _queues(self, workflow: Workflow[Any], start: Start) -> bool:
        """Wait for a turn, if there has to be one: all that comes meanwhile is kept.

        A run that was given other code goes on: it may have begun with the code of before.
        """
        options = workflow.options
        if not options.active_max or self.generation > 1 or self._replaced[0]:
            return False
        given = input_of(workflow, start)
        if isinstance(given, Ended | Blocked):
            return False  # it ends at once
        try:
            group = workflow.group_of(codec.decode(start.body, start.content_type))
        except InvalidInputError as error:
            self.status = "running"
            self._end(invalid(error.message, error.fields))
            return True
        self.status = "queued"
        self._ledger.effects.append(
            Enqueue(
                cause=self._ledger.cause,
                workflow=start.workflow,
                group=group[:GROUP_CHARS_MAX],
                limit=options.active_max,
                priority=start.priority or options.priority,
                place=start.seq,
                refuse=options.refuses,
            )
        )
        return True

    def _on_turn(self, mail: Turn) -> None:
        """Begin, end, or only tell that others are first."""
        if self.status != "queued":
            self._ledger.counters.stray += 1
            return
        assert self._start is not None
        word = mail.word
        if word.said == "granted":
            self._begin(self._start, granted=True)
        elif word.said == "queued":
            self._emit("queued", {"group": word.group, "limit": word.limit})
        else:
            self._end(over(word.limit, word.group))

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

    def _go_on(self, request: ContinueAs | None) -> None:
        """Begin the next generation, and others when it ends at once, until the code waits."""
        boundary: Boundary | None = None
        at = 0
        while request is not None:
            if self._cancel is not None:
                self._end(cancelled_by(self._cancel))
                break
            assert self._start is not None
            self._ledger.scheduler.entries += ENTRIES_PER_GENERATION
            boundary = leave(self._ledger, self._seen)
            self._start = msgspec.structs.replace(self._start, body=request.body, content_type="")
            self.messages = 0
            at = len(self._ledger.effects)
            self._begin(self._start)
            request = self._advance() if self._ledger.scheduler.ready else None
        if boundary is not None and self.status not in FINAL:
            self._record(boundary, at)
        self._kept = 0

    def _record(self, boundary: Boundary, at: int) -> None:
        """Ask for the record of the generation that the fold came to, between its effects."""
        ledger = self._ledger
        snapshot = snapshot_of(boundary, self, self._seen)
        if isinstance(snapshot, Blocked):
            self._kept = 0
            self._halt(snapshot)
        else:
            ledger.effects.insert(at, Continue(cause=ledger.cause, snapshot=snapshot))

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
        del ledger.effects[self._kept :]
        facts = {"reason": blocked.reason, "message": blocked.message, "place": blocked.place}
        self._emit("blocked", facts, f"/{ledger.cause}")

    def _on_lacking(self, mail: Lacking) -> None:
        """Block, unless nobody needs the value: then whoever gave it up says so further on."""
        of = mail.of
        if self.status in FINAL or (
            type(of) is Signal and self._repeated("signal", of.message_id)
        ):
            self._ledger.counters.late += 1
            return
        if self._start is None and type(of) is Start:
            self._start = of
            self.workflow, self.definition = of.workflow, of.definition
            self.started_at = self._ledger.now
            if self._cancel is not None:
                self._end(cancelled_by(self._cancel))
                return
        if mail.discarded:
            self._skipped[mail.seq] = mail
        else:
            self._halt(Blocked(reason="blob", message=mail.message, seq=mail.seq))

    def _lacks_signal(self) -> bool:
        """Block when a signal of the snapshot refers to a value that is not there."""
        for queue in self._ledger.signals.values():
            for each in queue:
                if each.content_type == BLOB:
                    message = f"message {each.seq}: its value is missing"
                    self._halt(Blocked(reason="blob", message=message, seq=each.seq))
                    return True
        return False

    def _given_up(self, mail: Repaired) -> Reply | ChildEnded | None:
        """Witness what a person has done about a missing value; return what is folded for it.

        One that was given up is so from here on: an answer becomes one of which nobody knows
        what it was, a start has failed, and a signal never came.
        """
        if self._repeated("repair", mail.message_id):
            return None
        ledger, order = self._ledger, mail.order
        ledger.chain.acted = (mail.seq, mail.by)
        if self.status in FINAL or self._start is None:
            ledger.counters.late += 1
            return None
        # Of every one: a fold that begins with a snapshot has not seen the message itself.
        self._witness("value_repaired", msgspec.to_builtins(order), f"/{mail.seq}")
        lost = self._skipped.pop(order.message, None)
        if lost is None:
            return None
        if type(lost.of) is Start:
            self._end(Ended("failed", failure=_lost(mail)))
        elif type(lost.of) is Reply or type(lost.of) is ChildEnded:
            return msgspec.structs.replace(
                lost.of,
                seq=mail.seq,
                at=mail.at,
                body=b"",
                content_type="",
                failure=_lost(mail, unknown=True),
            )
        return None

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


def _lost(mail: Repaired, *, unknown: bool = False) -> Failure:
    """Return the failure that stands for a value which was given up."""
    who = f" by {mail.by.who}" if mail.by is not None and mail.by.who else ""
    message = f"the value of message {mail.order.message} is lost and was given up{who}"
    return Failure(kind="blob", message=message, unknown=unknown)
