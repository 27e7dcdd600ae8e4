"""Verification: is what is stored of an instance what was stated of it? Without I/O.

    MAIL     messages ── fold ──> statements ──┐
    EVENTS   statements as they were published ┼── compare ──> findings, notes
    ARCHIVE  the record: outcome, head ────────┘

Where a message differs from what a statement says of it, the message is named. Only when all
messages are as stated, statements and records are compared with what the fold gives: whatever
differs there was not brought about by a message.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from actors.owning.generations import newest_generation
from actors.owning.letters import Delivery
from actors.views.leaves import leaf_of
from actors.views.refolding import Refolded
from protocols.api.witness import Discrepancy
from protocols.archive import ArchiveRecord
from protocols.effects import FINAL
from protocols.errors import BadValueError
from protocols.events import CE_ID, STATED, percent_decode
from protocols.headers import decode as headers_of
from protocols.mail import AnyMail, Start
from protocols.witness import Leaf, Statement, leaves

FRESH_NS: Final = 60_000_000_000
"""What was stated within this time may be on its way to EVENTS or ARCHIVE."""
_SHOWN_MAX: Final = 60


class Published(msgspec.Struct, frozen=True):
    """An event as EVENTS has it; without a statement when it was published without one."""

    seq: int
    subject: str
    at: int
    id: str
    data: Any
    statement: Statement | None = None


class Stand(msgspec.Struct, kw_only=True):
    """All that is stored of an instance. Times are nanoseconds since 1970."""

    instance: str
    messages: Sequence[Delivery]
    mails: Sequence[AnyMail]
    """What the fold takes of them."""
    wrong: Mapping[int, str]
    """Messages that no fold takes, by sequence, and why."""
    packs: Sequence[Delivery] = ()
    """Packs that cannot be opened."""
    events: Sequence[Delivery]
    archived: Delivery | None
    """Its record in ARCHIVE."""
    mark: int = 0
    """That of its partition: below it, former generations are not kept."""
    events_from: int
    """The time of the oldest event that EVENTS has, of whatever instance."""
    now: int


class Compared(msgspec.Struct):
    """What a comparison has found."""

    findings: list[Discrepancy]
    notes: list[str]
    covered: int = 0
    published: int = 0


class _Witness(msgspec.Struct):
    witness: Statement | None = None


_record_decoder: Final = msgspec.json.Decoder(ArchiveRecord)
_witness_decoder: Final = msgspec.json.Decoder(_Witness)


def compare(stand: Stand, refolded: Refolded) -> Compared:
    """Compare all that is stored of an instance with what its fold gives."""
    return _Comparison(stand, refolded).run()


class _Comparison:
    def __init__(self, stand: Stand, refolded: Refolded) -> None:
        self._stand = stand
        self._refolded = refolded
        self._found: list[Discrepancy] = []
        self._notes: list[str] = []
        self._events: list[Published] = []
        self._record: ArchiveRecord | None = None
        newest = newest_generation(stand.mails)
        self._begun = newest is not None or any(type(each) is Start for each in stand.mails)
        self._through = newest.through if newest and newest.through < stand.mark else 0
        """Messages at or below it may have been collected."""
        self._by_seq = {each.seq: each for each in stand.messages}
        self._stored = {each.seq: next(leaves(leaf_of(each))) for each in stand.messages}

    def run(self) -> Compared:
        for pack in self._stand.packs:
            self._mail("edited", pack.seq, pack.subject, "the pack cannot be opened")
        for each in self._stand.events:
            self._read(each)
        archived = self._stand.archived
        if archived is not None:
            try:
                self._record = _record_decoder.decode(archived.payload)
            except msgspec.DecodeError as error:
                self._archived("edited", f"it cannot be read: {error}")
        known = [each for each in self._events if each.statement is not None]
        stated = [each.statement for each in known if each.statement is not None]
        covered = self._messages(self._trusted(stated))
        if not self._found:
            self._chain(known)
            self._missing(stated)
        if archived is None or self._record is not None:
            self._ended()
        return Compared(
            self._found,
            self._notes,
            covered=covered,
            published=len({each.hash for each in stated}),
        )

    # Events

    def _read(self, delivery: Delivery) -> None:
        """Take an event; one whose statement is not of one piece is a finding."""
        if _kind(delivery.subject) not in STATED:
            return  # of an author, or without a transition
        told = headers_of(delivery.headers) or {}
        try:
            data = msgspec.json.decode(delivery.payload or b"null")
            statement = None
            if isinstance(data, dict) and data.get("witness") is not None:
                statement = _witness_decoder.decode(delivery.payload).witness
            if statement is not None:
                list(statement.leaves())
        except (msgspec.DecodeError, ValueError) as error:
            self._event("edited", delivery.seq, delivery.subject, f"it cannot be read: {error}")
            return
        if statement is not None and statement.computed() != statement.hash:
            detail = f"statement {statement.number} does not have the hash that it says"
            self._event("edited", delivery.seq, delivery.subject, detail)
            return
        if statement is not None and statement.instance != self._stand.instance:
            detail = f"statement {statement.number} is of {statement.instance!r}"
            self._event("forged", delivery.seq, delivery.subject, detail)
            return
        try:
            identity = percent_decode(told.get(CE_ID, ""))
        except BadValueError:
            identity = ""
        self._events.append(
            Published(delivery.seq, delivery.subject, delivery.at, identity, data, statement)
        )

    def _trusted(self, stated: Sequence[Statement]) -> list[Statement]:
        """Return the statements by which messages are judged.

        Not by one that no fold gives, when the record has the head that the fold gives, or when
        EVENTS has the fold's own statement of that number as well.
        """
        refolded = self._refolded
        head = refolded.statements.get(max(refolded.statements, default=0))
        if head is not None and self._record is not None and self._record.head == head.hash:
            return [each for each in stated if each.hash in refolded.payloads]
        ours = {each.number for each in stated if each.hash in refolded.payloads}
        return [
            each for each in stated if each.hash in refolded.payloads or each.number not in ours
        ]

    # Messages

    def _messages(self, stated: Sequence[Statement]) -> int:
        """Compare each message with the statements that name it; return how many are named."""
        wanted: dict[int, tuple[Leaf, Statement]] = {}
        for statement in sorted(stated, key=lambda each: each.number):
            for each in statement.leaves():
                wanted.setdefault(each.seq, (each, statement))
        places = self._places(wanted)
        moved = set()
        collected = 0
        for seq in sorted(wanted):
            each, statement = wanted[seq]
            stored = self._stored.get(seq)
            if stored is None and seq <= self._through:
                collected += 1
            elif stored == each and seq not in self._stand.wrong:
                continue
            else:
                moved.add(self._differs(each, stored, statement, places.get(each.digest, 0)))
        if collected:
            self._notes.append(f"{collected} messages of former generations are collected")
        self._inserted({each.hash: each for each in stated}, set(wanted) | moved)
        return len(wanted)

    def _places(self, wanted: Mapping[int, tuple[Leaf, Statement]]) -> dict[bytes, int]:
        """Return where a content stands that is not where it was stated to be."""
        return {
            each.digest: seq
            for seq, each in self._stored.items()
            if seq not in wanted or wanted[seq][0].digest != each.digest
        }

    def _differs(self, stated: Leaf, stored: Leaf | None, statement: Statement, place: int) -> int:
        """Tell what became of a message; return where its content stands now, or 0."""
        by = f"as statement {statement.number} names it"
        subject = self._subject(stated.seq)
        if stored == stated:
            why = self._stand.wrong[stated.seq]
            self._mail("edited", stated.seq, subject, f"no fold takes it any more: {why}")
        elif place:
            detail = f"what stood here {by} stands at {place} now"
            self._mail("reordered", stated.seq, subject or self._subject(place), detail)
            return place
        elif stored is None:
            self._mail("dropped", stated.seq, subject, f"it is not there {by}")
        elif stored.digest != stated.digest:
            detail = f"subject, headers or payload are not {by}"
            self._mail("edited", stated.seq, subject, detail)
        else:
            detail = f"its time is {stored.at}, not {stated.at} {by}"
            self._mail("edited", stated.seq, subject, detail)
        return 0

    def _inserted(self, stated: Mapping[str, Statement], named: set[int]) -> None:
        """Find messages that stand between those of a statement and are not among them."""
        others = sorted(self._refolded.named - named)
        if not others:
            return
        for statement in stated.values():
            seqs = [each.seq for each in statement.leaves()]
            if not seqs:
                continue
            after = _end_before(statement, stated)
            if after is None:
                after = seqs[0] - 1
            for seq in others[bisect_right(others, after) : bisect_right(others, seqs[-1])]:
                if seq not in named:
                    named.add(seq)
                    detail = f"statement {statement.number} does not name it"
                    self._mail("forged", seq, self._subject(seq), detail)

    # Statements

    def _chain(self, known: Sequence[Published]) -> None:
        """Compare the events that have statements with those that the fold gives."""
        refolded = self._refolded
        former: list[tuple[Published, Statement]] = []
        for event in known:
            statement = event.statement or _NONE
            expected = refolded.payloads.get(statement.hash)
            if statement.number <= refolded.base:
                former.append((event, statement))
                continue
            if expected is None:
                self._foreign(event, statement)
                continue
            names = _differing(event.data, expected)
            if event.id != refolded.identities[statement.hash]:
                names.append(CE_ID)
            if _kind(event.subject) != statement.what:
                names.append("subject")
            if names:
                detail = f"not as the fold gives it: {', '.join(names)}"
                self._event("edited", event.seq, event.subject, detail)
        self._linked(former)

    def _linked(self, former: Sequence[tuple[Published, Statement]]) -> None:
        """Look at statements whose messages are kept no longer: they hang together at least.

        There may be several of one number: a migration states its generation anew.
        """
        hashes: dict[int, set[str]] = {}
        for _, statement in former:
            hashes.setdefault(statement.number, set()).add(statement.hash)
        base = self._refolded.base
        for event, statement in former:
            before = hashes.get(statement.number - 1)
            loose = before is not None and statement.previous not in before
            if loose or (
                statement.number == base and self._refolded.base_hash not in hashes[base]
            ):
                detail = f"statement {statement.number} is no link of the chain"
                self._event("forged", event.seq, event.subject, detail)

    def _foreign(self, event: Published, statement: Statement) -> None:
        """Tell of a statement that no fold gives."""
        ours = self._refolded.statements.get(statement.number)
        if self._refolded.lacking:
            self._notes.append(
                f"statement {statement.number} cannot be made again: {self._refolded.lacking}"
            )
            return
        if ours is None:
            detail = f"the fold comes to no statement {statement.number}"
            self._event("forged", event.seq, event.subject, detail)
            return
        names = _differing(msgspec.to_builtins(statement), msgspec.to_builtins(ours))
        shown = [name for name in names if name not in {"hash", "previous"}] or names
        detail = f"statement {statement.number} differs from the fold: {', '.join(shown)}"
        self._event("forged", event.seq, event.subject, detail)

    def _missing(self, stated: Sequence[Statement]) -> None:
        """Tell of statements that EVENTS should have and has not."""
        refolded = self._refolded
        hashes = {each.hash for each in stated}
        newest = max((each.number for each in stated), default=0)
        plain = {each.id for each in self._events if each.statement is None}
        expired, unstated = 0, 0
        archived = self._stand.archived
        recorded_at = 0 if archived is None else archived.at
        for number, ours in sorted(refolded.statements.items()):
            if ours.hash in hashes:
                continue
            if ours.at <= self._stand.events_from:
                expired += 1
            elif refolded.identities[ours.hash] in plain:
                unstated += 1
            elif number > newest and not self._is_old(recorded_at):
                self._notes.append(f"statement {number} ({ours.what}) is not published yet")
            else:
                detail = f"statement {number} ({ours.what}, caused by {ours.cause}) is not there"
                self._event("dropped", 0, "", detail)
        if expired:
            self._notes.append(f"{expired} statements are older than what EVENTS keeps")
        if unstated:
            self._notes.append(f"{unstated} events of an earlier version have no statement")
        if refolded.base:
            self._notes.append(
                f"statements up to {refolded.base} are of former generations: their snapshot"
                " stands for what they name"
            )

    # The record

    def _ended(self) -> None:
        """Compare the record of a finished instance with what the fold gives."""
        record, expected = self._record, self._refolded.records
        if record is None:
            ends = [
                each
                for each in self._events
                if each.statement is not None and each.statement.what in FINAL
            ]
            if expected and any(self._is_old(each.at) for each in ends):
                self._archived("dropped", "it has ended, and there is no record of it")
            elif expected:
                self._notes.append("its record is not in ARCHIVE yet")
        elif not self._begun:
            self._archived("dropped", "there is a record, and no history of it")
        elif not record.head:
            self._notes.append("its record is of an earlier version and has no head")
            plain = [msgspec.structs.replace(each, head="", statements=0) for each in expected]
            self._same_record(record, plain)
        elif not (self._found and all(each.head != record.head for each in expected)):
            self._same_record(record, expected)  # else a consequence of what is found already

    def _same_record(self, record: ArchiveRecord, expected: Sequence[ArchiveRecord]) -> None:
        if not expected:
            self._archived("forged", "there is a record, and the instance has not ended")
            return
        stored = msgspec.json.decode(msgspec.json.encode(record))
        names: list[str] = []
        for each in expected:
            names = _differing(stored, msgspec.json.decode(msgspec.json.encode(each)))
            names = [name for name in names if name != "position"]  # that of its partition, then
            if not names:
                return
        self._archived("edited", f"not as the fold gives it: {', '.join(names)}")

    def _is_old(self, at: int) -> bool:
        """Tell whether what was written along with something at a time has to be there."""
        return bool(at) and self._stand.now - at > FRESH_NS

    # Findings

    def _subject(self, seq: int) -> str:
        found = self._by_seq.get(seq)
        return "" if found is None else found.subject

    def _mail(self, kind: Any, seq: int, subject: str, detail: str) -> None:
        self._found.append(
            Discrepancy(kind=kind, stream="MAIL", seq=seq, subject=subject, detail=detail)
        )

    def _event(self, kind: Any, seq: int, subject: str, detail: str) -> None:
        self._found.append(
            Discrepancy(kind=kind, stream="EVENTS", seq=seq, subject=subject, detail=detail)
        )

    def _archived(self, kind: Any, detail: str) -> None:
        archived = self._stand.archived
        self._found.append(
            Discrepancy(
                kind=kind,
                stream="ARCHIVE",
                seq=0 if archived is None else archived.seq,
                subject="" if archived is None else archived.subject,
                detail=detail,
            )
        )


_NONE: Final = Statement(
    number=0, instance="", workflow="", definition="", what="", at=0, cause=0, previous=""
)


def _kind(subject: str) -> str:
    return subject.rpartition(".")[2]


def _end_before(statement: Statement, stated: Mapping[str, Statement]) -> int | None:
    """Return the last message that statements before this one name; None: they are not known."""
    for _ in range(len(stated)):
        if statement.number == 1:
            return 0
        before = stated.get(statement.previous)
        if before is None:
            return None
        seqs = [each.seq for each in before.leaves()]
        if seqs:
            return seqs[-1]
        statement = before
    return None


def _differing(stored: Any, expected: Any) -> list[str]:
    """Return the names of the fields that differ."""
    if not (isinstance(stored, dict) and isinstance(expected, dict)):
        return [] if stored == expected else ["data"]
    names: Iterable[str] = sorted({*stored, *expected})
    return [name[:_SHOWN_MAX] for name in names if stored.get(name) != expected.get(name)]
