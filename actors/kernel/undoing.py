"""Undoing: what of an instance can be undone, and in which order.

    Undoing ── Record, Record, …      one per step with an undo, in the order of their beginning
                 └── Entry, Entry     one per service that was asked; a child has one

A record is made before the step's first attempt is asked for, so the undo is derived from
mailbox and code as the attempt is. An entry is planned when its attempt succeeded or nobody
knows whether it did. What nobody wants (its step was cancelled, or another service gave the
value) is undone in any case; everything else when its scope fails.

Work that is asked for again (``ctx.again``) has the key of its first step, and so its record: one
effect, one undo. A key whose undo was asked for is spent: what is asked for again then is a step
of its own, with a key and an undo of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from actors.kernel.clock import nanoseconds
from protocols.compensation import FATES_MAX, Fate, StepFate
from protocols.effects import Waiting
from protocols.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actors.kernel.children import Child
    from actors.kernel.outcome import Ended
    from actors.kernel.records import Entry, Record
    from actors.kernel.step import Step
    from protocols.effects import Status
    from protocols.mail import ChildEnded, Reviewed

UNDOABLE: Final = (
    "the generation has steps that may have to be undone, and the next one cannot: "
    "end the instance, or call ctx.pivot() before ctx.continue_as"
)
NEVER: Final = 2**63 - 1
"""A deadline that is none, nanoseconds since 1970: that of a child."""
_WORST: Final[dict[Fate, int]] = {"could_not": 0, "unknown": 1, "undone": 2, "done": 3}


class Undoing:
    """All records of one generation."""

    __slots__ = (
        "again",
        "by_hand",
        "ending",
        "meanwhile",
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
        self.meanwhile: dict[str, ChildEnded] = {}
        """Ends of children that came while the instance was blocked, by token."""
        self.pivoted = False
        self.by_hand = False
        """Somebody asked for it: all is undone, also when the code completes."""
        self.ending: Ended | None = None
        """How the instance ends as soon as its compensation is over."""

    # What happens to steps

    def abandoned(self, step: Step[Any]) -> None:
        """Note a step that was cancelled in flight."""
        deadline = step.ledger.now if step.reviewing else deadline_of(step)
        self.undecided[step.token] = (step.path, step.attempt, deadline)
        record, _ = self.known(step.token)
        if record is not None:
            record.abandoned(deadline)

    def given_up(self, token: str, record: Record) -> None:
        """Note a child that was cancelled: it ends sooner or later, and says how."""
        self.undecided[token] = (record.path, 1, NEVER)
        record.abandoned(NEVER)

    def child_ended(self, mail: ChildEnded) -> None:
        """Take the end of a child that nobody waits for any more."""
        if self.undecided.get(mail.step, (0, 0, 0))[2] == NEVER:
            del self.undecided[mail.step]
            self.records[mail.step].child_ended(mail)
            self.changed()

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
            if entry.state == "review" and not entry.needs_word:
                entry.state = ""
            self.changed()
            return None
        if record.value == entry.service:
            return None  # the same key: the same effect
        if record.again and not entry.unwanted:
            entry.outcome = "ok"  # it is asked for again: the answer to that decides
            self.changed()
            return None
        entry.outcome, entry.open, entry.unwanted = "ok", 0, True
        if entry.state in {"unknown", "review"}:
            entry.state = ""
        self.changed()
        return None if in_time else entry

    def reviewed(self, mail: Reviewed) -> bool:
        """Take a person's word about a step that is closed; False when nobody asked for it."""
        record = self.records.get(mail.step)
        entry = None if record is None else record.entry(mail.attempt)
        if entry is None or entry.state != "review" or entry.attempt != mail.attempt:
            return False
        entry.reviewed(done=mail.done)
        self.changed()
        return True

    def known(self, token: str) -> tuple[Record | None, int]:
        """Return the record of a step, and what the numbers of its attempts begin behind."""
        return self.again.get(token) or (self.records.get(token), 0)

    def pivot(self) -> None:
        """Keep what was done so far, and what comes."""
        self.pivoted = True
        for record in self.records.values():
            record.kept = True

    def stranded(self, steps: list[Step[Any]], children: list[Child[Any]]) -> None:
        """Take every open step for lost: nobody looks after it any more."""
        self.ending = None
        self.waits.clear()
        for step in steps:
            step.decide(0)
            self.abandoned(step)
        for child in children:
            child.abandon()
        for mail in self.meanwhile.values():
            self.child_ended(mail)
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
        return any(
            x.state in {"asked", "review"} and within(x.record.place, scope)
            for x in self.entries()
        )

    @property
    def holds(self) -> bool:
        """Whether something may still have to be undone."""
        return any(
            entry.state in {"asked", "review"}
            or (
                not entry.state
                and (entry.outcome or entry.open)
                and (entry.unwanted or not entry.record.kept)
            )
            for entry in self.entries()
        )

    def reviews(self, scope: str) -> bool:
        """Tell whether a person has to say something about a step at or below a path."""
        return any(x.state == "review" and within(x.record.place, scope) for x in self.entries())

    def waiting(self) -> list[Waiting]:
        """Return the children that were given up and have not ended, and what waits for a word."""
        words = [
            Waiting(
                path=entry.record.path,
                kind="review",
                since=entry.record.since,
                detail=f"{entry.service} (it may have to be undone)",
                attempt=entry.attempt,
            )
            for entry in self.entries()
            if entry.state == "review"
        ]
        return words + [
            Waiting(
                path=path,
                kind="child",
                since=self.records[token].since,
                detail=f"{self.records[token].attempts[1]} {self.records[token].child}",
            )
            for token, (path, _, deadline) in self.undecided.items()
            if deadline == NEVER
        ]

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
            StepFate(
                path=entry.record.path,
                fate=fate,
                service="" if entry.record.child else entry.service,
                detail=entry.detail,
                child=entry.record.child,
            )
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

    def fallen(self) -> dict[str, str]:
        """Return the paths of steps whose work does not stand for sure, and what became of it."""
        fates = ((entry.record.path, entry.fate()) for entry in self.entries())
        return {path: fate for path, fate in fates if fate is not None and fate != "done"}

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
            *([sorted(self.meanwhile)] if self.meanwhile else []),
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
