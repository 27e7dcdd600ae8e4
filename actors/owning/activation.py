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

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import structlog
import trio

from actors.definitions.registry import Definitions
from actors.owning.fold_guard import FoldGuard
from actors.owning.generations import Reading, begun, read_generation, reading, replaced_by, sifted
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.owning.partitions import Partition, Partitions
from actors.owning.prefetch import Prefetch, Prefetched
from actors.owning.resolving import Resolving, refers
from actors.owning.workflow import WorkflowActor
from actors.retention import packs
from actors.retention.collection import is_fresh
from actors.retention.tombstones import Tombstones
from actors.store.archive import Archive
from actors.store.direct_reader import DirectReader
from protocols.archive import ArchiveRecord
from protocols.effects import AnyEffect
from protocols.errors import MovantError, RefusedError, UnavailableError
from protocols.mail import (
    AnyMail,
    Continued,
    Migrate,
    Pinned,
    Repaired,
    Reply,
    Snapshot,
    Start,
    Switch,
    Woken,
)
from protocols.ports import Clock
from protocols.subjects import mailbox
from protocols.tokens import KeyRing

PAUSE_S: Final = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
FOLDS_A_SLICE: Final = 50
"""Folds between two checkpoints of the loop: a long mailbox must not hold up the others."""

log = structlog.get_logger()


class Home(Protocol):
    """What an activation needs to know of the owner."""

    guard: FoldGuard
    partitions: Partitions
    tombstones: Tombstones

    def recall(self, partition: Partition, instance: str) -> None:
        """Bring an instance into memory that the checkpoint of a partition lists."""
        ...

    def adopt(self, actor: WorkflowActor, effects: Iterable[AnyEffect], parked: set[str]) -> None:
        """Take what a refold asked for."""
        ...

    def remake(self, actor: WorkflowActor, threshold: int = 0) -> None:
        """Fold the generation again, and redo effects from the threshold on."""
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
        *,
        resolving: Resolving,
        clock: Clock,
        start_soon: Callable[..., Any],
    ) -> None:
        self._home = home
        self._resolving = resolving
        self._clock = clock
        self._archive = archive
        self._mailboxes = mailboxes
        self._definitions = definitions
        self._keys = keys
        self._start_soon = start_soon
        self._prefetch = Prefetch(mailboxes, start_soon, home.recall, self._together)
        self.count = 0

    def fetches(self, mail: AnyMail) -> bool:
        """Tell whether something has to be fetched before a message can be folded."""
        kind = type(mail)
        if (kind is Start or kind is Pinned) and mail.definition:  # type: ignore[union-attr]
            return not self._definitions.is_loaded(mail.definition) or refers(mail)  # type: ignore[union-attr]
        if kind is Switch:
            return not self._definitions.is_loaded(mail.order.definition)  # type: ignore[union-attr]
        return refers(mail)

    def begin(self, actor: WorkflowActor) -> None:
        """Bring an actor up to date: fold what is stored until nothing is missing."""
        self.count += 1
        partition = self._home.partitions.owned[actor.partition]
        # Before our marker was read, what the tail brings would have to be read again for each.
        if not self._prefetch.join(actor, partition):
            self._start_soon(self._alone, actor, partition)

    def open(self, partition: Partition) -> None:
        """Gather what a former owner of a partition left; when it has settled, fold that."""
        self._prefetch.open(partition)

    async def _together(
        self, actor: WorkflowActor, partition: Partition, prefetched: Prefetched | None
    ) -> None:
        if prefetched is None or not await self._once(actor, partition, prefetched):
            self._start_soon(self._alone, actor, partition)

    async def _alone(self, actor: WorkflowActor, partition: Partition) -> None:
        tries = 0
        while not actor.gone and not await self._once(actor, partition):
            await trio.sleep(PAUSE_S[min(tries, len(PAUSE_S) - 1)])
            tries += 1

    async def _once(
        self, actor: WorkflowActor, partition: Partition, prefetched: Prefetched | None = None
    ) -> bool:
        """Fold what is stored now; False when it has to be looked at again."""
        instance = actor.instance
        folded = instance.folded
        least = actor.needed
        if actor.id in self._home.tombstones.abandoned:
            return False
        try:
            if not (least or prefetched):  # no message asked: the leader tells the newest
                least = await self._mailboxes.newest(mailbox(actor.id, actor.partition))
            found, record = await self._read(actor, partition, prefetched)
        except MovantError as error:
            log.warning("activation.waiting", run=actor.id, reason=str(error))
            return False
        if actor.gone or max(found.newest, folded) < max(least, actor.needed):
            return False
        mails, snapshot = found.mails, found.snapshot
        if record is not None:
            return await self._home.tombstones.entomb(actor, record, mails)
        if folded and (
            not replaced_by(mails).items() <= {(instance.switched, instance.definition)}
            or any(type(each) is Repaired for each in mails)
        ):
            self._home.remake(actor)
            return True
        parked = self._lower_threshold(actor, mails)
        if folded and any(type(each) is Woken for each in mails):
            # What the wake covered was asked for by what is folded already.
            lowest = actor.lowest_cause()
            threshold = actor.threshold if lowest is None else min(actor.threshold, lowest)
            self._home.remake(actor, threshold)
            return True
        if not await self.load(mails, None if folded else snapshot) or actor.gone:
            return False
        begin = snapshot is not None and not folded
        if not folded:
            replaced = replaced_by(mails)
            snapshot = await self._resolving.snapshot_patiently(actor.id, snapshot)
            load = self._definitions.workflow
            is_new = snapshot is None and not replaced  # as it was made
            actor.instance = (
                actor.instance if is_new else begun(actor.id, snapshot, load, replaced)
            )
        return await self._fold(actor, [None, *mails] if begin else mails, parked)

    async def _read(
        self, actor: WorkflowActor, partition: Partition, prefetched: Prefetched | None
    ) -> tuple[Reading, ArchiveRecord | None]:
        """Read what is not folded yet, from the newest generation on when that is all.

        With a record when the instance ended so long ago that only that is left.
        """
        address = mailbox(actor.id, actor.partition)
        valid = partial(self._mails, partition)
        after = actor.instance.folded
        # Below the mark of now packs are complete; of a later one they may be unread.
        mark = partition.mark
        if after:
            stored = await self._mailboxes.mailbox(address, after=after)
            box = packs.expand(stored, mark=mark, after=after)
            newest = stored[-1].seq if stored else 0
            return Reading(newest, box, None, await sifted(box.messages, valid)), None
        if prefetched:
            found = await reading(prefetched.stored, valid, mark=prefetched.mark)
        else:
            found = await read_generation(self._mailboxes, address, valid, mark=mark)
        # Nothing at or above it can have been purged before the reading ended; the floor is
        # for who has not learnt yet that another daemon raises the marks.
        mark = max(partition.mark, self._mailboxes.floor)
        if mark <= found.box.through + 1:
            return found, None
        return await self._ended(actor, partition, mark, found)

    async def _ended(
        self, actor: WorkflowActor, partition: Partition, mark: int, found: Reading
    ) -> tuple[Reading, ArchiveRecord | None]:
        """Return what was read, and the record of an instance whose history has left MAIL.

        When its last effects may not be settled, its history comes from the archive instead,
        and no record: it is folded, and they are done again.
        """
        messages = found.box.messages
        first = messages[0].at if messages else 0
        if mark == partition.mark and is_fresh(actor.id, partition.marked_at, first):
            return found, None
        era = (self._home.partitions.era, self._mailboxes.floor)
        record = await self._archive.record(actor.partition, actor.id, era)
        # With a position at or above the mark it ended lately, and its history is still here.
        if record is None or record.at >= mark:
            return found, None
        if actor.threshold > record.through:
            return found, record
        history = await self._archive.history(actor.partition, actor.id, record.at)
        if history:
            valid = partial(self._mails, partition)
            return await reading(packs.union(history, messages), valid), None
        if any(type(each) is Start for each in found.mails):
            return found, None  # not bundled yet: its record was written late
        return found, record

    async def _fold(
        self, actor: WorkflowActor, mails: Sequence[AnyMail | None], parked: set[str]
    ) -> bool:
        """Fold messages and hand their effects over; False when more has come meanwhile.

        None begins the generation of a snapshot.
        """
        try:
            effects = await self._refold(actor, mails)
        except Exception as error:  # noqa: BLE001  # whatever a fold raises is the daemon's
            if not actor.gone:
                self._home.crashed(actor, mails[-1] if mails else None, error)
            return True
        if actor.gone:
            return True
        if any(type(mail) is Continued and actor.again_from(mail) == 0 for mail in mails):
            self._home.remake(actor)
            return True
        self._home.adopt(actor, effects, parked)
        # Not what was read but what was folded counts: the reader may have handed on more
        # while the definition was loaded.
        if actor.instance.folded < actor.needed:
            return False
        self._home.activated(actor)
        return True

    def _mails(self, partition: Partition, stored: Sequence[Delivery]) -> list[AnyMail]:
        """Return the valid mail among what is stored, up to the reader's position.

        Raises UnavailableError when that is below what is purged: only a newer owner can have
        done it, who may have made any of this void.
        """
        limit = max(partition.handed, self._home.partitions.everywhere)
        if self._mailboxes.floor > limit + 1:
            raise UnavailableError(f"partition {partition.number} has a newer owner")
        mails = []
        for each in stored:
            if each.seq > limit:
                break
            parsed = parse(each, self._keys)
            if type(parsed) is Letter and not partition.is_void(parsed.mail):
                mails.append(parsed.mail)
        return mails

    def _lower_threshold(self, actor: WorkflowActor, mails: Iterable[AnyMail]) -> set[str]:
        """Let wakes make effects due again; return the steps that were parked under them.

        A former owner may have sent what was parked when it read the wake, so only wakes
        behind our own marker prove that a step was never sent.
        """
        parked = set(actor.never_sent)
        for mail in mails:
            if type(mail) is not Woken:
                actor.wake_number = actor.woken_number = 0
                continue
            actor.wake_number = actor.woken_number = mail.number
            if mail.seq >= actor.threshold:
                actor.threshold = min(actor.threshold, mail.since)
                if self._home.partitions.owned[actor.partition].is_ours(mail.seq):
                    parked.update(mail.parked)
        return parked

    async def load(self, mails: Iterable[AnyMail], snapshot: Snapshot | None = None) -> bool:
        """Load the definitions that messages name; False when the store does not answer."""
        named = [snapshot.definition] if snapshot is not None else []
        named += [each.definition for each in mails if isinstance(each, Start | Pinned | Migrate)]
        named += [each.order.definition for each in mails if type(each) is Switch]
        for definition in filter(None, named):
            try:
                await self._definitions.prefetch(definition)
            except RefusedError as error:
                # The fold blocks the instance and says why.
                log.error("definition.refused", hash=definition, reason=str(error))
            except MovantError as error:
                log.warning("definition.waiting", hash=definition, reason=str(error))
                return False
        return True

    async def _refold(
        self, actor: WorkflowActor, mails: Sequence[AnyMail | None]
    ) -> list[AnyEffect]:
        effects: list[AnyEffect] = []
        instance = actor.instance
        instance.refolding = True
        try:
            for number, each in enumerate(mails, 1):
                mail = each
                if refers(mail):  # one at a time: what is folded is not held any more
                    assert mail is not None
                    mail = await self._resolving.patiently(actor.id, mail)
                    if actor.gone:
                        break
                    if type(mail) is Reply:
                        actor.answered(mail, self._clock.monotonic())
                effects += self._home.guard.fold(instance, mail)
                if number % FOLDS_A_SLICE == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            instance.refolding = False
        return effects
