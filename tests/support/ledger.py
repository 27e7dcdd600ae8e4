"""What the streams hold of one instance, made by a fold of its own: for tests that doctor it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from actors.kernel.instance import Instance
from actors.owning.generations import replaced_by
from actors.owning.inbound import parse
from actors.owning.letters import Delivery, Letter
from actors.owning.outbox import event_payload, record_of
from actors.views.refolding import Refolded, eras, refold
from actors.views.verification import Compared, Stand, compare
from protocols import headers as h
from protocols.definition import Workflow
from protocols.effects import AnyEffect, Ask, Continue, Emit, Finish
from protocols.events import CE_ID, percent_encode
from protocols.mail import AnyMail, Mail
from protocols.subjects import step_token
from protocols.tokens import KeyRing

KEYS: Final = KeyRing("k", {"k": b"secret"})
SECOND: Final = 1_000_000_000
BEGIN: Final = 1_800_000_000 * SECOND


class Books:
    """MAIL, EVENTS and ARCHIVE of the instance ``a``. Each verb stores one message."""

    def __init__(self, **codes: Workflow[Any]) -> None:
        """Take the workflow of each definition by the definition's hash."""
        self.codes = codes
        self.mail: list[Delivery] = []
        self.events: list[Delivery] = []
        self.record: Delivery | None = None
        self.asks: list[Ask] = []
        self.seq = 0
        self.now = BEGIN
        self._instance = Instance("a", self.load)
        self._continued: set[int] = set()

    def load(self, _name: str, definition: str) -> Workflow[Any]:
        """Return the code of a definition."""
        return self.codes[definition]

    def start(self, definition: str, value: Any = None) -> None:
        """Start the instance."""
        headers = {h.DEFINITION: definition, h.MESSAGE_ID: "s"}
        self.put("start.flow", msgspec.json.encode(value), headers)

    def signal(self, value: Any = None, **headers: str) -> None:
        """Send the signal ``go``; headers by name, with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.put("signal.go", msgspec.json.encode(value), named)

    def reply(self, value: Any = None) -> None:
        """Answer the oldest step that is open."""
        ask = self.asks.pop(0)
        step = step_token(ask.path)
        token = KEYS.sign("a", step, ask.attempt)
        self.put(f"reply.{step}.{ask.attempt}.{token}", msgspec.json.encode(value))

    def migrate(self, definition: str) -> None:
        """Give the instance other code."""
        self.put("control.migrate", msgspec.json.encode(definition), {h.MESSAGE_ID: "m"})

    def cancel(self, **headers: str) -> None:
        """Ask the instance to cancel."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.put("control.cancel", b'"enough"', {h.MESSAGE_ID: "c", **named})

    def put(self, rest: str, payload: bytes, headers: dict[str, str] | None = None) -> None:
        """Store a message and let the owner fold it."""
        self.seq += 3  # others write into the stream as well
        self.now += SECOND
        lines = h.block(h.encode(headers or {}))
        self.mail.append(Delivery(self.seq, self.now, f"movant.mail.0.a.{rest}", lines, payload))
        if rest == "control.migrate":
            mails = self.mails()
            self._instance = Instance("a", self.load, replaced=replaced_by(mails))
            for mail in mails:
                self._do(self._instance.fold(mail))
        else:
            self._do(self._instance.fold(self.mails()[-1]))

    def _do(self, effects: Sequence[AnyEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Ask):
                self.asks.append(effect)
            elif isinstance(effect, Emit):
                self._emit(effect)
            elif isinstance(effect, Finish):
                self.record = self._archived(effect)
        for effect in effects:
            if isinstance(effect, Continue) and effect.snapshot.generation not in self._continued:
                self._continued.add(effect.snapshot.generation)
                body = {
                    "epoch": 1,
                    "generation": effect.snapshot.generation,
                    "through": effect.snapshot.through,
                    "snapshot": effect.snapshot,
                }
                self.put("owner.continued", msgspec.json.encode(body))

    def _emit(self, effect: Emit) -> None:
        workflow = self._instance.workflow
        self.events.append(
            Delivery(
                len(self.events) + 1,
                self.now,
                f"movant.event.{workflow}.a.{effect.event}",
                h.block(h.encode({CE_ID: percent_encode(effect.id)})),
                event_payload(self._instance, effect),
            )
        )

    def _archived(self, effect: Finish) -> Delivery:
        record = record_of(self._instance, effect, 7)
        return Delivery(1, self.now, "movant.done.0.a", b"", msgspec.json.encode(record))

    def mails(self) -> list[AnyMail]:
        """Return what a fold takes."""
        return [parsed.mail for each in self.mail if type(parsed := parse(each, KEYS)) is Letter]

    def verify(self, *, mark: int = 0, later_s: float = 3600, events_from: int = 0) -> Compared:
        """Fold again and compare, so many seconds after the last message."""
        mails = self.mails()
        taken = {each.seq for each in mails}
        refolded = Refolded()
        for _ in refold("a", eras(mails, mark), self.load, _fold, refolded):
            pass
        stand = Stand(
            instance="a",
            messages=self.mail,
            mails=mails,
            wrong={each.seq: "dead" for each in self.mail if each.seq not in taken},
            events=self.events,
            archived=self.record,
            mark=mark,
            events_from=events_from,
            now=self.now + round(later_s * SECOND),
        )
        return compare(stand, refolded)

    def index(self, seq: int) -> int:
        """Return which message has a sequence."""
        return next(at for at, each in enumerate(self.mail) if each.seq == seq)


def doctored(delivery: Delivery, **changes: Any) -> Delivery:
    """Return a message with other fields."""
    return msgspec.structs.replace(delivery, **changes)


def _fold(instance: Instance, mail: Mail | None) -> list[AnyEffect]:
    return instance.begin() if mail is None else instance.fold(mail)
