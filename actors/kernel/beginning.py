"""Beginning: when the code of an instance begins, with what, and as which generation."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from actors.kernel.blocked import Blocked
from actors.kernel.context import Context
from actors.kernel.generation import ENTRIES_PER_GENERATION, Boundary, leave, snapshot_of
from actors.kernel.outcome import (
    Ended,
    cancelled_by,
    input_of,
    invalid,
    over,
)
from actors.kernel.tasks import ContinueAs, Frame, steppable
from protocols import codec
from protocols.blobs import BLOB, BLOB_BYTES_MAX, LARGE
from protocols.effects import FINAL, Continue, Enqueue, Pin
from protocols.errors import (
    ConfigurationError,
    InvalidInputError,
    MovantError,
    NotFoundError,
)
from protocols.forking import Forking, not_forked
from protocols.headers import GROUP_CHARS_MAX, JSON
from protocols.mail import (
    LARGE_VALUES,
    QUEUES,
    Fork,
    Lacking,
    Pinned,
    Signal,
    Start,
    Taken,
    Turn,
    start_digest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocols.definition import Workflow
    from protocols.forking import ForkOrder
    from protocols.mail import Origin


from actors.kernel.repairing import Repairing


class Beginning(Repairing):
    """A run that begins: at once, when it is its turn, or at a step of another one."""

    __slots__ = ()

    def _on_start(self, mail: Start) -> None:
        if self._start is not None or self._repeated("start", mail.message_id):
            self._ledger.counters.duplicates += 1
            return
        self._start = mail
        self.workflow = mail.workflow
        self.definition = self._replaced[0] or mail.definition
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
        self._start = msgspec.structs.replace(self._start, kernel=mail.kernel)
        self._begin(self._start)

    def _begin(self, start: Start, *, granted: bool = False) -> None:
        """Load the code and start it with its input, or wait for its turn."""
        if self._lacks_signal():
            return
        try:
            workflow = self._load(start.workflow, self.definition)
            workflow.book  # noqa: B018 - it may lack rules that others share
        except (NotFoundError, ConfigurationError) as error:
            self._halt(Blocked(reason="definition", message=error.message))
            return
        ledger = self._ledger
        if ledger.forks and not self._take_over(start):
            return
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
            told: dict[str, Any] = {"workflow": self.workflow}
            if ledger.taken is not None:
                told["forked_from"] = msgspec.to_builtins(ledger.taken.origin)
            self._witness("started", told)
        else:
            self._witness("continued", {"generation": ledger.generation})
            self._kept = len(ledger.effects)
        self._warn()
        given = input_of(workflow, start)
        if isinstance(given, Ended | Blocked):
            self._end(given)
            return
        ctx = self._context(start, workflow, given)
        frame = Frame(ledger.root)
        ledger.scheduler.start(steppable(workflow.function(ctx, *given)), frame)

    def _context(self, start: Start, workflow: Workflow[Any], given: tuple[Any, ...]) -> Context:
        """Return what the code gets: with rules, a context that holds its steps to them."""
        book = workflow.book
        ctx = Context(self._ledger, self.workflow, start.traceparent, workflow.options.steps)
        if book is None:
            return ctx
        value = given[0] if given else codec.decode(start.body, start.content_type)
        return ctx.held_to(book, value)

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

    def _on_lacking(self, mail: Lacking) -> None:
        """Block; where a fork is missing the start that needs it does, given up or not."""
        if type(mail.of) is Fork:
            self._on_fork(mail.of)
        else:
            super()._on_lacking(mail)

    def _on_fork(self, mail: Fork) -> None:
        """Keep what a start may begin with: which one that is, is known when it comes."""
        if self._repeated("fork", mail.message_id):
            return
        self._ledger.chain.acted = (mail.seq, mail.by)
        if self._start is not None:
            self._ledger.counters.late += 1
        else:
            self._ledger.forks[mail.message_id] = mail

    def _take_over(self, start: Start) -> bool:
        """Find what the start begins with; False when nobody can say what that is."""
        ledger = self._ledger
        fork = ledger.forks.get(start.message_id) if start.message_id else None
        ledger.forks.clear()
        if fork is None:
            return True
        if fork.content_type == BLOB:  # without it all would be done again
            message = f"message {fork.seq}: what it takes over is missing"
            self._halt(Blocked(reason="blob", message=message, seq=fork.seq))
            return False
        try:
            taken = msgspec.convert(codec.decode(fork.body, fork.content_type), Taken)
        except (MovantError, msgspec.ValidationError) as error:
            message = f"what it takes over cannot be read: {error}"
            self._halt(Blocked(reason="blob", message=message))
            return False
        if taken.start == start_digest(start.workflow, start.definition, start.body):
            ledger.taken = taken
            for each in taken.standing.get("signals", ()):
                signal = Signal(
                    seq=each["seq"],
                    at=ledger.now,
                    name=each["name"],
                    body=codec.encode(each["value"], limit=BLOB_BYTES_MAX),
                    content_type=JSON + LARGE,
                )
                ledger.signals.setdefault(signal.name, deque()).append(signal)
        return True

    def forking(self, workflow: Workflow[Any], order: ForkOrder) -> Forking:
        """Tell what another run would take over of this one, which has ended or is blocked."""
        ledger = self._ledger
        if self.status not in {*FINAL, "blocked"}:
            return not_forked(f"the run is {self.status}: wait for its end, or cancel it")
        if ledger.forker is None:
            return not_forked("the run has not begun")
        return ledger.forker(workflow, order, self.fallen())

    def fallen(self) -> dict[str, str]:
        """Return the paths of steps whose work does not stand for sure, and what became of it."""
        return {} if self._ledger.undoing is None else self._ledger.undoing.fallen()

    @property
    def interprets(self) -> bool:
        """Whether it runs a definition that is data, which can say what a fork takes over."""
        return self._ledger.forker is not None

    @property
    def taken(self) -> Mapping[str, Any]:
        """What it began with that another run has done, in the words of its interpreter."""
        return {} if self._ledger.taken is None else self._ledger.taken.standing

    @property
    def origin(self) -> Origin | None:
        """Which run it was forked from; None: it began by itself."""
        return None if self._ledger.taken is None else self._ledger.taken.origin

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
