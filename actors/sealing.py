"""Sealing: from an instance's history to the messages that carry it.

packed    to MAIL: the packs of one unfinished instance
bundled   to ARCHIVE: histories of finished ones, many to a message
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from actors import packs
from actors.packs import Copy, Sealed
from protocols import headers as h
from protocols import subjects
from protocols.events import percent_encode
from protocols.mail import Start
from protocols.ports import Outgoing

_CREATE: Final = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
"""The same content has the same subject: what is stored already is refused, which is as good."""


def packed(
    instance: str, through: int, history: Sequence[Copy], start: Start | None
) -> Iterator[Outgoing]:
    """Yield the packs of one instance's history."""
    assert not history or history[-1].seq <= through, "a pack speaks for what is below its end"
    lines = _pack_lines(start)
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


def _pack_lines(start: Start | None) -> bytes:
    """Return the headers of a pack: what a listing says about the instance."""
    if start is None:
        return _CREATE
    return _CREATE + h.encode(
        {
            h.WORKFLOW: start.workflow,
            h.STARTED: str(start.at),
            **({h.GROUP: percent_encode(start.group)} if start.group else {}),
            **({h.DEFINITION: start.definition} if start.definition else {}),
        }
    )
