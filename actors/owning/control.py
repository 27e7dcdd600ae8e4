"""Control: what operators ask of an instance, as it stands in the mailbox."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import msgspec

from protocols import headers as h
from protocols.blobs import BLOB, reference
from protocols.codec import decode, encode
from protocols.gates.words import GateWord
from protocols.mail import (
    Cancel,
    Decided,
    Fork,
    Migrate,
    MigrateOrder,
    Repair,
    Repaired,
    Reviewed,
    Switch,
    SwitchOrder,
    Taken,
    UndoAll,
    Word,
)
from protocols.subjects import is_name, step_token
from protocols.witness import Operator

VERBS: Final = ("cancel", "fork", "gate", "migrate", "repair", "review", "switch", "undo")


def control(
    verb: str, seq: int, at: int, found: dict[str, str], payload: bytes
) -> Cancel | Decided | Fork | Migrate | Repaired | Reviewed | Switch | UndoAll | str:
    """Return the mail of a verb of ``VERBS``, or what is wrong with it.

    Raises BadValueError and ValidationError for a payload that is none.
    """
    message_id, by = found.get(h.MESSAGE_ID, ""), operator(found)
    if verb == "fork":
        return _fork(Fork(seq=seq, at=at, body=payload, message_id=message_id, by=by), found)
    told = decode(payload, found.get(h.CONTENT_TYPE, ""))
    text = told if isinstance(told, str) else ""
    if verb == "gate":
        said = msgspec.convert(told, GateWord)
        step_token(said.gate)  # raises for what can be no path
        return Decided(seq=seq, at=at, word=said, message_id=message_id, by=by)
    if verb == "review":
        word = msgspec.convert(told, Word)
        return Reviewed(
            seq=seq,
            at=at,
            step=step_token(word.step),
            attempt=word.attempt,
            done=word.done,
            body=encode(word.result),
            message_id=message_id,
            by=by,
        )
    if verb == "repair":
        repair = msgspec.convert(told, Repair)
        return Repaired(seq=seq, at=at, order=repair, message_id=message_id, by=by)
    if verb in {"cancel", "undo"}:
        stop = Cancel if verb == "cancel" else UndoAll
        return stop(seq=seq, at=at, message_id=message_id, reason=text, by=by)
    if verb == "switch":
        order = msgspec.convert(told, SwitchOrder)
        if not is_name(order.definition):
            return "a switch names no definition"
        return Switch(seq=seq, at=at, order=order, message_id=message_id, by=by)
    since = 0
    if isinstance(told, dict):
        again = msgspec.convert(told, MigrateOrder)
        text, since = again.definition, again.since
    if not is_name(text):
        return "a migration names no definition"
    return Migrate(seq=seq, at=at, definition=text, since=since, message_id=message_id, by=by)


def _fork(mail: Fork, found: dict[str, str]) -> Fork:
    """Return a fork that can be folded, now or when its blob is fetched."""
    if found.get(h.CONTENT_TYPE) == BLOB:
        reference(mail.body)
        return msgspec.structs.replace(mail, content_type=BLOB)
    msgspec.convert(decode(mail.body), Taken)
    return mail


def operator(found: dict[str, str]) -> Operator | None:
    """Return who sent a message, as its headers tell; None: they do not."""
    if h.WHO not in found and h.WHERE not in found and h.WHY not in found:
        return None
    who, where, why = (unquote(found.get(name, "")) for name in (h.WHO, h.WHERE, h.WHY))
    return Operator(who=who, where=where, why=why)
