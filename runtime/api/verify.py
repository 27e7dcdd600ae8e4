"""RunVerification: reads all that is stored of an instance, folds it again, and compares.

    EVENTS -> ARCHIVE -> MAIL -> folds -> ``actors.views.verification.compare``

In this order: a statement that was read never names a message that was written later than what
is read of MAIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Letter
from actors.owning.partitions import is_void
from actors.store.direct_reader import DirectReader
from actors.views.refolding import Refolded, eras, refold
from actors.views.verification import Stand, compare
from protocols import subjects
from protocols.api import runs as api
from protocols.errors import NotFoundError, UnavailableError
from protocols.mail import AnyMail, Snapshot
from runtime.stored import StoredRuns

if TYPE_CHECKING:
    from runtime.daemon import Daemon

FOLDS_A_SLICE: Final = 200
FINDINGS_MAX: Final = 1_000
TRIES: Final = 5
PAUSE_S: Final = 0.2
"""A replica that lags, or an owner that changes, is over within this, mostly."""


class RunVerification:
    """Verifies instances. It writes nothing."""

    def __init__(
        self, daemon: Daemon, mail: DirectReader, archive: DirectReader, events: DirectReader
    ) -> None:
        self._parts = daemon.parts
        self._clock = daemon.clock
        self._mail = mail
        self._stored = StoredRuns(daemon, mail)
        self._archive = archive
        self._events = events

    async def verify(self, request: api.RunVerify) -> api.Message:
        """Fold an instance again and compare with its statements and its record."""
        subjects.check_id(request.id)
        for number in range(TRIES):
            try:
                return await self._verify(request.id)
            except UnavailableError:
                if number + 1 == TRIES:
                    raise
                await trio.sleep(PAUSE_S)
        raise AssertionError("the last try returns or raises")

    async def _verify(self, instance: str) -> api.RunVerified:
        stand, mark = await self._read(instance)
        parts = eras(stand.mails, mark)
        for era in parts:
            await self._parts.owner.activation.load(era.mails, era.snapshot)
        refolded = Refolded()
        load, fold = self._parts.definitions.workflow, self._parts.owner.guard.fold
        folds = refold(instance, parts, load, fold, refolded)
        given: AnyMail | Snapshot | None = None
        number = 0
        while True:
            try:
                asked = folds.send(given)
            except StopIteration:
                break
            given = await self._resolved(instance, asked)
            number += 1
            if number % FOLDS_A_SLICE == 0:
                await trio.lowlevel.checkpoint()
        last = refolded.last
        assert last is not None, "there is always an era"
        # Some seconds for the largest mailboxes; the daemon goes on meanwhile.
        found = await trio.to_thread.run_sync(compare, stand, refolded)
        notes = found.notes
        if last.blocked is not None:
            notes = [*notes, f"it is blocked: {last.blocked.reason}: {last.blocked.message}"]
        if len(found.findings) > FINDINGS_MAX:
            notes = [*notes, f"{len(found.findings) - FINDINGS_MAX} more findings are left out"]
        return api.RunVerified(
            id=instance,
            status=last.status,
            messages=len(stand.mails),
            covered=found.covered,
            statements=len(refolded.statements),
            published=found.published,
            head=last.witness.hash,
            findings=found.findings[:FINDINGS_MAX],
            notes=notes,
        )

    async def _resolved(self, instance: str, asked: AnyMail | Snapshot) -> AnyMail | Snapshot:
        resolving = self._parts.values.resolving
        if isinstance(asked, Snapshot):
            return await resolving.snapshot(instance, asked) or asked
        return await resolving.mail(instance, asked)

    async def _read(self, instance: str) -> tuple[Stand, int]:
        """Return what is stored of an instance, and the mark of its partition."""
        partition = self._stored.partition_of(instance)
        oldest = await self._events.batch(">", 0, 1)
        events = await self._events.mailbox(f"movant.event.*.{instance}.*")
        records = await self._archive.last([subjects.done(partition, instance)])
        before = await self._stored.stand(partition)
        least = await self._mail.newest(subjects.mailbox(instance, partition))
        box = await self._stored.box(instance, before, least=least)
        after = await self._stored.stand(partition)
        if (after.epochs.markers(), after.mark) != (before.epochs.markers(), before.mark):
            raise UnavailableError(f"partition {partition} changes hands", hint="try again")
        if not (box.messages or box.unreadable or records or events):
            raise NotFoundError(f"no instance {instance!r}", hint="movant run ls")
        mails: list[AnyMail] = []
        wrong: dict[int, str] = {}
        for start in range(0, len(box.messages), FOLDS_A_SLICE):
            for each in box.messages[start : start + FOLDS_A_SLICE]:
                parsed = parse(each, self._parts.keys)
                if isinstance(parsed, DeadLetter):
                    wrong[each.seq] = f"{parsed.reason}: {parsed.detail}"
                elif isinstance(parsed, Letter) and is_void(after.epochs, parsed.mail):
                    wrong[each.seq] = "it stands behind the marker of a newer owner"
                elif isinstance(parsed, Letter):
                    mails.append(parsed.mail)
            await trio.lowlevel.checkpoint()
        now = self._clock.now_ns()
        stand = Stand(
            instance=instance,
            messages=box.messages,
            mails=mails,
            wrong=wrong,
            packs=box.unreadable,
            events=events,
            archived=records[0] if records else None,
            mark=after.mark,
            events_from=oldest[0].at if oldest else now,
            now=now,
        )
        return stand, after.mark
