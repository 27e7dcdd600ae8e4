"""Late: what comes for an instance that ended so long ago that only its record is left.

start with a parent   the parent is told: the result if it asked for it, else that the id is
                      another run's
start                 counted; the API answers from the record before it writes one
success of a service  counted, and published: it may have had an effect that nobody knows
anything else         counted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.owning.spawning import taken
from actors.store.blobs import Blobs
from actors.store.stream_writer import StreamWriter
from protocols import subjects
from protocols.archive import ArchiveRecord
from protocols.blobs import BLOB, Blob
from protocols.errors import MovantError, OverloadedError, UnavailableError
from protocols.events import LATE, Event, to_wire
from protocols.headers import encode
from protocols.mail import AnyMail, Parent, Reply, Start
from protocols.ports import Outgoing

RETRY_S: Final = 0.1

log = structlog.get_logger()


class Late:
    """Deals with late messages."""

    def __init__(self, writers: Mapping[str, StreamWriter], blobs: Blobs) -> None:
        self._mail = writers["MAIL"]
        self._blobs = blobs
        self._events = writers["EVENTS"]
        self.counts: Counter[str] = Counter()
        """Late messages by kind."""

    async def take(self, record: ArchiveRecord, mails: Iterable[AnyMail]) -> None:
        """Return when everybody who has to know has been told."""
        for mail in mails:
            kind = mail.__struct_config__.tag
            self.counts[str(kind)] += 1
            log.info("letter.late", run=record.id, kind=kind, seq=mail.seq)
            if type(mail) is Start and mail.parent is not None:
                if record.blob is not None:
                    await self._hand_on(record.id, mail.parent.instance, record.blob)
                await _written(self._mail, answer(record, mail, mail.parent))
            elif type(mail) is Reply and mail.failure is None:
                self.counts["success"] += 1
                await _written(self._events, self._event(record, mail))

    async def _hand_on(self, child: str, parent: str, blob: Blob) -> None:
        """Give a parent the result of its child; one that is lost blocks it, and says so."""
        while True:
            try:
                content = await self._blobs.get(child, blob)
                await self._blobs.put(parent, content, limited=False)
            except UnavailableError as error:  # told now, the parent would find nothing
                log.warning("blob.waiting", run=parent, reason=error.message)
                await trio.sleep(RETRY_S)
                continue
            except MovantError as error:
                log.error("late.blob", run=child, reason=error.message)
            return

    def _event(self, record: ArchiveRecord, mail: Reply) -> Outgoing:
        event = Event(
            id=f"{record.id}/{LATE}/{mail.step}/{mail.attempt}",
            kind=LATE,
            workflow=record.workflow,
            instance=record.id,
            at=mail.at,
            data={
                "step": mail.step,
                "attempt": mail.attempt,
                "seq": mail.seq,
                # What is left to undo is known by a fold of its history, as long as that is kept.
                **({"next": f"movant run undo {record.id}"} if record.steps else {}),
            },
        )
        lines, payload = to_wire(event)
        subject = subjects.event(record.workflow, record.id, LATE)
        return Outgoing(subject, payload, encode(lines))


def answer(record: ArchiveRecord, start: Start, parent: Parent) -> Outgoing:
    """Return what a parent is told whose child's id belongs to an instance that has ended."""
    if not start.message_id or start.message_id != record.start_id:
        return taken(parent, record.id)
    body: dict[str, Any] = {
        "step": subjects.step_token(parent.path),
        "child": record.id,
        "status": record.status,
        "failure": record.failure,
        "result": record.result,
    }
    if record.blob is not None:
        body |= {"result": record.blob, "content_type": BLOB}
    return Outgoing(subjects.to_owner(parent.instance, "child"), msgspec.json.encode(body))


async def _written(writer: StreamWriter, message: Outgoing) -> None:
    done = trio.Event()

    def told(_: int, error: MovantError | None) -> None:
        if error is not None:
            log.error("late.refused", subject=message.subject, reason=str(error))
        done.set()

    while True:
        try:
            writer.write(message, told)
        except OverloadedError:
            await trio.sleep(RETRY_S)
        else:
            await done.wait()
            return
