"""Letters: what a stored message is once it is read: mail with an address, or something else."""

from __future__ import annotations

import msgspec

from protocols.mail import AnyMail
from protocols.subjects import MAIL, is_number


class Delivery(msgspec.Struct, gc=False):
    """One stored message. ``at`` is the server's timestamp in nanoseconds since 1970."""

    seq: int
    at: int
    subject: str
    headers: bytes
    payload: bytes


class Marker(msgspec.Struct, frozen=True, gc=False):
    """An epoch of a partition begins."""

    seq: int
    partition: int
    epoch: int
    daemon: str = ""


class DeadLetter(msgspec.Struct, frozen=True):
    """A stored message that no fold can take, and why. ``reason`` is a subject token."""

    delivery: Delivery
    reason: str
    detail: str

    @property
    def partition(self) -> int:
        """The partition whose reader meets it; -1 when its subject names none."""
        if not self.delivery.subject.startswith(MAIL):
            return -1
        token = self.delivery.subject.split(".", 3)[2]
        return int(token) if is_number(token) else -1


class Letter(msgspec.Struct, frozen=True, gc=False):
    """Mail with its address."""

    partition: int
    instance: str
    mail: AnyMail


class Pack(msgspec.Struct, frozen=True, gc=False):
    """Copies of messages; ``actors.retention.packs`` opens it, the fold never sees it."""

    seq: int
    partition: int
    instance: str


Parsed = Letter | Marker | Pack | DeadLetter
