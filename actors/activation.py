"""Activation: make an actor from its stored mailbox.

A read may come from a follower, whose log is a prefix of the truth. It is complete only when
it contains the message that made somebody ask (hazard S6), so it is repeated until it does.
Nothing above the reader's position is folded: behind it there may be a marker that makes an
owner message void.

A mailbox is the union of its messages and its packs. When its partition's mark is above what
its packs cover, the instance is new, or unfinished and without messages for long, or it has
ended and what was read is late: the archive knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog
import trio

from actors import packs
from actors.archive import Archive
from actors.collection import is_fresh
from actors.definitions import Definitions
from actors.direct_reader import DirectReader
from actors.fold_guard import FoldGuard
from actors.inbound import Delivery, Letter, parse
from actors.kernel.instance import Instance
from actors.partitions import Partitions
from actors.tombstones import Tombstones
from actors.workflow import WorkflowActor
from protocols.archive import ArchiveRecord
from protocols.effects import AnyEffect
from protocols.errors import MovantError, RefusedError
from protocols.mail import AnyMail, Migrate, Pinned, Start, Woken
from protocols.subjects import mailbox
from protocols.tokens import KeyRing

PAUSE_S: Final = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
FOLDS_A_SLICE: Final = 200
"""Folds between two checkpoints of the loop: a long mailbox must not hold up the others."""

log = structlog.get_logger()


class Home(Protocol):
    """What an activation needs to know of the owner."""

    guard: FoldGuard
    partitions: Partitions
    tombstones: Tombstones

    def handed(self, partition: int) -> int:
        """Return the position up to which the markers of a partition are known."""
        ...

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        ...

    def adopt(self, actor: WorkflowActor, effects: Iterable[AnyEffect], parked: set[str]) -> None:
        """Take what a refold asked for."""
        ...

    def remake(self, actor: WorkflowActor, threshold: int = 0) -> None:
        """Fold the mailbox again from its beginning, and redo effects from the threshold on."""
        ...

    def activated(self, actor: WorkflowActor) -> None:
        """Let an actor go on: it is up to date."""
        ...

    def crashed(self, actor: WorkflowActor, mail: AnyMail | None, error: BaseException) -> None:
        """Take the news that a fold raised."""
        ...


class Activation:
    """Folds stored mailboxes."""

    def __init__(
        self,
        home: Home,
        mailboxes: DirectReader,
        archive: Archive,
        definitions: Definitions,
        keys: KeyRing,
    ) -> None:
        self._home = home
        self._archive = archive
        self._mailboxes = mailboxes
        self._definitions = definitions
        self._keys = keys
        self.count = 0

    async def run(self, actor: WorkflowActor) -> None:
        """Bring an actor up to date: fold what is stored until nothing is missing."""
        self.count += 1
        tries = 0
        while True:
            instance = actor.instance
            found = await self._read(actor)
            if found is None:
                tries = await _pause(tries)
                continue
            stored, record = found
            mails = self._mails(actor, stored)
            if record is not None:
                await self._home.tombstones.entomb(actor, record, mails)
                return
            if instance.folded and definition_of(mails) not in {"", instance.definition}:
                self._home.remake(actor)
                return
            if not instance.folded and (definition := definition_of(mails)):
                instance = actor.instance = Instance(
                    actor.id, self._definitions.workflow, definition=definition
                )
            parked = self._lower_threshold(actor, mails)
            if instance.folded and any(type(each) is Woken for each in mails):
                # What the wake covered was asked for by what is folded already.
                lowest = actor.lowest_cause()
                threshold = actor.threshold if lowest is None else min(actor.threshold, lowest)
                self._home.remake(actor, threshold)
                return
            if not await self.load(mails):
                tries = await _pause(tries)
                continue
            try:
                effects = await self._refold(actor, mails)
            except Exception as error:  # noqa: BLE001  # whatever a fold raises is the daemon's
                self._home.crashed(actor, mails[-1] if mails else None, error)
                return
            self._home.adopt(actor, effects, parked)
            # Not what was read but what was folded counts: the reader may have handed on more
            # while the definition was loaded.
            if instance.folded >= actor.needed:
                self._home.activated(actor)
                return

    async def _read(
        self, actor: WorkflowActor
    ) -> tuple[list[Delivery], ArchiveRecord | None] | None:
        """Return what is stored above what is folded, and how it ended if that is long ago.

        None: the store does not answer, or not with all that is needed yet.
        """
        after = actor.instance.folded
        if actor.id in self._home.tombstones.abandoned:
            return None
        marks = self._home.partitions.marks
        try:
            # Below the mark of now packs are complete; of a later one they may be unread.
            below = marks[actor.partition]
            stored = await self._mailboxes.mailbox(mailbox(actor.id, actor.partition), after=after)
            box = packs.expand(stored, mark=below, after=after)
            for each in box.unreadable:
                log.error("pack.unreadable", run=actor.id, seq=each.seq)
            newest = box.messages[-1].seq if box.messages else after
            messages, record = box.messages, None
            # Nothing at or above it can have been purged before the reading ended; the floor is
            # for who has not learnt yet that another daemon raises the marks.
            mark = max(marks[actor.partition], self._mailboxes.floor)
            if not after and mark > box.through + 1:
                messages, record = await self._ended(actor, mark, box.messages)
            if newest < actor.needed and record is None and len(messages) == len(box.messages):
                return None
        except MovantError as error:
            log.warning("activation.waiting", run=actor.id, reason=str(error))
            return None
        return messages, record

    async def _ended(
        self, actor: WorkflowActor, mark: int, messages: list[Delivery]
    ) -> tuple[list[Delivery], ArchiveRecord | None]:
        """Return messages, and the record of an instance whose history has left MAIL.

        When its last effects may not be settled, its history comes from the archive instead,
        and no record: it is folded, and they are done again.
        """
        first = messages[0].at if messages else 0
        partitions = self._home.partitions
        if is_fresh(actor.id, partitions.marked_at[actor.partition], first):
            return messages, None
        era = (partitions.era, self._mailboxes.floor)
        record = await self._archive.record(actor.partition, actor.id, era)
        # With a position at or above the mark it ended lately, and its history is still here.
        if record is None or record.at >= mark:
            return messages, None
        if actor.threshold > record.through:
            return messages, record
        history = await self._archive.history(actor.partition, actor.id, record.at)
        return (packs.union(history, messages), None) if history else (messages, record)

    def _mails(self, actor: WorkflowActor, stored: Sequence[Delivery]) -> list[AnyMail]:
        """Return the valid mail among what is stored, up to the reader's position."""
        limit = self._home.handed(actor.partition)
        mails = []
        for each in stored:
            if each.seq > limit:
                break
            parsed = parse(each, self._keys)
            if type(parsed) is Letter and not self._home.is_void(actor.partition, parsed.mail):
                mails.append(parsed.mail)
        return mails

    def _lower_threshold(self, actor: WorkflowActor, mails: Iterable[AnyMail]) -> set[str]:
        """Let wakes make effects due again; return the steps that were parked under them.

        A former owner may have sent what was parked when it read the wake, so only wakes
        behind our own marker prove that a step was never sent.
        """
        parked: set[str] = set()
        for mail in mails:
            if type(mail) is Woken and mail.seq >= actor.threshold:
                actor.threshold = min(actor.threshold, mail.since)
                if self._home.partitions.is_ours(actor.partition, mail.seq):
                    parked.update(mail.parked)
        return parked

    async def load(self, mails: Iterable[AnyMail]) -> bool:
        """Load the definitions that messages name; False when the store does not answer."""
        for mail in mails:
            if isinstance(mail, Start | Pinned | Migrate) and mail.definition:
                try:
                    await self._definitions.prefetch(mail.definition)
                except RefusedError as error:
                    # The fold blocks the instance and says why.
                    log.error("definition.refused", hash=mail.definition, reason=str(error))
                except MovantError as error:
                    log.warning("definition.waiting", hash=mail.definition, reason=str(error))
                    return False
        return True

    async def _refold(self, actor: WorkflowActor, mails: Sequence[AnyMail]) -> list[AnyEffect]:
        effects: list[AnyEffect] = []
        instance = actor.instance
        instance.refolding = True
        try:
            for number, mail in enumerate(mails, 1):
                effects += self._home.guard.fold(instance, mail)
                if number % FOLDS_A_SLICE == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            instance.refolding = False
        return effects


def definition_of(mails: Iterable[AnyMail]) -> str:
    """Return the definition of the last migration among messages, or nothing."""
    found = ""
    for mail in mails:
        if type(mail) is Migrate:
            found = mail.definition
    return found


async def _pause(tries: int) -> int:
    await trio.sleep(PAUSE_S[min(tries, len(PAUSE_S) - 1)])
    return tries + 1
