"""Activation: make an actor from its stored mailbox.

A read may come from a follower, whose log is a prefix of the truth. It is complete only when
it contains the message that made somebody ask (hazard S6), so it is repeated until it does.
Nothing above the reader's position is folded: behind it there may be a marker that makes an
owner message void.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from actors.definitions import Definitions
from actors.direct_reader import DirectReader
from actors.fold_guard import FoldGuard
from actors.generations import begun, definition_of, read_generation, sifted
from actors.inbound import Delivery, Letter, parse
from actors.workflow import WorkflowActor
from protocols.effects import AnyEffect
from protocols.errors import MovantError, RefusedError
from protocols.mail import AnyMail, Continued, Migrate, Pinned, Snapshot, Start, Woken
from protocols.subjects import mailbox
from protocols.tokens import KeyRing

PAUSE_S: Final = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
FOLDS_A_SLICE: Final = 200
"""Folds between two checkpoints of the loop: a long mailbox must not hold up the others."""

log = structlog.get_logger()


class Home(Protocol):
    """What an activation needs to know of the owner."""

    guard: FoldGuard

    async def settled_in(self, partition: int) -> None:
        """Wait until the tail of a partition is read, or is not read any more."""
        ...

    def handed(self, partition: int) -> int:
        """Return the position up to which the markers of a partition are known."""
        ...

    def is_void(self, partition: int, mail: AnyMail) -> bool:
        """Tell whether a message stands behind a marker with a higher epoch."""
        ...

    def is_ours(self, partition: int, seq: int) -> bool:
        """Tell whether a sequence stands behind our own marker: nobody else acted on it."""
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
        self, home: Home, mailboxes: DirectReader, definitions: Definitions, keys: KeyRing
    ) -> None:
        self._home = home
        self._mailboxes = mailboxes
        self._definitions = definitions
        self._keys = keys
        self.count = 0

    async def run(self, actor: WorkflowActor) -> None:
        """Bring an actor up to date: fold what is stored until nothing is missing."""
        self.count += 1
        # What the tail brings would have to be read again for each of its instances.
        await self._home.settled_in(actor.partition)
        tries = 0
        while not actor.gone and not await self._once(actor):
            await trio.sleep(PAUSE_S[min(tries, len(PAUSE_S) - 1)])
            tries += 1

    async def _once(self, actor: WorkflowActor) -> bool:
        """Fold what is stored now; False when it has to be looked at again."""
        instance = actor.instance
        folded = instance.folded
        least = actor.needed
        try:
            if not least:  # no message asked for it: the leader tells what is the newest
                least = await self._mailboxes.newest(mailbox(actor.id, actor.partition))
            newest, snapshot, mails = await self._read(actor)
        except MovantError as error:
            log.warning("activation.waiting", run=actor.id, reason=str(error))
            return False
        if actor.gone or max(newest, folded) < max(least, actor.needed):
            return False
        if folded and definition_of(mails) not in {"", instance.definition}:
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
            definition = definition_of(mails)
            actor.instance = begun(actor.id, snapshot, self._definitions.workflow, definition)
        return await self._fold(actor, [None, *mails] if begin else mails, parked)

    async def _read(self, actor: WorkflowActor) -> tuple[int, Snapshot | None, list[AnyMail]]:
        """Read what is not folded yet, from the newest generation on when that is all."""
        address = mailbox(actor.id, actor.partition)
        valid = partial(self._mails, actor)
        if not actor.instance.folded:
            return await read_generation(self._mailboxes, address, valid)
        stored = await self._mailboxes.mailbox(address, after=actor.instance.folded)
        return stored[-1].seq if stored else 0, None, await sifted(stored, valid)

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
        parked = set(actor.never_sent)
        for mail in mails:
            if type(mail) is not Woken:
                actor.wake_number = actor.woken_number = 0
                continue
            actor.wake_number = actor.woken_number = mail.number
            if mail.seq >= actor.threshold:
                actor.threshold = min(actor.threshold, mail.since)
                if self._home.is_ours(actor.partition, mail.seq):
                    parked.update(mail.parked)
        return parked

    async def load(self, mails: Iterable[AnyMail], snapshot: Snapshot | None = None) -> bool:
        """Load the definitions that messages name; False when the store does not answer."""
        named = [snapshot.definition] if snapshot is not None else []
        named += [each.definition for each in mails if isinstance(each, Start | Pinned | Migrate)]
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
            for number, mail in enumerate(mails, 1):
                effects += self._home.guard.fold(instance, mail)
                if number % FOLDS_A_SLICE == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            instance.refolding = False
        return effects
