"""From a stored message to Mail: parse, check, or say why it is a dead letter.

This is the one place where bytes of strangers become messages of ours. It is pure, never
raises for foreign input, and answers the same for the same bytes: the fold depends on it.
"""

from __future__ import annotations

import re
from typing import Final, cast
from urllib.parse import unquote

import msgspec

from actors.owning.control import VERBS, control, operator
from actors.owning.letters import DeadLetter, Delivery, Letter, Marker, Pack, Parsed
from actors.owning.replies import failure_of, is_stream_ack, oddity
from actors.views.leaves import leaf_of
from protocols import headers as h
from protocols.blobs import BLOB, LARGE, reference
from protocols.codec import decode, encode
from protocols.errors import MovantError
from protocols.failure import PROTOCOL, Failure
from protocols.flow import priority_of
from protocols.mail import (
    KERNEL,
    AnyMail,
    AttemptRefused,
    AttemptTimedOut,
    ChildEnded,
    Continued,
    Fired,
    Parent,
    Pinned,
    Reply,
    Routed,
    Signal,
    Snapshot,
    Start,
    Turn,
    TurnWord,
    Woken,
)
from protocols.routes import Scored
from protocols.subjects import (
    OWNER_TOKEN,
    is_id,
    is_name,
    is_number,
    is_step_name,
    step_token,
)
from protocols.tokens import KeyRing

WAKE: Final = "_wake"
"""Name of the timer that is no timer of the workflow but a reminder for its owner."""
_STREAM_ACK: Final = b'{"stream":'
_NOTABLE: Final = re.compile(rb"\r\n(?:Nats-Service-Error|Movant-|Content-Type)", re.IGNORECASE)
_KERNELS: Final = frozenset(str(each) for each in range(1, KERNEL + 1))


class _MarkerBody(msgspec.Struct):
    epoch: int
    daemon: str = ""


class _TimerBody(msgspec.Struct):
    number: int = 0
    epoch: int = 0
    since: int = 0
    parked: tuple[str, ...] = ()


class _OwnerBody(msgspec.Struct):
    """All fields of owner messages; each kind has its own required ones."""

    epoch: int = 0
    definition: str = ""
    kernel: int = 1
    libraries: dict[str, str] = {}
    step: str = ""
    attempt: int = 0
    failure: Failure | None = None
    child: str = ""
    status: str = ""
    result: msgspec.Raw = msgspec.Raw()
    content_type: str = ""
    service: str = ""
    candidates: tuple[Scored, ...] = ()
    reason: str = ""
    word: TurnWord = TurnWord(said="queued")


class _ContinuedBody(msgspec.Struct):
    epoch: int
    generation: int
    through: int
    snapshot: Snapshot


_marker_decoder: Final = msgspec.json.Decoder(_MarkerBody)
_timer_decoder: Final = msgspec.json.Decoder(_TimerBody)
_owner_decoder: Final = msgspec.json.Decoder(_OwnerBody)
_continued_decoder: Final = msgspec.json.Decoder(_ContinuedBody)


def parse(delivery: Delivery, keys: KeyRing) -> Parsed:
    """Return what a stored message is."""
    tokens = delivery.subject.split(".")
    if len(tokens) < 4 or tokens[1] != "mail":  # noqa: PLR2004 - movant.mail.<p>.<id>
        return DeadLetter(delivery, "stray", "the subject names no mailbox")
    instance = tokens[3]
    if not is_number(tokens[2]):
        return DeadLetter(delivery, "stray", "the subject names no partition")
    partition = int(tokens[2])
    if instance == OWNER_TOKEN and len(tokens) == 4:  # noqa: PLR2004 - and nothing behind it
        return _marker(delivery, partition)
    if not is_id(instance):
        return DeadLetter(delivery, "id", f"{instance[:60]!r} is no valid id")
    if len(tokens) < 6:  # noqa: PLR2004 - … <kind>.<name>
        return DeadLetter(delivery, "stray", "the subject has no kind and name")
    try:
        mail = _mail(delivery, instance, tokens, keys)
    except (
        MovantError,
        msgspec.MsgspecError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        return DeadLetter(delivery, "value", str(error)[:300])
    kind = type(mail)
    if kind is DeadLetter or kind is Pack:
        return cast("DeadLetter | Pack", mail)
    if kind is not Woken:
        # Nobody else has it yet, and every kind of mail has it.
        msgspec.structs.force_setattr(mail, "leaf", leaf_of(delivery))
    return Letter(partition, instance, cast("AnyMail", mail))


def _mail(
    delivery: Delivery, instance: str, tokens: list[str], keys: KeyRing
) -> AnyMail | Pack | DeadLetter:
    match tokens[4]:
        case "reply":
            return _reply(delivery, instance, tokens, keys)
        case "signal":
            return _signal(delivery, tokens)
        case "start":
            return _start(delivery, instance, tokens, keys)
        case "timer":
            return _timer(delivery, tokens)
        case "owner":
            return _owner(delivery, tokens)
        case "control":
            return _control(delivery, tokens)
        case "pack":
            return Pack(delivery.seq, int(tokens[2]), instance)
        case kind:
            return DeadLetter(delivery, "kind", f"{kind[:60]!r} is no kind of message")


def _reply(
    delivery: Delivery, instance: str, tokens: list[str], keys: KeyRing
) -> Reply | DeadLetter:
    if len(tokens) != 8 or not is_number(tokens[6]):  # noqa: PLR2004
        return DeadLetter(delivery, "stray", "a reply needs <step>.<attempt>.<token>")
    step, attempt = tokens[5], int(tokens[6])
    if not keys.verify(tokens[7], instance, step, attempt):
        return DeadLetter(delivery, "token", "the reply token is not of this attempt")
    payload = delivery.payload
    if payload.startswith(_STREAM_ACK) and is_stream_ack(payload):
        return DeadLetter(
            delivery, "puback", "a stream answered instead of the service: it captures its subject"
        )
    content_type = odd = ""
    failure = None
    if delivery.headers and _NOTABLE.search(delivery.headers):
        found = h.decode(delivery.headers)
        if found is None:
            return DeadLetter(delivery, "headers", "the header block cannot be read")
        content_type = _content_type(found)
        odd = oddity(found)
        failure = failure_of(found, payload, content_type)
        if content_type == BLOB and failure is None:
            reference(payload)
    return Reply(
        seq=delivery.seq,
        at=delivery.at,
        step=step,
        attempt=attempt,
        body=b"" if failure else payload,
        content_type=content_type,
        failure=failure,
        odd=odd,
    )


def _schema_problem(found: dict[str, str]) -> str:
    version = found.get(h.SCHEMA, "1")
    if is_number(version) and int(version) <= h.SCHEMA_VERSION:
        return ""
    return f"schema version {version[:20]!r} is newer than {h.SCHEMA_VERSION}"


def _signal(delivery: Delivery, tokens: list[str]) -> Signal | DeadLetter:
    name = ".".join(tokens[5:])
    if not is_step_name(name):
        return DeadLetter(delivery, "name", f"{name[:60]!r} is no name of a signal")
    found = h.decode(delivery.headers)
    if found is None:
        return DeadLetter(delivery, "headers", "the header block cannot be read")
    if problem := _schema_problem(found):
        return DeadLetter(delivery, "schema", problem)
    content_type = _content_type(found)
    _check(delivery.payload, content_type)
    return Signal(
        seq=delivery.seq,
        at=delivery.at,
        name=name,
        body=delivery.payload,
        content_type=content_type,
        message_id=found.get(h.MESSAGE_ID, ""),
        by=operator(found),
        asks=found.get(h.ASKS) == "1",
    )


def _start(
    delivery: Delivery, instance: str, tokens: list[str], keys: KeyRing
) -> Start | DeadLetter:
    workflow = ".".join(tokens[5:])
    if not is_name(workflow):  # it becomes part of keys and subjects of ours
        return DeadLetter(delivery, "name", f"{workflow[:60]!r} is no name of a workflow")
    found = h.decode(delivery.headers)
    if found is None:
        return DeadLetter(delivery, "headers", "the header block cannot be read")
    if problem := _schema_problem(found):
        return DeadLetter(delivery, "schema", problem)
    definition = found.get(h.DEFINITION, "")
    if definition and not is_id(definition):
        return DeadLetter(delivery, "name", f"{definition[:60]!r} is no hash of a definition")
    kernel = found.get(h.KERNEL, "1")
    if kernel not in _KERNELS:
        return DeadLetter(delivery, "schema", f"kernel {kernel[:20]!r} is newer than {KERNEL}")
    content_type = _content_type(found)
    _check(delivery.payload, content_type)
    parent = None
    text = found.get(h.PARENT, "")
    # Anybody may start a run; only a parent's owner may say whose child it is.
    if text and keys.verify_child(found.get(h.PARENT_TOKEN, ""), instance, text):
        of, _, path = text.partition("|")
        if is_id(of) and path:
            parent = Parent(instance=of, path=path)
    return Start(
        seq=delivery.seq,
        at=delivery.at,
        workflow=workflow,
        body=delivery.payload,
        content_type=content_type,
        message_id=found.get(h.MESSAGE_ID, ""),
        definition=definition,
        parent=parent,
        traceparent=found.get(h.TRACEPARENT, ""),
        priority=priority_of(found.get(h.PRIORITY, "")),
        kernel=int(kernel),
        by=operator(found),
        profile=found.get(h.PROFILE, ""),
        group=unquote(found.get(h.GROUP, "")),
    )


def _content_type(found: dict[str, str]) -> str:
    """Return the type of a payload; only what came out of a blob is marked as that."""
    return found.get(h.CONTENT_TYPE, "").partition(LARGE)[0]


def _check(payload: bytes, content_type: str) -> None:
    """Raise for what is neither a value nor a reference to one."""
    if content_type == BLOB:
        reference(payload)
    else:
        decode(payload, content_type)


def _timer(delivery: Delivery, tokens: list[str]) -> Fired | Woken:
    name = ".".join(tokens[5:])
    if name != WAKE:
        return Fired(seq=delivery.seq, at=delivery.at, name=name)
    body = _timer_decoder.decode(delivery.payload or b"{}")
    return Woken(
        seq=delivery.seq,
        at=delivery.at,
        number=body.number,
        epoch=body.epoch,
        since=body.since,
        parked=body.parked,
    )


def _continued(delivery: Delivery) -> Continued | DeadLetter:
    body = _continued_decoder.decode(delivery.payload)
    snapshot = body.snapshot
    told = (body.generation, body.through)
    if (
        told != (snapshot.generation, snapshot.through)
        or body.generation <= 1
        or body.through >= delivery.seq
    ):
        return DeadLetter(delivery, "value", "the snapshot is not of the generation that is named")
    return Continued(
        seq=delivery.seq,
        at=delivery.at,
        epoch=body.epoch,
        generation=body.generation,
        through=body.through,
        snapshot=snapshot,
    )


def _owner(delivery: Delivery, tokens: list[str]) -> AnyMail | DeadLetter:
    if tokens[5] == "continued":
        return _continued(delivery)
    body = _owner_decoder.decode(delivery.payload)
    if body.failure is not None:
        encode(body.failure.details)  # raises for what is outside the value domain
    seq, at = delivery.seq, delivery.at
    match tokens[5]:
        case "pinned":
            return Pinned(
                seq=seq,
                at=at,
                epoch=body.epoch,
                definition=body.definition,
                kernel=body.kernel,
                libraries=body.libraries,
            )
        case "timeout":
            return AttemptTimedOut(
                seq=seq, at=at, epoch=body.epoch, step=body.step, attempt=body.attempt
            )
        case "refused":
            failure = body.failure or Failure(kind=PROTOCOL, message="refused without a reason")
            return AttemptRefused(
                seq=seq,
                at=at,
                epoch=body.epoch,
                step=body.step,
                attempt=body.attempt,
                failure=failure,
            )
        case "routed":
            encode(msgspec.to_builtins(body.candidates))  # raises for what is no finite number
            return Routed(
                seq=seq,
                at=at,
                epoch=body.epoch,
                step=body.step,
                attempt=body.attempt,
                service=body.service,
                candidates=body.candidates,
                reason=body.reason,
            )
        case "turn":
            return Turn(seq=seq, at=at, epoch=body.epoch, word=body.word)
        case "child":
            return ChildEnded(
                seq=seq,
                at=at,
                step=body.step or step_token("/"),
                child=body.child,
                status=body.status,
                body=_result(body),
                content_type=body.content_type,
                failure=body.failure,
            )
        case kind:
            return DeadLetter(delivery, "kind", f"{kind[:60]!r} is no decision of an owner")


def _result(body: _OwnerBody) -> bytes:
    result = bytes(body.result)
    if body.content_type == BLOB:
        reference(result)
    return result


def _control(delivery: Delivery, tokens: list[str]) -> AnyMail | DeadLetter:
    if tokens[5] not in VERBS:
        return DeadLetter(delivery, "kind", f"{tokens[5][:60]!r} is no control verb")
    found = h.decode(delivery.headers)
    if found is None:
        return DeadLetter(delivery, "headers", "the header block cannot be read")
    mail = control(tokens[5], delivery.seq, delivery.at, found, delivery.payload)
    return DeadLetter(delivery, "name", mail) if isinstance(mail, str) else mail


def _marker(delivery: Delivery, partition: int) -> Marker | DeadLetter:
    try:
        body = _marker_decoder.decode(delivery.payload)
    except msgspec.DecodeError as error:
        return DeadLetter(delivery, "value", str(error))
    return Marker(delivery.seq, partition, body.epoch, body.daemon)


__all__ = ["WAKE", "DeadLetter", "Delivery", "Letter", "Marker", "Pack", "Parsed", "parse"]
