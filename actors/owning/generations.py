"""Generations: where the fold of a mailbox begins, and how little of it has to be read.

A workflow that continues as new leaves the messages of former generations behind it. The owner
records each beginning as ``owner.continued`` with a snapshot; whoever folds begins at the newest
one that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.kernel.instance import Instance
from actors.owning.discards import discarded, kept, without
from actors.owning.letters import Delivery
from actors.retention.packs import Mailbox, expand
from actors.store.direct_reader import DirectReader
from protocols.definition import Workflow
from protocols.mail import AnyMail, Continued, Migrate, Snapshot

SLICE: Final = 200
"""Messages parsed between two checkpoints, about 10 ms."""

Valid = Callable[[Sequence[Delivery]], list[AnyMail]]
"""From what is stored to the mail among it that counts."""

log = structlog.get_logger()


class Reading(msgspec.Struct):
    """A mailbox as it was read: of packs and messages, from a generation's beginning on."""

    newest: int
    """The highest sequence that was read, of a pack too; 0: nothing."""
    box: Mailbox
    snapshot: Snapshot | None
    mails: list[AnyMail]


def generation_start(mails: Iterable[AnyMail]) -> tuple[Snapshot | None, list[AnyMail]]:
    """Return the snapshot to begin with, and the mail above it; None: all, from the start.

    ``mails`` are valid, in order, and all of the mailbox or all above a ``through`` of it.
    """
    mails = list(mails)
    newest = newest_generation(mails)
    if newest is None:
        return None, mails
    return newest.snapshot, [mail for mail in mails if mail.seq > newest.through]


def newest_generation(mails: Iterable[AnyMail]) -> Continued | None:
    """Return the record of the newest generation that counts.

    Which one counts depends on what stands below it alone: it counts for ever.
    """
    newest: Continued | None = None
    migrated: Migrate | None = None
    for mail in mails:
        if type(mail) is Migrate:
            migrated = mail
        elif (
            type(mail) is Continued
            and (newest is None or mail.generation > newest.generation)
            and counts(mail, migrated)
        ):
            newest = mail
    return newest


def counts(mail: Continued, migrated: Migrate | None) -> bool:
    """Tell whether the code that a record stands behind is that of its snapshot."""
    return (
        migrated is None
        or migrated.seq <= mail.through
        or migrated.definition == mail.snapshot.definition
    )


def begun(
    instance_id: str,
    snapshot: Snapshot | None,
    load: Callable[[str, str], Workflow[Any]],
    replaced: Mapping[int, str],
) -> Instance:
    """Return an instance that is to fold what ``generation_start`` left; begin a snapshot's.

    ``replaced`` has the definitions of migrations, as ``replaced_by`` gives them.
    """
    if snapshot is None:
        return Instance(instance_id, load, replaced=replaced)
    return Instance.from_snapshot(instance_id, snapshot, load, replaced=replaced)


def replaced_by(mails: Iterable[AnyMail]) -> dict[int, str]:
    """Return the definition of the last migration of each part of a mailbox.

    Parts begin with a switch, whose sequence is the key; 0 is the first part.
    """
    return {mail.since: mail.definition for mail in mails if type(mail) is Migrate}


async def sifted(stored: Sequence[Delivery], valid: Valid) -> list[AnyMail]:
    """Return the mail among what is stored, in slices: parsing must not hold up the others."""
    mails: list[AnyMail] = []
    for start in range(0, len(stored), SLICE):
        if start:  # most have a few messages, and a pause costs as much as some of them
            await trio.lowlevel.checkpoint()
        mails += valid(stored[start : start + SLICE])
    return mails


async def read_generation(
    mailboxes: DirectReader, filter_subject: str, valid: Valid, *, mark: int = 0
) -> Reading:
    """Read a mailbox from the beginning of its newest generation.

    ``mark`` is that of its partition, as it was known before this was called.
    """
    left_out = 0

    def after(newest: Delivery) -> int:
        nonlocal left_out
        if newest.seq < mark:  # only a copy of it counts
            return 0
        for mail in valid([newest]):
            if type(mail) is Continued:
                left_out = mail.through
        return left_out

    stored = await mailboxes.mailbox(filter_subject, continued=after)
    found = await reading(stored, valid, mark=mark, after=left_out)
    if left_out and found.snapshot is None:  # a migration to code that has not continued there
        stored = await mailboxes.mailbox(filter_subject)
        found = await reading(stored, valid, mark=mark)
    return found


async def reading(
    stored: Sequence[Delivery], valid: Valid, *, mark: int = 0, after: int = 0
) -> Reading:
    """Return what the messages and packs of a mailbox hold above ``after``."""
    box = expand(stored, mark=mark, after=after)
    for each in box.unreadable:
        log.error("pack.unreadable", subject=each.subject, seq=each.seq)
    whole = await sifted(box.messages, valid)
    gone = discarded(whole)
    snapshot, mails = generation_start(without(whole, gone))
    return Reading(stored[-1].seq if stored else 0, box, kept(snapshot, gone), mails)
