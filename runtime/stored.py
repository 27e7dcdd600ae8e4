"""Stored: what the streams hold of an instance, whoever owns its partition.

MAIL: messages and packs -> union -> is something gone that packs do not cover? -> ARCHIVE
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from actors.kernel.instance import Instance
from actors.owning.generations import Reading, begun, read_generation, reading, replaced_by
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter, Marker
from actors.owning.partitions import Partition, is_void
from actors.owning.spawning import first_start
from actors.retention import packs
from actors.retention.collection import is_fresh
from actors.store.checkpoint import Checkpoint, Epochs
from actors.store.direct_reader import DirectReader
from protocols import subjects
from protocols.archive import ArchiveRecord
from protocols.effects import AnyEffect
from protocols.errors import NotFoundError, UnavailableError
from protocols.mail import AnyMail, Start

if TYPE_CHECKING:
    from runtime.daemon import Daemon

KNOWN_S: Final = 2.0
"""A mark of another daemon's partition that is older only lets a start reach its owner, who
knows better."""

Hear = Callable[[AnyMail | None, list[AnyEffect]], None]
"""Is told a message and what its fold asks for; None: a generation begins."""


class Stand(msgspec.Struct, frozen=True):
    """How a partition stands: its epochs, and what was collected of it."""

    epochs: Epochs
    mark: int
    marked_at: int


class StoredRuns:
    """Reads instances from ``mail`` and the daemon's archive. For reading only."""

    def __init__(self, daemon: Daemon, mail: DirectReader) -> None:
        self._daemon = daemon
        self._parts = daemon.parts
        self._mail = mail
        self._known: dict[int, tuple[float, Checkpoint]] = {}

    def partition_of(self, instance: str) -> int:
        """Return the partition of an instance."""
        return subjects.partition_of(instance, self._daemon.config.partitions)

    def _owned(self, partition: int) -> Partition | None:
        """Return a partition of ours, but not while somebody else may have taken it over."""
        return (
            self._parts.owner.partitions.owned.get(partition) if self._parts.leases.held else None
        )

    async def stand(self, partition: int, *, surely: bool = False) -> Stand:
        """Return how a partition stands, also one that another daemon owns.

        ``surely``: as it is stored, for who stood still with his clock and believes it is his.
        """
        owned = None if surely else self._owned(partition)
        if owned is not None and owned.begun:
            return Stand(owned.epochs, owned.mark, owned.marked_at)
        # What retention has removed stands in the checkpoint.
        checkpoint = await self._parts.checkpoints.read(partition)
        found = Epochs(checkpoint.markers)
        for each in await self._mail.subject(subjects.marker(partition)):
            parsed = parse(each, self._parts.keys)
            if type(parsed) is Marker:
                found.add(parsed.seq, parsed.epoch)
        return Stand(found, checkpoint.mark, checkpoint.marked_at)

    async def messages(self, instance: str, stand: Stand) -> list[Delivery]:
        """Return all messages of an instance that are kept, in order."""
        return (await self.box(instance, stand)).messages

    async def box(self, instance: str, stand: Stand, *, least: int = 0) -> packs.Mailbox:
        """Return the same as a mailbox, with the packs that cannot be opened.

        Raises UnavailableError when the answer does not reach the sequence ``least``.
        """
        partition = self.partition_of(instance)
        surely = False
        while True:
            stored = await self._mail.mailbox(subjects.mailbox(instance, partition))
            if least > (stored[-1].seq if stored else 0):
                raise UnavailableError(
                    "a replica of MAIL lags behind its leader", hint="try again"
                )
            box = packs.expand(stored, mark=stand.mark)
            record = await self._record(instance, stand, box.through)
            surely = surely or (record is None and not box.messages)
            mark, stand = stand.mark, await self.stand(partition, surely=surely)
            if stand.mark == mark:  # else it may have been bundled and purged between two reads
                break
        if record is None:
            return box
        history = await self._parts.archive.history(partition, instance, record.at)
        return packs.Mailbox(packs.union(history, box.messages), box.through, box.unreadable)

    async def generation(self, instance: str) -> tuple[Reading, ArchiveRecord | None]:
        """Return what a fold needs of an instance, and its record when it ended long ago."""
        partition = self.partition_of(instance)
        address = subjects.mailbox(instance, partition)
        stand = await self.stand(partition)
        surely = False
        while True:
            known, mark = stand.epochs.markers(), stand.mark
            valid = self._valid(stand.epochs)
            found = await read_generation(self._mail, address, valid, mark=stand.mark)
            record = await self._record(instance, stand, found.box.through)
            if record is not None:
                history = await self._parts.archive.history(partition, instance, record.at)
                found = await reading(packs.union(history, found.box.messages), valid)
            surely = surely or (record is None and found.snapshot is None and not found.mails)
            stand = await self.stand(partition, surely=surely)
            if stand.epochs.markers() == known and stand.mark == mark:
                # No marker came that what was read may stand behind, and nothing was bundled
                # and purged between two reads.
                return found, record

    async def fold(self, instance_id: str, definition: str = "", *, since: int = 0) -> Instance:
        """Fold an instance for reading only; with ``definition`` as a migration to it would.

        ``since`` is the switch whose definition that migration replaces.
        Raises NotFoundError when there is none, or its history is kept no longer.
        """
        found = await self.folded(instance_id, {since: definition} if definition else {})
        if isinstance(found, ArchiveRecord):
            raise NotFoundError(f"the history of {instance_id!r} is kept no longer")
        return found

    async def folded(
        self,
        instance_id: str,
        replaced: Mapping[int, str] | None = None,
        *,
        hear: Hear | None = None,
        least: int = 0,
    ) -> Instance | ArchiveRecord:
        """Return the fold of an instance, or its record when nothing else is left.

        ``replaced`` goes before the definitions of its migrations; ``hear`` is told each message
        with the effects of its fold. Raises UnavailableError when what was read does not reach
        the sequence ``least``.
        """
        owner = self._parts.owner
        found, record = await self.generation(instance_id)
        if found.newest < least:
            raise UnavailableError("a replica of MAIL lags behind its leader", hint="try again")
        snapshot, mails = found.snapshot, found.mails
        if record is not None and snapshot is None and all(type(x) is not Start for x in mails):
            return record
        if not mails and snapshot is None:
            raise NotFoundError(f"no instance {instance_id!r}", hint="movant run ls")
        await owner.activation.load(mails, snapshot)
        resolving = self._parts.values.resolving
        snapshot = await resolving.snapshot(instance_id, snapshot)
        instance = begun(
            instance_id,
            snapshot,
            self._parts.definitions.workflow,
            {**replaced_by(mails), **(replaced or {})},
        )
        instance.refolding = True
        if snapshot is not None:
            effects = owner.guard.fold(instance, None)
            if hear is not None:
                hear(None, effects)
        for number, mail in enumerate(mails, 1):
            resolved = await resolving.mail(instance_id, mail)
            effects = owner.guard.fold(instance, resolved)
            if hear is not None:
                hear(resolved, effects)
            if number % 200 == 0:
                await trio.lowlevel.checkpoint()
        return instance

    async def ended(self, instances: Iterable[str]) -> set[str]:
        """Return which ids are those of instances that ended so long ago that MAIL forgot."""
        now_ns = self._daemon.clock.now_ns()
        asked = {}
        for instance in instances:
            partition = self.partition_of(instance)
            mark, marked_at = await self._mark_of(partition)
            if mark and not is_fresh(instance, marked_at, now_ns):
                asked[subjects.done(partition, instance)] = instance
        if not asked:
            return set()
        archive = self._parts.archive
        found = await archive.records(list(asked), await archive.horizon())
        return {asked[subject] for subject in found}

    async def first_start(self, instance: str) -> Start | None:
        """Return the start that counts in a mailbox, or None."""
        partition = self.partition_of(instance)
        # By subject, not by the stream's order: that takes 40 ms among a million messages.
        stored = await self._mail.mailbox(f"movant.mail.{partition}.{instance}.start.>")
        if (await self._mark_of(partition))[0] or self._mail.floor > 1:
            stored += await self._mail.mailbox(subjects.packs(instance, partition))
        return first_start(stored, self._parts.keys)

    async def _mark_of(self, partition: int) -> tuple[int, int]:
        """Return a mark and the time of what is below; of another daemon as it was lately."""
        owned = self._owned(partition)
        if owned is not None:
            return owned.mark, owned.marked_at
        now = self._daemon.clock.monotonic()
        at, checkpoint = self._known.get(partition, (float("-inf"), Checkpoint()))
        if now - at > KNOWN_S:
            checkpoint = await self._parts.checkpoints.read(partition)
            self._known[partition] = (now, checkpoint)
        return checkpoint.mark, checkpoint.marked_at

    async def _record(self, instance: str, stand: Stand, through: int) -> ArchiveRecord | None:
        """Return the record of an instance whose history may have left MAIL, if it has one."""
        mark = max(stand.mark, self._mail.floor)
        if mark <= through + 1:
            return None
        record = await self._parts.archive.record(self.partition_of(instance), instance, None)
        return None if record is None or record.at >= mark else record

    def _valid(self, epochs: Epochs) -> Callable[[Sequence[Delivery]], list[AnyMail]]:
        keys = self._parts.keys

        def valid(stored: Sequence[Delivery]) -> list[AnyMail]:
            parsed = (parse(each, keys) for each in stored)
            letters = (each.mail for each in parsed if type(each) is Letter)
            return [each for each in letters if not is_void(epochs, each)]

        return valid
