"""Intake: what the readers read, in order, brought to the actors of an owner.

    reader -> take() -> letters -> Owner
                 '- markers: our own begins a partition, a higher one ends it
                 '- dead letters

It never waits and never raises for foreign input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery, Letter, Marker, Pack
from actors.owning.owner import Owner
from actors.owning.partitions import Partition
from protocols.headers import ignored
from protocols.mail import AnyMail, Reply
from protocols.tokens import KeyRing

IGNORED_MAX: Final = 100
"""Names of headers that are told: each has very many ways to be written."""

log = structlog.get_logger()


class Intake:
    """Takes what was read of MAIL.

    ``dead`` is told each message that no fold can take, ``lost`` that the marker of a newer owner
    was read.
    """

    def __init__(
        self,
        owner: Owner,
        keys: KeyRing,
        *,
        dead: Callable[[DeadLetter], None],
        lost: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._partitions = owner.partitions
        self._keys = keys
        self._dead = dead
        self._lost = lost
        self.void = self.dead = 0
        """Messages that counted for no fold since the start."""
        self._ignored: set[str] = set()

    def take(self, batch: Sequence[Delivery]) -> None:
        """Hand each message to its actor. Never waits and never raises for foreign input."""
        owner = self._owner
        live = owner.live
        keys = self._keys
        owned = self._partitions.owned
        again_to = self._partitions.again_to
        for delivery in batch:
            if delivery.seq <= again_to and self._partitions.knows(delivery.subject, delivery.seq):
                continue  # cheaper than to parse it: after a takeover there are many
            parsed = parse(delivery, keys)
            if isinstance(parsed, Letter):
                partition = owned.get(parsed.partition)
                if partition is None:
                    self._foreign(parsed, delivery)
                    continue
                if delivery.seq <= partition.handed:
                    continue
                partition.handed = delivery.seq
                mail = parsed.mail
                if type(mail) is not Reply and self._is_void(mail, partition, delivery):
                    self.void += 1
                    continue
                actor = live.get(parsed.instance)
                if actor is None:
                    actor = owner.arrive(parsed, delivery)
                if actor is not None:
                    owner.hand(actor, mail)
            else:
                self._odd(parsed)

    def take_all(self, batch: Sequence[Delivery]) -> None:
        """Take what a reader of the whole stream read: it moves every partition's position."""
        self.take(batch)
        self._partitions.everywhere = batch[-1].seq

    def _is_void(self, mail: AnyMail, partition: Partition, delivery: Delivery) -> bool:
        """Tell whether a message counts for no fold; look at the headers of one without an id."""
        if delivery.headers and not getattr(mail, "message_id", True):
            self._look(delivery)
        return partition.is_void(mail)

    def _look(self, delivery: Delivery) -> None:
        # Who writes Movant-Id as it is writes the others so: most messages are not searched.
        name = ignored(delivery.headers)
        if name and name not in self._ignored and len(self._ignored) < IGNORED_MAX:
            self._ignored.add(name)
            log.warning("letter.header_ignored", header=name, subject=delivery.subject)

    def _foreign(self, letter: Letter, delivery: Delivery) -> None:
        """Leave a letter to the owner of its partition, when there is such a partition."""
        if letter.partition >= self._partitions.count:
            self.dead += 1
            self._dead(DeadLetter(delivery, "stray", "there is no such partition"))

    def _odd(self, parsed: Marker | Pack | DeadLetter) -> None:
        """Take a marker, or put away what no fold can take, once though it is read again."""
        if isinstance(parsed, Pack):
            self._pack(parsed)
            return
        if isinstance(parsed, Marker):
            self._mark(parsed)
            return
        partition = self._partitions.owned.get(parsed.partition)
        if partition is not None:
            if parsed.delivery.seq <= partition.handed:
                return
            partition.handed = parsed.delivery.seq
        elif 0 <= parsed.partition < self._partitions.count:
            return
        self.dead += 1
        self._dead(parsed)

    def _pack(self, pack: Pack) -> None:
        """Pass over a pack: its copies are folded already, or read with its mailbox."""
        partition = self._partitions.owned.get(pack.partition)
        if partition is not None:
            partition.handed = max(partition.handed, pack.seq)

    def _mark(self, marker: Marker) -> None:
        found = self._partitions.owned.get(marker.partition)
        if found is None or marker.seq <= found.handed:
            return
        found.handed = marker.seq
        if self._partitions.mark(marker) is None:
            return
        if marker.epoch > found.epoch:
            log.warning(
                "partition.lost", partition=found.number, epoch=found.epoch, to=marker.daemon
            )
            self._owner.forget(found.number)
            self._lost()
        else:
            self._owner.begun(found)
