"""Control: what operators ask of an instance, as it stands in the mailbox."""

from __future__ import annotations

from typing import Final

import msgspec

from protocols import headers as h
from protocols.codec import decode
from protocols.compensation import ByHand
from protocols.mail import Cancel, Migrate, UndoAll
from protocols.subjects import is_name

VERBS: Final = ("cancel", "migrate", "undo")


def control(
    verb: str, seq: int, at: int, found: dict[str, str], payload: bytes
) -> Cancel | Migrate | UndoAll | str:
    """Return the mail of a verb of ``VERBS``, or what is wrong with it.

    Raises BadValueError and msgspec.ValidationError for a payload that is none.
    """
    told = decode(payload, found.get(h.CONTENT_TYPE, ""))
    text = told if isinstance(told, str) else ""
    message_id = found.get(h.MESSAGE_ID, "")
    if verb == "undo":
        undo = msgspec.convert(told, ByHand)
        return UndoAll(seq=seq, at=at, message_id=message_id, who=undo.who, why=undo.why)
    if verb == "cancel":
        return Cancel(seq=seq, at=at, message_id=message_id, reason=text)
    if not is_name(text):
        return "a migration names no definition"
    return Migrate(seq=seq, at=at, definition=text, message_id=message_id)
