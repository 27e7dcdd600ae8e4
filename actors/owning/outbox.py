"""Outbox: turns effects that are not requests into acknowledged messages.

    Arm -> TIMERS | Emit -> EVENTS | Finish -> ARCHIVE | Send, Spawn, CancelChild -> MAIL

Each has an identity that is the same at every fold, so that a repeat after a crash is dropped
by whoever receives it. ``settled`` is told when the server has acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog
import trio

from actors.kernel.instance import Instance
from actors.owning.detours import Detours, Reference
from actors.owning.inbound import WAKE
from actors.owning.spawning import Spawning
from actors.owning.workflow import WorkflowActor
from actors.store.storing import REFERENCE_LINES, Storing
from actors.store.stream_writer import StreamWriter, Written
from protocols import codec, subjects
from protocols import headers as h
from protocols.archive import ArchiveRecord, Wake
from protocols.blobs import BLOB, INLINE_BYTES_MAX, blob_of, reference
from protocols.compensation import StepFate
from protocols.effects import (
    FINAL,
    AnyEffect,
    Arm,
    CancelChild,
    Emit,
    Finish,
    Send,
    Spawn,
    UndoChild,
)
from protocols.errors import AlreadyExistsError, InternalError, MovantError
from protocols.events import SOURCE_PREFIX, TYPE_PREFIX, TYPE_VERSION, percent_encode, to_time
from protocols.failure import Failure
from protocols.mail import Parent
from protocols.ports import Outgoing
from protocols.witness import Statement

FIRED_TTL_S: Final = 86_400
"""A firing is imported by MAIL within a second, and purged when a pass meets it there; this
bounds what TIMERS keeps without one."""
RESULT_IN_EVENT_BYTES_MAX: Final = 32_768
"""Larger results are read from the archive."""
_EXPECTATION_LINES: Final = 2
_REFERENCE: Final = f": {BLOB}\r\n".encode()
RECORDED_LOOK_S: Final = 0.01
LIFECYCLE: Final = frozenset({"started", "blocked", *FINAL})

log = structlog.get_logger()

Settled = Callable[[WorkflowActor, Any, MovantError | None], None]


class LifecycleData(msgspec.Struct, omit_defaults=True):
    """Payload of a lifecycle event."""

    id: str
    workflow: str
    status: str
    definition: str = ""
    started_at: int = 0
    finished_at: int = 0
    result: msgspec.Raw = msgspec.Raw()
    failure: Failure | None = None
    reason: str = ""
    steps: tuple[StepFate, ...] = ()
    witness: Statement | None = None


class Outbox:
    """Writes effects to their streams."""

    def __init__(
        self,
        writers: Mapping[str, StreamWriter],
        settled: Settled,
        spawning: Spawning,
        *,
        position: Callable[[int], int],
        undo: Callable[[UndoChild, int, Written], None],
        storing: Storing,
    ) -> None:
        """Take ``position``, which returns that of a partition.

        ``undo`` undoes a child, with a priority, and tells when that is under way.
        """
        self._undo = undo
        self._detours = Detours(storing, self._write)
        self._spawning = spawning
        self._position = position
        self._recording: dict[int, None] = {}
        self._recorded = 0
        self._mail = writers["MAIL"]
        self._timers = writers["TIMERS"]
        self._events = writers["EVENTS"]
        self._archive = writers["ARCHIVE"]
        self._settled = settled
        self.ended: Callable[[str], None] = lambda _: None
        """Told the workflow of each run whose record is written."""

    def perform(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        """Write one effect; the actor's ``unsettled`` holds it until it is acknowledged."""
        if not self._detours.takes(actor, effect):
            self._write(actor, effect)

    def _write(self, actor: WorkflowActor, effect: AnyEffect) -> None:
        match effect:
            case Arm():
                self._arm(actor, effect)
            case Emit():
                self._emit(actor, effect)
            case Finish():
                self._finish(actor, effect)
            case Send():
                self._mail.write(
                    _mail(subjects.to_signal(effect.to, effect.name), effect.body, effect.id),
                    self._told(actor, effect),
                )
            case UndoChild():
                start = actor.instance.start
                priority = 0 if start is None else start.priority
                self._undo(effect, priority, self._told(actor, effect))
            case Spawn():
                start = actor.instance.start
                if start is not None and (start.priority or start.traceparent):
                    effect = msgspec.structs.replace(
                        effect, priority=start.priority, traceparent=start.traceparent
                    )
                self._spawning.start(effect, self._told(actor, effect))
            case CancelChild():
                self._mail.write(
                    _mail(
                        subjects.to_control(effect.child, "cancel"),
                        codec.encode(effect.reason),
                        effect.id,
                    ),
                    self._told(actor, effect),
                )
            case _:
                raise InternalError(f"{type(effect).__name__} is not for the outbox")

    async def recorded(self) -> None:
        """Wait until every record that is under way now is acknowledged."""
        last = self._recorded
        # Polled, as an event per record would be paid by every instance that ends.
        while self._recording and next(iter(self._recording)) <= last:  # noqa: ASYNC110
            await trio.sleep(RECORDED_LOOK_S)

    def wake(self, actor: WorkflowActor, wake: Wake, due: int, written: Written) -> None:
        """Arm a wake of an instance; it replaces the one before it and covers what that did."""
        self._timers.write(
            schedule(actor.partition, actor.id, WAKE, due, msgspec.json.encode(wake)), written
        )

    def decision(
        self, actor: WorkflowActor, kind: str, body: Mapping[str, Any], written: Written
    ) -> None:
        """Write what the owner decided about an instance."""
        self._mail.write(
            Outgoing(subjects.to_owner(actor.id, kind), msgspec.json.encode(body)), written
        )

    def _told(self, actor: WorkflowActor, effect: AnyEffect) -> Written:
        identity = effect.identity
        return lambda _, error: self._settled(actor, identity, error)

    def _arm(self, actor: WorkflowActor, effect: Arm) -> None:
        self._timers.write(
            schedule(actor.partition, actor.id, effect.name, effect.due, b"{}"),
            self._told(actor, effect),
        )

    def _emit(self, actor: WorkflowActor, effect: Emit) -> None:
        instance = actor.instance
        large = type(effect.body) is Reference
        payload = bytes(effect.body) if large else event_payload(instance, effect)
        message = self._event(
            instance.workflow, actor.id, effect.event, effect.id, instance.now, payload
        )
        if large:
            message.headers = message.headers.replace(b": application/json\r\n", _REFERENCE)
        self._events.write(message, self._told(actor, effect))

    def _event(  # noqa: PLR0917  # private, and called for every event
        self, workflow: str, instance: str, kind: str, event_id: str, at: int, payload: bytes
    ) -> Outgoing:
        """Return an event as ``protocols.events.to_wire`` does, at a tenth of its cost."""
        lines = (
            f"Content-Type: application/json\r\nce-specversion: 1.0\r\n"
            f"ce-id: {percent_encode(event_id)}\r\nce-type: {TYPE_PREFIX}{kind}{TYPE_VERSION}\r\n"
            f"ce-source: {SOURCE_PREFIX}{workflow}\r\nce-subject: {instance}\r\n"
            f"ce-time: {to_time(at)}\r\nce-datacontenttype: application/json\r\n"
        )
        return Outgoing(subjects.event(workflow, instance, kind), payload, lines.encode())

    def _finish(self, actor: WorkflowActor, effect: Finish) -> None:
        record = record_of(actor.instance, effect, self._position(actor.partition))
        told = self._told(actor, effect)
        number = self._recorded = self._recorded + 1
        self._recording[number] = None

        def archived(seq: int, error: MovantError | None) -> None:
            self._recording.pop(number, None)
            self.ended(actor.instance.workflow)
            if isinstance(error, AlreadyExistsError):
                error = None  # a repeat after a crash: the record stands already
            if error is None and effect.parent is not None:
                self._report(actor, effect, effect.parent, told)
            else:
                told(seq, error)

        self._archive.write(
            Outgoing(
                subjects.done(actor.partition, actor.id),
                msgspec.json.encode(record),
                b"Nats-Expected-Last-Subject-Sequence: 0\r\n",
            ),
            archived,
        )

    def _report(
        self, actor: WorkflowActor, effect: Finish, parent: Parent, written: Written
    ) -> None:
        """Tell the parent. No epoch: the result is a fold of valid messages, the same for all."""
        body: dict[str, Any] = {
            "step": subjects.step_token(parent.path),
            "child": actor.id,
            "status": effect.status,
            "failure": effect.failure,
        }
        if effect.body:
            body["result"] = msgspec.Raw(effect.body)
        if type(effect.body) is Reference:
            body["content_type"] = BLOB
        self._mail.write(
            Outgoing(subjects.to_owner(parent.instance, "child"), msgspec.json.encode(body)),
            written,
        )


def record_of(instance: Instance, effect: Finish, position: int) -> ArchiveRecord:
    """Return the record of an instance that has ended."""
    witness = instance.witness
    blob = None
    if type(effect.body) is Reference:
        blob = reference(effect.body)
    elif len(effect.body) > INLINE_BYTES_MAX:
        blob = blob_of(effect.body)
    return ArchiveRecord(
        id=instance.id,
        workflow=instance.workflow,
        definition=instance.definition,
        status=effect.status,
        started_at=instance.started_at,
        finished_at=instance.finished_at,
        through=effect.cause,
        position=position,
        start_id=instance.start.message_id if instance.start else "",
        result=msgspec.Raw(b"null" if blob is not None else effect.body or b"null"),
        blob=blob,
        failure=effect.failure,
        steps=effect.steps,
        statements=witness.number,
        head=witness.hash,
        kept_s=instance.kept_s,
    )


def event_payload(instance: Instance, effect: Emit) -> bytes:
    """Return the payload of an event of an instance, as it stands right behind its fold."""
    statement = effect.statement
    if effect.event in LIFECYCLE:
        # Of then: what is published again may stand before a switch to another one.
        definition = instance.definition if statement is None else statement.definition
        body = msgspec.json.encode(lifecycle(instance, effect.event, definition))
        if statement is None:
            return body
    elif statement is None:
        return effect.body or codec.encode(effect.data)
    elif not effect.data or "witness" in effect.data:
        return msgspec.json.encode({**effect.data, "witness": statement.statement()})
    else:
        body = effect.body or msgspec.json.encode(effect.data)
    # The same bytes as of all in one for half of the work: the statement is encoded already.
    return b'%b,"witness":%b}' % (body[:-1], statement.encoded())


def lifecycle(instance: Instance, kind: str, definition: str) -> LifecycleData:
    """Return the payload of a lifecycle event, but for the statement."""
    data = LifecycleData(
        id=instance.id,
        workflow=instance.workflow,
        status="running" if kind == "started" else kind,
        definition=definition,
        started_at=instance.started_at,
    )
    if kind == "blocked" and instance.blocked is not None:
        data.reason = f"{instance.blocked.reason}: {instance.blocked.message}"
    elif kind != "started":
        data.finished_at = instance.finished_at
        data.failure = instance.failure
        data.steps = instance.steps
        if instance.result and len(instance.result) <= RESULT_IN_EVENT_BYTES_MAX:
            data.result = msgspec.Raw(instance.result)
    return data


def schedule(partition: int, instance: str, name: str, due: int, payload: bytes) -> Outgoing:
    """Return the message that arms a timer. ``due`` is in nanoseconds since 1970."""
    lines = (
        f"Nats-Schedule: @at {to_time(due)}\r\n"
        f"Nats-Schedule-Target: {subjects.fired(partition, instance, name)}\r\n"
        f"Nats-Schedule-TTL: {FIRED_TTL_S}s\r\n"
    )
    return Outgoing(subjects.timer(partition, instance, name), payload, lines.encode())


def first_of(instance: str, partitions: int) -> bytes:
    """Return header lines that let the server store a message only as a mailbox's first.

    They stay in the stored message: whoever reads it knows that nothing stood before it.
    """
    partition = subjects.partition_of(instance, partitions)
    return (
        f"{h.EXPECTED_SEQUENCE}: 0\r\n"
        f"{h.EXPECTED_SUBJECT}: {subjects.mailbox(instance, partition)}\r\n"
    ).encode()


def is_first(raw: bytes, instance: str, partitions: int) -> bool:
    """Tell whether stored headers prove that nothing stood before the message."""
    if b"-Sequence: 0\r\n" not in raw:
        return False
    # The server reads the first line of a name: another one before ours would be what it checked.
    return (
        b"\r\n" + first_of(instance, partitions) in raw
        and raw.count(h.EXPECTED_SEQUENCE.encode()) == _EXPECTATION_LINES
    )


def _mail(subject: str, body: bytes, message_id: str) -> Outgoing:
    lines = REFERENCE_LINES if type(body) is Reference else b""
    return Outgoing(subject, body, lines + h.encode({h.MESSAGE_ID: message_id}))


def _ignore(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.warning("event.lost", reason=str(error))


__all__ = [
    "Outbox",
    "event_payload",
    "first_of",
    "is_first",
    "lifecycle",
    "record_of",
    "schedule",
]
