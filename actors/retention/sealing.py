"""Sealing: from an instance's history to the messages that carry it.

packed    to MAIL: the packs of one unfinished instance
bundled   to ARCHIVE: histories of finished ones, many to a message
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from actors.retention import packs
from actors.retention.packs import Copy, Sealed
from protocols import headers as h
from protocols import subjects
from protocols.events import percent_encode
from protocols.mail import Start, TurnWord
from protocols.ports import Outgoing

_CREATE: Final = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
"""The same content has the same subject: what is stored already is refused, which is as good."""


class _Turn(msgspec.Struct):
    """The body of an ``owner.turn``."""

    word: TurnWord


_turn_decoder: Final = msgspec.json.Decoder(_Turn)


def packed(
    instance: str, through: int, history: Sequence[Copy], start: Start | None
) -> Iterator[Outgoing]:
    """Yield the packs of one instance's history."""
    assert not history or history[-1].seq <= through, "a pack speaks for what is below its end"
    lines = _pack_lines(start, _turn_of(history))
    for group in packs.groups(history):
        for sealed in packs.seal_pack(group):
            subject = subjects.to_pack(instance, through, sealed.digest)
            yield Outgoing(subject, sealed.payload, lines)


def bundle_groups(histories: Mapping[str, list[Copy]]) -> Iterator[dict[str, list[Copy]]]:
    """Cut histories, ordered by id, into groups of about a message's size."""
    group: dict[str, list[Copy]] = {}
    size = 0
    for instance in sorted(histories):
        history = histories[instance]
        cost = sum(packs.size_of(each) for each in history)
        if group and size + cost > packs.GROUP_BYTES:
            yield group
            group, size = {}, 0
        group[instance] = history
        size += cost
    if group:
        yield group


def bundled(partition: int, through: int, first: str, sealed: Sealed) -> Outgoing:
    """Return a message of a bundle."""
    return Outgoing(
        subjects.bundle(partition, through, first, sealed.digest), sealed.payload, _CREATE
    )


def _turn_of(history: Sequence[Copy]) -> TurnWord | None:
    """Return what the owner said last about whether a run may begin; None: nothing."""
    for each in reversed(history):
        if each.rest == "owner.turn":
            try:
                return _turn_decoder.decode(each.payload).word
            except msgspec.MsgspecError:
                continue  # a dead letter
    return None


def _pack_lines(start: Start | None, turn: TurnWord | None) -> bytes:
    """Return the headers of a pack: what a listing says about the instance."""
    if start is None:
        return _CREATE
    group, queued = start.group, ""
    if turn is not None:
        group = turn.group
        waits = turn.said == "queued"
        queued = percent_encode(msgspec.json.encode(turn).decode()) if waits else ""
    return _CREATE + h.encode(
        {
            h.WORKFLOW: start.workflow,
            h.STARTED: str(start.at),
            **({h.GROUP: percent_encode(group)} if group else {}),
            **({h.QUEUED: queued} if queued else {}),
            **({h.DEFINITION: start.definition} if start.definition else {}),
        }
    )
