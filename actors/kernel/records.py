"""Records: what is known of each step that can be undone, and of each child.

Record                one step, put on record before its first attempt is asked for
└── Entry, Entry    what it may have done at each service that was asked
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from actors.kernel.clock import nanoseconds
from actors.kernel.tasks import Frame
from protocols.error_kinds import is_unknown_outcome

if TYPE_CHECKING:
    from actors.kernel.children import Child
    from actors.kernel.step import Step
    from protocols.compensation import Fate, Outcome, Undo
    from protocols.effects import LocalCall
    from protocols.failure import Failure
    from protocols.mail import ChildEnded
    from protocols.policy import StepOptions


class Entry:
    """What is known of one step at one service."""

    __slots__ = (
        "before",
        "detail",
        "open",
        "outcome",
        "record",
        "service",
        "state",
        "until",
        "unwanted",
    )

    def __init__(self, record: Record, service: str) -> None:
        self.record = record
        self.service = service
        self.outcome: Outcome | Literal[""] = ""
        self.before: Outcome | Literal[""] = ""
        """The outcome before the attempt that is open."""
        self.open = 0
        """The attempt that nobody has decided; 0: none."""
        self.until = 0
        """When the undo of an unknown outcome may begin, nanoseconds since 1970."""
        self.unwanted = False
        self.state: Literal["", "asked", "review", "undone", "done", "unknown", "could_not"] = ""
        """What became of the undo. ``done``: there was nothing that could be undone;
        ``review``: a person has to say whether there is anything to undo."""
        self.detail = ""

    def fate(self) -> Fate | None:
        """Return what became of the step here; None when it had no effect."""
        if self.state not in {"", "asked", "review"}:
            return self.state  # type: ignore[return-value]
        if not self.outcome:
            return "unknown" if self.open else None
        return "done" if self.outcome == "ok" else "unknown"

    @property
    def needs_word(self) -> bool:
        """Whether only a person may say if there is anything to undo."""
        return self.outcome == "unknown" and self.record.options.unknown == "review"

    @property
    def attempt(self) -> int:
        """The latest attempt at this service."""
        return max(n for n, service in self.record.attempts.items() if service == self.service)

    def reviewed(self, *, done: bool) -> None:
        """Take a person's word about the latest attempt."""
        self.state = ""
        self.open = 0
        self.outcome = "ok" if done else self.before if self.before == "ok" else ""


class Record:
    """One step that can be undone, or one child."""

    __slots__ = (
        "again",
        "attempts",
        "child",
        "entries",
        "frame",
        "given_up",
        "heir",
        "input",
        "kept",
        "key",
        "local",
        "options",
        "path",
        "place",
        "result",
        "since",
        "undo",
        "value",
    )

    def __init__(
        self,
        step: Step[Any] | Child[Any],
        undo: Undo,
        options: StepOptions,
        local: LocalCall | None = None,
        *,
        body: bytes = b"",
        child: str = "",
    ) -> None:
        self.path = step.path
        self.place = step.path
        """Where the step stands in the tree of scopes: at its latest ask."""
        self.key = step.ledger.identity(step.path)
        self.undo = undo
        self.options = options
        self.local = local
        """The call of the undo, when it is a function of the workflow's own."""
        self.input = body
        self.child = child
        """The instance, when it is a child."""
        self.since = step.since
        self.result: tuple[bytes, str] | None = None
        self.entries: dict[str, Entry] = {}
        self.attempts: dict[int, str] = {}
        """The service of each attempt."""
        self.value = ""
        """The service that gave the value."""
        self.kept = False
        """It is behind the point of no return."""
        self.given_up = False
        """It was cancelled in flight."""
        self.again = ""
        """The token of the open step that asks for the same work again."""
        self.heir: Record | None = None
        """The step that asked for the same work when this key was spent."""
        self.frame = Frame(step.path)
        """Where the undos have their paths."""

    @property
    def settle_ns(self) -> int:
        """How long the undo of an unknown attempt waits beyond its deadline."""
        return nanoseconds(self.undo.settle_s or 0.0)

    def asked(self, attempt: int, service: str) -> None:
        """Note an attempt before it is asked for."""
        before = self.entries.get(self.attempts.get(attempt, service))
        if before is not None and before.service != service:
            # The owner chose another service, because this attempt was surely never sent.
            before.outcome, before.open = before.before, 0
        self.attempts[attempt] = service
        entry = self.entries.get(service)
        if entry is None:
            entry = self.entries[service] = Entry(self, service)
        entry.before = entry.outcome
        entry.open = attempt
        entry.unwanted = False  # whatever it has done under this key is wanted again

    def entry(self, attempt: int) -> Entry | None:
        """Return what is known at the service of an attempt; None: it was never asked for."""
        return self.entries.get(self.attempts.get(attempt, ""))

    def succeeded(self, attempt: int, deadline: int) -> bool:
        """Take the value; tell whether what other services may have done is surplus."""
        self.value = self.attempts[attempt]
        self.again = ""
        surplus = False
        for entry in self.entries.values():
            if entry.service == self.value:
                entry.outcome, entry.open = "ok", 0
                if entry.state == "unknown":
                    entry.state = ""  # it said "never seen", and did it when asked again
            elif entry.open or entry.outcome:
                entry.unwanted = surplus = True
                self._lost(entry, deadline)
        return surplus

    def failed(self, attempt: int, failure: Failure, now: int) -> None:
        """Take the failure of an attempt."""
        entry = self.entry(attempt)
        if entry is None:
            return
        current = entry.open == attempt
        if current:
            entry.open = 0
        if is_unknown_outcome(failure):
            entry.outcome = entry.outcome or "unknown"
            entry.until = max(0 if current else entry.until, now + self.settle_ns)
        elif current and entry.outcome == "unknown":
            entry.outcome = entry.before

    def child_ended(self, mail: ChildEnded) -> None:
        """Take how a child ended: what it did stands, or it has undone that itself."""
        (entry,) = self.entries.values()
        entry.open = entry.until = 0
        stands = mail.status in {"completed", "compensated", "compensation_incomplete"}
        entry.outcome = "ok" if stands else ""
        if mail.status == "compensated":
            entry.state = "undone"
        elif mail.status == "compensation_incomplete":
            entry.state = "could_not"
            entry.detail = f"the child {self.child} could not undo all that it did"

    def abandoned(self, deadline: int) -> None:
        """Let nobody want the step any more; a value that was given before stays one."""
        self.again, self.given_up = "", True
        for entry in self.entries.values():
            entry.unwanted = entry.service != self.value
            self._lost(entry, deadline)

    def _lost(self, entry: Entry, deadline: int) -> None:
        """Take the open attempt for unknown, unless its reply tells more before its deadline."""
        if entry.open:
            entry.outcome = entry.outcome or "unknown"
            entry.until = max(entry.until, deadline + self.settle_ns)
