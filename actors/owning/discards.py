"""Discards: messages whose value somebody has given up, as the same mailbox tells further on.

    ... 17: reply -> blob ... 23: repair {17, discarded}     17 is folded without its value

What is found in a mailbox is the same for every fold of it, whether the blob is there or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from actors.owning.resolving import lacking, refers
from protocols.mail import AnyMail, Repaired, Snapshot


def discarded(mails: Iterable[AnyMail]) -> frozenset[int]:
    """Return the sequences of the messages that mail behind them gives up."""
    return frozenset(
        mail.order.message
        for mail in mails
        if type(mail) is Repaired and mail.order.how == "discarded"
    )


def without(mails: Sequence[AnyMail], gone: frozenset[int]) -> Sequence[AnyMail]:
    """Return the mails; those that are given up and refer to a value stand there as that."""
    if not gone:
        return mails
    return [
        lacking(mail, "its value was given up", discarded=True)
        if mail.seq in gone and refers(mail)
        else mail
        for mail in mails
    ]


def kept(snapshot: Snapshot | None, gone: frozenset[int]) -> Snapshot | None:
    """Return a snapshot without the signals that were given up behind it."""
    if snapshot is None or not gone:
        return snapshot
    signals = tuple(each for each in snapshot.signals if each.seq not in gone or not refers(each))
    return msgspec.structs.replace(snapshot, signals=signals)
