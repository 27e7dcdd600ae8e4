"""Generations: where the fold of a mailbox begins, and how little of it has to be read.

A workflow that continues as new leaves the messages of former generations behind it. The owner
records each beginning as ``owner.continued`` with a snapshot; whoever folds begins at the newest
one that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import trio

from actors.direct_reader import DirectReader
from actors.inbound import Delivery
from actors.kernel.instance import Instance
from protocols.definition import Workflow
from protocols.mail import AnyMail, Continued, Migrate, Snapshot

SLICE: Final = 1_000
"""Messages parsed between two checkpoints, about 10 ms."""

Valid = Callable[[Sequence[Delivery]], list[AnyMail]]
"""From what is stored to the mail among it that counts."""


def generation_start(mails: Iterable[AnyMail]) -> tuple[Snapshot | None, list[AnyMail]]:
    """Return the snapshot to begin with, and the mail above it; None: all, from the start.

    ``mails`` are valid, in order, and all of the mailbox or all above a ``through`` of it.
    """
    mails = list(mails)
    newest: Continued | None = None
    migrated: Migrate | None = None
    for mail in mails:
        if type(mail) is Migrate:
            migrated = mail
        elif (
            type(mail) is Continued
            and (newest is None or mail.generation > newest.generation)
            and _counts(mail, migrated)
        ):
            newest = mail
    if newest is None:
        return None, mails
    return newest.snapshot, [mail for mail in mails if mail.seq > newest.through]


def _counts(mail: Continued, migrated: Migrate | None) -> bool:
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
    definition: str,
) -> Instance:
    """Return an instance that is to fold what ``generation_start`` left; begin a snapshot's."""
    if snapshot is None:
        return Instance(instance_id, load, definition=definition)
    return Instance.from_snapshot(instance_id, snapshot, load, definition=definition)


def definition_of(mails: Iterable[AnyMail]) -> str:
    """Return the definition of the last migration among messages, or nothing."""
    found = ""
    for mail in mails:
        if type(mail) is Migrate:
            found = mail.definition
    return found


async def sifted(stored: Sequence[Delivery], valid: Valid) -> list[AnyMail]:
    """Return the mail among what is stored, in slices: parsing must not hold up the others."""
    mails: list[AnyMail] = []
    for start in range(0, len(stored), SLICE):
        mails += valid(stored[start : start + SLICE])
        await trio.lowlevel.checkpoint()
    return mails


async def read_generation(
    mailboxes: DirectReader, filter_subject: str, valid: Valid
) -> tuple[int, Snapshot | None, list[AnyMail]]:
    """Read a mailbox from the beginning of its newest generation.

    Returns the newest sequence that was read, and what ``generation_start`` returns.
    """
    left_out = 0

    def after(newest: Delivery) -> int:
        nonlocal left_out
        for mail in valid([newest]):
            if type(mail) is Continued:
                left_out = mail.through
        return left_out

    stored = await mailboxes.mailbox(filter_subject, continued=after)
    snapshot, mails = generation_start(await sifted(stored, valid))
    if left_out and snapshot is None:  # a migration to code that has not continued there
        stored = await mailboxes.mailbox(filter_subject)
        snapshot, mails = generation_start(await sifted(stored, valid))
    return stored[-1].seq if stored else 0, snapshot, mails
