"""Refolding: which folds give the statements that were published of an instance.

Statements follow from messages and from code. Each migration changed the code, and each
generation is folded from its snapshot; so a mailbox is cut where they stand, and each part is
folded as its owner has folded it then:

    start ... | migrate ... | continued ... end
    era 1: A    era 2: B      era 3: B, from the snapshot
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, cast

import msgspec

from actors.kernel.instance import Instance
from actors.owning.discards import discarded, kept, without
from actors.owning.generations import begun, counts, replaced_by
from actors.owning.outbox import event_payload, record_of
from protocols.archive import ArchiveRecord
from protocols.definition import Workflow
from protocols.effects import AnyEffect, Emit, Finish
from protocols.mail import AnyMail, Continued, Mail, Migrate, Snapshot
from protocols.witness import Statement, leaves


class Refolded(msgspec.Struct, kw_only=True):
    """What the folds of a mailbox gave."""

    base: int = 0
    """The number of the last statement before what could be folded."""
    base_hash: str = ""
    statements: dict[int, Statement] = {}
    """By number, as the instance stands now."""
    payloads: dict[str, Any] = {}
    """By hash of the statement, also of those that a migration has replaced: the event's data."""
    identities: dict[str, str] = {}
    """By hash of the statement: the event's id."""
    named: set[int] = set()
    """Sequences of the messages that the statements name."""
    records: list[ArchiveRecord] = []
    """What the record of the instance may be; empty: it has not ended."""
    last: Instance | None = None
    """The instance as it stands now."""
    lacking: str = ""
    """Why code could not be folded; statements that nobody can make again prove nothing then."""


class Era(msgspec.Struct, frozen=True):
    """Messages that are folded from the beginning of a generation, with one definition."""

    mails: list[AnyMail]
    snapshot: Snapshot | None = None
    recorded: int = 0
    """The sequence of the message that holds the snapshot; 0: there is none."""

    @property
    def replaced(self) -> dict[int, str]:
        """The definitions that its migrations name, by the part that each is for."""
        return replaced_by(self.mails)


def eras(mails: Iterable[AnyMail], mark: int) -> list[Era]:
    """Return the folds of a mailbox, in order; the last one is how the instance stands.

    ``mails`` are valid and in order. What a snapshot below the partition's ``mark`` stands for
    is left out: former generations are not kept when a mailbox is collected.
    """
    mails = list(mails)
    gone = discarded(mails)
    found: list[Era] = []
    part: list[AnyMail] = []
    newest: Continued | None = None
    migrated: Migrate | None = None
    for mail in without(mails, gone):
        if type(mail) is Migrate:
            found.append(_era(part, newest))
            migrated = mail
        elif (
            type(mail) is Continued
            and (newest is None or mail.generation > newest.generation)
            and counts(mail, migrated)
        ):
            if mail.through < mark:
                found.clear()
            else:
                found.append(_era([each for each in part if each.seq <= mail.through], newest))
            part = [each for each in part if each.seq > mail.through]
            snapshot = kept(mail.snapshot, gone) or mail.snapshot
            newest = msgspec.structs.replace(mail, snapshot=snapshot)
        part.append(mail)
    return [*found, _era(part, newest)]


def _era(part: list[AnyMail], newest: Continued | None) -> Era:
    if newest is None:
        return Era(list(part))
    return Era(list(part), newest.snapshot, newest.seq)


def refold(
    instance: str,
    parts: Sequence[Era],
    load: Callable[[str, str], Workflow[Any]],
    fold: Callable[[Instance, Mail | None], list[AnyEffect]],
    found: Refolded,
) -> Generator[AnyMail | Snapshot, AnyMail | Snapshot | None, None]:
    """Fold each era into ``found``; yield before each message, so that others have their turn.

    What is sent for a message or a snapshot is folded in its place: the same with the values
    that it refers to. ``fold`` folds one message, or begins the generation of a snapshot for
    None. It raises what a fold raises.
    """
    for number, era in enumerate(parts):
        head = None if era.snapshot is None else era.snapshot.witness
        base = 0 if head is None else head.number
        if number == 0 and head is not None:
            found.base, found.base_hash = base, head.hash
        found.statements = {at: each for at, each in found.statements.items() if at <= base}
        snapshot = era.snapshot
        if snapshot is not None:
            snapshot = cast("Snapshot", (yield snapshot) or snapshot)
        one = found.last = begun(instance, snapshot, load, era.replaced)
        one.refolding = True
        if era.snapshot is not None:
            _keep(one, fold(one, None), found)
        for mail in era.mails:
            given = cast("AnyMail", (yield mail) or mail)
            _keep(one, fold(one, given), found)
        found.named |= {each.seq for each in leaves(one.witness.leaves)}
        if one.blocked is not None and one.blocked.reason == "definition":
            found.lacking = one.blocked.message


def _keep(one: Instance, effects: Iterable[AnyEffect], found: Refolded) -> None:
    """Keep what a fold asked for that is witnessed."""
    for effect in effects:
        if type(effect) is Emit and effect.statement is not None:
            statement = effect.statement.statement()
            found.statements[statement.number] = statement
            found.payloads[statement.hash] = msgspec.json.decode(event_payload(one, effect))
            found.identities[statement.hash] = effect.id
            found.named |= {each.seq for each in statement.leaves()}
        elif type(effect) is Finish:
            found.records.append(record_of(one, effect, 0))
