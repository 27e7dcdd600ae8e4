"""History: one stored message as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from actors.owning.letters import DeadLetter, Delivery, Letter, Parsed
from protocols import codec
from protocols.api.runs import HistoryEntry
from protocols.blobs import BLOB
from protocols.errors import MovantError
from protocols.gates.words import GateWord
from protocols.mail import (
    AttemptRefused,
    AttemptTimedOut,
    Cancel,
    ChildEnded,
    Continued,
    Decided,
    Fired,
    Fork,
    Migrate,
    Pinned,
    Repaired,
    Reply,
    Reviewed,
    Routed,
    Signal,
    Start,
    Switch,
    Taken,
    Turn,
    UndoAll,
    Woken,
)


def entry(delivery: Delivery, parsed: Parsed) -> HistoryEntry:
    """Return the entry of a message; one that no fold takes is shown with its reason."""
    if isinstance(parsed, DeadLetter):
        return HistoryEntry(
            seq=delivery.seq,
            at=delivery.at,
            kind="dead",
            summary=f"{parsed.reason}: {parsed.detail}",
        )
    if not isinstance(parsed, Letter):
        return HistoryEntry(seq=delivery.seq, at=delivery.at, kind="marker")
    facts = _facts(parsed.mail)
    return HistoryEntry(seq=delivery.seq, at=delivery.at, **facts)


def _facts(mail: Any) -> dict[str, Any]:  # noqa: C901, PLR0912  # one case per kind
    match mail:
        case Start():
            summary = f"definition {mail.definition}" if mail.definition else "not pinned"
            return {
                "kind": "start",
                "name": mail.workflow,
                "summary": summary,
                "body": _value(mail.body, mail.content_type),
            }
        case Signal():
            return {
                "kind": "signal",
                "by": mail.by,
                "name": mail.name,
                "summary": "waits for an answer" if mail.asks else "",
                "body": _value(mail.body, mail.content_type),
            }
        case Reply():
            return {
                "kind": "reply",
                "path": path_of(mail.step),
                "attempt": mail.attempt,
                "failure": mail.failure,
                "summary": "ok" if mail.failure is None else mail.failure.kind,
                "body": _value(mail.body, mail.content_type),
            }
        case Fired():
            return {"kind": "timer", "name": mail.name, "path": f"/{mail.name}"}
        case Woken():
            return {"kind": "wake", "summary": f"effects since {mail.since} are due again"}
        case Pinned():
            return {"kind": "owner.pinned", "summary": f"definition {mail.definition}"}
        case AttemptTimedOut():
            return {"kind": "owner.timeout", "path": path_of(mail.step), "attempt": mail.attempt}
        case AttemptRefused():
            return {
                "kind": "owner.refused",
                "path": path_of(mail.step),
                "attempt": mail.attempt,
                "failure": mail.failure,
                "summary": mail.failure.message,
            }
        case Routed():
            return {
                "kind": "owner.routed",
                "path": path_of(mail.step),
                "attempt": mail.attempt,
                "summary": f"{mail.service}: {mail.reason}",
            }
        case Turn():
            word = mail.word
            of = f" of {word.group}" if word.group else ""
            return {"kind": "owner.turn", "summary": f"{word.said}: at most {word.limit}{of}"}
        case ChildEnded():
            return {
                "kind": "owner.child",
                "path": path_of(mail.step),
                "name": mail.child,
                "summary": mail.status,
                "failure": mail.failure,
                "body": _value(mail.body, mail.content_type),
            }
        case Continued():
            return {
                "kind": "owner.continued",
                "summary": f"generation {mail.generation} since {mail.through}",
                "body": _value(mail.snapshot.start.body, mail.snapshot.start.content_type),
            }
        case Migrate():
            return {
                "kind": "control.migrate",
                "summary": f"definition {mail.definition}",
                "by": mail.by,
            }
        case Switch():
            names = ", ".join(f"{old} is now {new}" for old, new in mail.order.moves.items())
            return {
                "kind": "control.switch",
                "summary": f"definition {mail.order.definition} from here on"
                + (f": {names}" if names else ""),
                "by": mail.by,
            }
        case Repaired():
            return {
                "kind": "control.repair",
                "summary": f"message {mail.order.message} {mail.order.how}",
                "by": mail.by,
            }
        case Fork():
            return {
                "kind": "control.fork",
                "summary": _origin(mail),
                "by": mail.by,
            }
        case Reviewed():
            return {
                "kind": "control.review",
                "path": path_of(mail.step),
                "attempt": mail.attempt,
                "summary": "done" if mail.done else "not done",
                "by": mail.by,
                "body": _value(mail.body, ""),
            }
        case Decided():
            return {
                "kind": "control.gate",
                "path": mail.word.gate,
                "summary": " ".join(_said(mail.word)),
                "by": mail.by,
                "body": mail.word.values,
            }
        case UndoAll():
            return {"kind": "control.undo", "summary": mail.reason, "by": mail.by}
        case Cancel():
            return {"kind": "control.cancel", "summary": mail.reason, "by": mail.by}
        case _:
            return {"kind": "unknown"}


def _origin(mail: Fork) -> str:
    """Return where a run comes from; what it takes over stands in that run's history."""
    if mail.content_type == BLOB:
        return "begins with what another run has done: too much for a message"
    origin = msgspec.json.decode(mail.body, type=Taken).origin
    return f"begins at {origin.step} of {origin.run}, as that stood at {origin.through}"


def _said(word: GateWord) -> Iterator[str]:
    yield word.do
    if word.step:
        yield word.step
    if word.to:
        yield f"to {word.to}"
    if word.role:
        yield f"as {word.role}"


def path_of(step: str) -> str:
    """Return the path behind a step token, as the rest of the API names it.

    A token that is a hash stands for itself: the path cannot be had from it.
    """
    return f"/{unquote(step)}"


def _value(body: bytes, content_type: str) -> Any:
    if content_type == BLOB:  # as it stands in the mailbox
        return msgspec.json.decode(body)
    try:
        return codec.decode(body, content_type)
    except MovantError as error:
        return {"unreadable": str(error), "bytes": len(body)}
