"""Repairing: what an instance does about a value that its mailbox refers to and nobody has."""

from __future__ import annotations

import msgspec

from actors.kernel.blocked import Blocked
from actors.kernel.execution import Execution
from actors.kernel.outcome import (
    Ended,
    cancelled_by,
)
from protocols.blobs import BLOB
from protocols.effects import FINAL
from protocols.failure import Failure
from protocols.mail import (
    ChildEnded,
    Lacking,
    Repaired,
    Reply,
    Signal,
    Start,
)


class Repairing(Execution):
    """A run that is blocked by a missing value, until somebody puts it back or gives it up."""

    __slots__ = ()

    def _on_lacking(self, mail: Lacking) -> None:
        """Block, unless nobody needs the value: then whoever gave it up says so further on."""
        of = mail.of
        if self.status in FINAL or (
            type(of) is Signal and self._repeated("signal", of.message_id)
        ):
            self._ledger.counters.late += 1
            return
        if self._start is None and type(of) is Start:
            self._start = of
            self.workflow, self.definition = of.workflow, of.definition
            self.started_at = self._ledger.now
            if self._cancel is not None:
                self._end(cancelled_by(self._cancel))
                return
        if mail.discarded:
            self._skipped[mail.seq] = mail
        else:
            self._halt(Blocked(reason="blob", message=mail.message, seq=mail.seq))

    def _lacks_signal(self) -> bool:
        """Block when a signal of the snapshot refers to a value that is not there."""
        for queue in self._ledger.signals.values():
            for each in queue:
                if each.content_type == BLOB:
                    message = f"message {each.seq}: its value is missing"
                    self._halt(Blocked(reason="blob", message=message, seq=each.seq))
                    return True
        return False

    def _given_up(self, mail: Repaired) -> Reply | ChildEnded | None:
        """Witness what a person has done about a missing value; return what is folded for it.

        One that was given up is so from here on: an answer becomes one of which nobody knows
        what it was, a start has failed, and a signal never came.
        """
        if self._repeated("repair", mail.message_id):
            return None
        ledger, order = self._ledger, mail.order
        ledger.chain.acted = (mail.seq, mail.by)
        if self.status in FINAL or self._start is None:
            ledger.counters.late += 1
            return None
        # Of every one: a fold that begins with a snapshot has not seen the message itself.
        self._witness("value_repaired", msgspec.to_builtins(order), f"/{mail.seq}")
        lost = self._skipped.pop(order.message, None)
        if lost is None:
            return None
        if type(lost.of) is Start:
            self._end(Ended("failed", failure=_lost(mail)))
        elif type(lost.of) is Reply or type(lost.of) is ChildEnded:
            return msgspec.structs.replace(
                lost.of,
                seq=mail.seq,
                at=mail.at,
                body=b"",
                content_type="",
                failure=_lost(mail, unknown=True),
            )
        return None


def _lost(mail: Repaired, *, unknown: bool = False) -> Failure:
    """Return the failure that stands for a value which was given up."""
    who = f" by {mail.by.who}" if mail.by is not None and mail.by.who else ""
    message = f"the value of message {mail.order.message} is lost and was given up{who}"
    return Failure(kind="blob", message=message, unknown=unknown)
