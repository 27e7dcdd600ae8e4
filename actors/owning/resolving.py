"""Resolving: fetches the values that mail refers to, before the mail is folded.

    mail with a reference -> fetched: mail with the value
                          '- missing or altered, also after a while: Lacking, which blocks
                          '- nobody can say: wait

The fold never waits and never sees a reference. What is fetched depends on the digest alone, so
every fold of a mailbox gets the same bytes, or none and is blocked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog
import trio

from actors.store.blobs import BlobMissingError, Blobs
from protocols.blobs import BLOB, LARGE, Blob, is_whole, reference
from protocols.errors import UnavailableError
from protocols.headers import JSON
from protocols.mail import AnyMail, ChildEnded, Fork, Lacking, Reply, Signal, Snapshot, Start

LOOKS_S: Final = (0.1, 0.4, 1.0)
"""Before a blob counts as missing: whoever named it may be a moment ahead of its chunks."""
BODIED: Final = frozenset({Start, Signal, Reply, ChildEnded, Fork})
_Bodied = Start | Signal | Reply | ChildEnded | Fork

Found = TypeVar("Found")

log = structlog.get_logger()


def refers(mail: AnyMail | None) -> bool:
    """Tell whether the value of a message has to be fetched."""
    return type(mail) in BODIED and mail.content_type == BLOB  # type: ignore[union-attr]


def with_value(mail: AnyMail, contents: Mapping[str, bytes]) -> AnyMail:
    """Return a message with its value, out of contents by digest; Lacking when it is not there."""
    if not refers(mail):
        return mail
    assert isinstance(mail, _Bodied)
    blob = reference(mail.body)
    body = contents.get(blob.digest)
    if body is None or not is_whole(blob, body):
        return lacking(mail, f"blob {blob.digest} is missing")
    return _with(mail, blob, body)


def lacking(mail: AnyMail, message: str, *, discarded: bool = False) -> Lacking:
    """Return what stands for a message whose value is not there, or was given up."""
    assert isinstance(mail, _Bodied)
    return Lacking(
        seq=mail.seq,
        at=mail.at,
        leaf=mail.leaf,
        message=message,
        of=mail,
        discarded=discarded,
    )


def _with(mail: _Bodied, blob: Blob, body: bytes) -> AnyMail:
    told = {"reference": mail.body} if type(mail) is Signal else {}
    content_type = (blob.content_type or JSON) + LARGE
    return msgspec.structs.replace(mail, body=body, content_type=content_type, **told)


class Resolving:
    """Fetches for folds."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def mail(self, instance: str, mail: AnyMail) -> AnyMail:
        """Return a message with its value, or Lacking. Raises UnavailableError."""
        if not refers(mail):
            return mail
        assert isinstance(mail, _Bodied)
        blob = reference(mail.body)
        try:
            body = await self._content(instance, blob)
        except BlobMissingError as error:
            log.error("blob.missing", run=instance, seq=mail.seq, digest=blob.digest)
            return lacking(mail, f"message {mail.seq}: {error.message}")
        return _with(mail, blob, body)

    async def snapshot(self, instance: str, snapshot: Snapshot | None) -> Snapshot | None:
        """Return a snapshot with the values of its signals. Raises as ``mail`` does.

        One that cannot be had stays a reference: the fold is blocked there.
        """
        if snapshot is None or not any(map(refers, snapshot.signals)):
            return snapshot
        found = [await self.mail(instance, each) for each in snapshot.signals]
        signals = tuple(
            new if type(new) is Signal else old
            for old, new in zip(snapshot.signals, found, strict=True)
        )
        return msgspec.structs.replace(snapshot, signals=signals)

    async def patiently(self, instance: str, mail: AnyMail) -> AnyMail:
        """Do as ``mail`` does, and wait while nobody can say."""
        return await _patiently(partial(self.mail, instance, mail), instance)

    async def snapshot_patiently(
        self, instance: str, snapshot: Snapshot | None
    ) -> Snapshot | None:
        """Do as ``snapshot`` does, and wait while nobody can say."""
        return await _patiently(partial(self.snapshot, instance, snapshot), instance)

    async def _content(self, instance: str, blob: Blob) -> bytes:
        for pause_s in LOOKS_S:
            try:
                return await self._blobs.get(instance, blob)
            except BlobMissingError:
                await trio.sleep(pause_s)
        return await self._blobs.get(instance, blob)


async def _patiently(fetch: Callable[[], Awaitable[Found]], instance: str) -> Found:
    while True:
        try:
            return await fetch()
        except UnavailableError as error:
            log.warning("blob.waiting", run=instance, reason=error.message)
        await trio.sleep(LOOKS_S[-1])
