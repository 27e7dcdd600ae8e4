"""Dead letters: what no fold can take, kept with its reason so that a person can replay it.

    movant.dead.<reason>   payload: the raw bytes; headers: subject, sequence, detail, and the
                           raw header block in base64

The stream is bounded and forgets its oldest: a flood of nonsense must not fill the disk. A
letter carries an id made from the message's place in MAIL, so that one that is found twice (a
crash, another owner) is recognised; within two minutes the server drops the second one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from actors.owning.letters import DeadLetter
from actors.services.answers import header_text
from actors.store.stream_writer import StreamWriter
from protocols import headers as h
from protocols.errors import MovantError, OverloadedError
from protocols.ports import Frame, Outgoing
from protocols.subjects import TO, dead

HEADERS_KEPT_BYTES_MAX: Final = 2_048
TRIGGER: Final = "Movant-Trigger"
"""Whose message it was, when a trigger has taken it."""

log = structlog.get_logger()


class DeadLetters:
    """Writes dead letters. ``counts`` tells how many there were by reason."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self.counts: dict[str, int] = {}

    def take(self, letter: DeadLetter) -> None:
        """Keep one message that no fold can take; strays have a reader of their own."""
        if not letter.delivery.subject.startswith(TO):
            self.keep(letter)

    def keep(self, letter: DeadLetter, kept: Callable[[int], None] = lambda _: None) -> None:
        """Keep one message; ``kept`` is told its sequence in MAIL when it is safe or refused."""
        self.counts[letter.reason] = self.counts.get(letter.reason, 0) + 1
        delivery = letter.delivery
        log.warning("letter.dead", reason=letter.reason, seq=delivery.seq, detail=letter.detail)
        try:
            self._writer.write(envelope(letter), partial(_told, delivery.seq, kept))
        except OverloadedError:
            log.error("letter.lost", reason=letter.reason, seq=delivery.seq)


def envelope(letter: DeadLetter) -> Outgoing:
    """Return the message that keeps a dead letter."""
    delivery = letter.delivery
    frame = Frame(delivery.subject, "", delivery.headers, delivery.payload)
    more = {"Movant-Sequence": str(delivery.seq)}
    return sealed(letter.reason, frame, f"MAIL-{delivery.seq}", letter.detail, more)


def sealed(
    reason: str, frame: Frame, identity: str, detail: str, more: Mapping[str, str]
) -> Outgoing:
    """Return the message that keeps another one, with why, and with more headers."""
    lines = h.encode(
        {
            h.MESSAGE_ID: identity,
            "Nats-Msg-Id": identity,
            "Movant-Subject": header_text(frame.subject, 1_000),
            "Movant-Detail": header_text(detail),
            "Movant-Headers": base64.b64encode(frame.headers[:HEADERS_KEPT_BYTES_MAX]).decode(),
            **more,
        }
    )
    return Outgoing(dead(reason), frame.payload, lines)


def _told(seq: int, kept: Callable[[int], None], _: int, error: MovantError | None) -> None:
    kept(seq)
    if error is not None:
        log.error("letter.refused", reason=str(error))
