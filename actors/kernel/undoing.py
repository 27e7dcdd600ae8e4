"""Undoing: what of an instance can be undone, and in which order.

    Undoing ── Record, Record, …      one per step with an undo, in the order of their beginning
                 └── Entry, Entry     one per service that was asked

A record is made before the step's first attempt is asked for, so the undo is derived from
mailbox and code as the attempt is. An entry is planned when its attempt succeeded or nobody
knows whether it did. What nobody wants (its step was cancelled, or another service gave the
value) is undone in any case; everything else when its scope fails.

Work that is asked for again (``ctx.again``) has the key of its first step, and so its record: one
effect, one undo. A key whose undo was asked for is spent: what is asked for again then is a step
of its own, with a key and an undo of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import unquote

from actors.kernel.clock import nanoseconds
from actors.kernel.tasks import Frame
from protocols.compensation import FATES_MAX, Fate, Outcome, StepFate
from protocols.error_kinds import is_unknown_outcome
from protocols.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors.kernel.outcome import Ended
    from actors.kernel.step import Step
    from protocols.compensation import Undo
    from protocols.effects import LocalCall, Status
    from protocols.policy import StepOptions

UNDOABLE: Final = (
    "the generation has steps that may have to be undone, and the next one cannot: "
    "end the instance, or call ctx.pivot() before ctx.continue_as"
)
_WORST: Final[dict[Fate, int]] = {"could_not": 0, "unknown": 1, "undone": 2, "done": 3}


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
        self.state: Literal["", "asked", "undone", "unknown", "could_not"] = ""
        """What became of the undo."""
        self.detail = ""

    def fate(self) -> Fate | None:
        """Return what became of the step here; None when it had no effect."""
        if self.state not in {"", "asked"}:
            return self.state  # type: ignore[return-value]
        if not self.outcome:
            return "unknown" if self.open else None
        return "done" if self.outcome == "ok" else "unknown"


class Record:
    """One step that can be undone."""

    __slots__ = (
        "again",
        "attempts",
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
        "undo",
        "value",
    )

    def __init__(
        self, step: Step[Any], undo: Undo, options: StepOptions, local: LocalCall | None
    ) -> None:
        self.path = step.path
        self.place = step.path
        """Where the step stands in the tree of scopes: at its latest ask."""
        self.key = step.ledger.identity(step.path)
        self.undo = undo
        self.options = options
        self.local = local
        """The call of the undo, when it is a function of the workflow's own."""
        self.input = step.body
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


class Undoing:
    """All records of one generation."""

    __slots__ = (
        "again",
        "by_hand",
        "ending",
        "pivoted",
        "records",
        "undecided",
        "undos",
        "waits",
    )

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        """By step token."""
        self.again: dict[str, tuple[Record, int]] = {}
        """Steps that ask again for the work of another one, by their token: its record, and how
        many attempts there were before."""
        self.undos: dict[str, Entry] = {}
        """What each undo that was asked for undoes, by its token."""
        self.undecided: dict[str, tuple[str, int, int]] = {}
        """Steps that were cancelled in flight: path, attempt and deadline, by token."""
        self.waits: dict[Any, None] = {}
        """Who has to look again when anything here changes."""
        self.pivoted = False
        self.by_hand = False
        """Somebody asked for it: all is undone, also when the code completes."""
        self.ending: Ended | None = None
        """How the instance ends as soon as its compensation is over."""

    # What happens to steps

    def abandoned(self, step: Step[Any]) -> None:
        """Note a step that was cancelled in flight."""
        deadline = deadline_of(step)
        self.undecided[step.token] = (step.path, step.attempt, deadline)
        record, _ = self.known(step.token)
        if record is not None:
            record.abandoned(deadline)

    def late(self, token: str, attempt: int, failure: Failure | None, now: int) -> Entry | None:
        """Take an answer to a step that is closed; return the entry that has to be undone now.

        An answer that comes in time, after a cancel, only decides it: its scope's end undoes it.
        """
        known = self.undecided.get(token)
        in_time = known is not None and known[1] == attempt
        if in_time:
            del self.undecided[token]
        undone = self.undos.get(token)
        if undone is not None and failure is None and undone.state in {"unknown", "could_not"}:
            undone.state, undone.detail = "undone", ""  # given up too early
        record, before = self.known(token)
        attempt += before
        entry = None if record is None else record.entry(attempt)
        if record is None or entry is None:
            self.changed()
            return None
        if failure is not None:
            record.failed(attempt, failure, now)
            self.changed()
            return None
        if record.value == entry.service:
            return None  # the same key: the same effect
        if record.again and not entry.unwanted:
            entry.outcome = "ok"  # it is asked for again: the answer to that decides
            self.changed()
            return None
        entry.outcome, entry.open, entry.unwanted = "ok", 0, True
        if entry.state == "unknown":
            entry.state = ""
        self.changed()
        return None if in_time else entry

    def known(self, token: str) -> tuple[Record | None, int]:
        """Return the record of a step, and what the numbers of its attempts begin behind."""
        return self.again.get(token) or (self.records.get(token), 0)

    def pivot(self) -> None:
        """Keep what was done so far, and what comes."""
        self.pivoted = True
        for record in self.records.values():
            record.kept = True

    def stranded(self, steps: list[Step[Any]]) -> None:
        """Take every open step for lost: nobody looks after it any more."""
        self.ending = None
        self.waits.clear()
        for step in steps:
            step.decide(0)
            self.abandoned(step)
        for entry in self.entries():
            if entry.state == "asked":
                entry.state = ""

    def changed(self) -> None:
        """Let those who wait look again."""
        waits, self.waits = self.waits, {}
        for wait in waits:
            wait.look()

    # The plan

    def entries(self) -> Iterator[Entry]:
        """Return all entries, the newest first."""
        for record in reversed(self.records.values()):
            yield from reversed(record.entries.values())

    def plan(self, scope: str, *, everything: bool) -> Iterator[Entry]:
        """Return what is to be undone at and below a path, in order."""
        for entry in self.entries():
            if (
                entry.outcome
                and not entry.state
                and (entry.unwanted or (everything and not entry.record.kept))
                and within(entry.record.place, scope)
            ):
                yield entry

    def due(self, entry: Entry, scope: str) -> int:
        """Return when the undo of an entry may begin: when nothing in its scope is undecided."""
        due = entry.until if entry.outcome == "unknown" else 0
        for path, _, deadline in self.undecided.values():
            if deadline > due and within(path, scope):
                due = deadline
        return due

    def busy(self, scope: str) -> bool:
        """Tell whether an undo at or below a path is under way."""
        return any(x.state == "asked" and within(x.record.place, scope) for x in self.entries())

    @property
    def holds(self) -> bool:
        """Whether something may still have to be undone."""
        return any(
            entry.state == "asked"
            or (
                not entry.state
                and (entry.outcome or entry.open)
                and (entry.unwanted or not entry.record.kept)
            )
            for entry in self.entries()
        )

    # The end

    def verdict(self, status: Status) -> Status:
        """Return the status of an instance that ends with ``status``."""
        if status == "completed":
            return status
        states = {entry.state for entry in self.entries()}
        if states & {"unknown", "could_not"}:
            return "compensation_incomplete"
        return "compensated" if "undone" in states else status

    def fates(self, decided: Mapping[str, int]) -> tuple[StepFate, ...]:
        """Return what became of each step, in the order in which they were decided or begun.

        First those that can be undone. ``decided`` has the attempt that succeeded, by token. When
        there are too many, those are left out that need nobody's attention.
        """
        found = [
            StepFate(path=entry.record.path, fate=fate, service=entry.service, detail=entry.detail)
            for entry in reversed(list(self.entries()))
            if (fate := entry.fate()) is not None
        ]
        found += [
            StepFate(path=f"/{unquote(token)}", fate="done")
            for token, attempt in decided.items()
            if attempt
            and token not in self.records
            and token not in self.again
            and token not in self.undos
        ]
        if len(found) > FATES_MAX:
            worst = sorted(range(len(found)), key=lambda at: (_WORST[found[at].fate], at))
            found = [found[at] for at in sorted(worst[:FATES_MAX])]
        return tuple(found)

    def facts(self) -> list[Any]:
        """Return all of it, for the digest of the fold."""
        return [
            self.pivoted,
            self.by_hand,
            self.ending is not None,
            sorted(self.undecided.items()),
            [
                (
                    entry.record.path,
                    entry.service,
                    entry.outcome,
                    entry.before,
                    entry.open,
                    entry.until,
                    entry.unwanted,
                    entry.state,
                    entry.record.kept,
                )
                for entry in self.entries()
            ],
            *sorted((token, record.path, at) for token, (record, at) in self.again.items()),
        ]


def deadline_of(step: Step[Any]) -> int:
    """Return when an attempt in flight is lost, counted from now: it may just have been sent."""
    options = step.options
    wait_s = options.timeout_s if options.undecided_s is None else options.undecided_s
    return max(step.due, step.ledger.now) + nanoseconds(min(wait_s, options.timeout_s))


def within(path: str, scope: str) -> bool:
    """Tell whether a path is below the path of a scope, or is it."""
    return path == scope or path.startswith(scope + "/")
