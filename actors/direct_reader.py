"""DirectReader: read stored messages by subject, many reads at once, without a consumer.

Uses JetStream's batched direct get (ADR-31): one request, many answers on one inbox subject,
ended by a status message. A read may be served by a follower, whose log is a prefix of the
leader's: an answer that contains message S contains everything below it (hazard S6).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import msgspec
import trio

from actors.inbound import Delivery
from protocols import headers as h
from protocols.errors import InternalError, UnavailableError, UnknownOutcomeError
from protocols.ports import Frame, Outgoing, Subscription, Transport

READ_S: Final = 5.0
BATCH: Final = 1_000
READS_MAX: Final = 256
"""Reads under way at once; more would only queue in the server."""
SUBJECTS_MAX: Final = 1_000
"""The server refuses more than 1,024 subjects in one request (413)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class _Read(msgspec.Struct):
    done: trio.Event
    frames: list[Frame]
    status: int = 0


class DirectReader:
    """Reads of one stream. Open it inside a nursery-less ``async with``."""

    def __init__(self, transport: Transport, stream: str) -> None:
        self._transport = transport
        self._subject = f"$JS.API.DIRECT.GET.{stream}"
        self._reads: dict[str, _Read] = {}
        self._limit = trio.CapacityLimiter(READS_MAX)
        self._number = 0
        self._inbox = ""
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> DirectReader:
        self._inbox = self._transport.new_inbox() + "."
        self._subscription = await self._transport.subscribe(self._inbox + "*", self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None:
            self._subscription.unsubscribe()

    async def subject(self, filter_subject: str, *, after: int = 0) -> list[Delivery]:
        """Return all messages of a subject filter above sequence ``after``, in order."""
        found: list[Delivery] = []
        async for part in self.follow(filter_subject, after):
            found += part
        return found

    async def follow(self, filter_subject: str, after: int) -> AsyncIterator[list[Delivery]]:
        """Yield the messages of a subject filter above ``after`` in batches, in order."""
        while True:
            part = await self._get(
                {"seq": after + 1, "next_by_subj": filter_subject, "batch": BATCH}
            )
            if part:
                yield part
                after = part[-1].seq
            if len(part) < BATCH:
                return

    async def last(self, subjects: Sequence[str]) -> list[Delivery]:
        """Return the last message of each subject; filters with wildcards may be used."""
        found: list[Delivery] = []
        for start in range(0, len(subjects), SUBJECTS_MAX):
            part = list(subjects[start : start + SUBJECTS_MAX])
            found += await self._get({"multi_last": part, "batch": SUBJECTS_MAX})
        return found

    async def _get(self, request: dict[str, Any]) -> list[Delivery]:
        """Ask once; ask again a few times when the answer is incomplete.

        Raises UnavailableError when the stream does not answer.
        """
        body = msgspec.json.encode(request)
        for _ in range(3):
            async with self._limit:
                read = await self._ask(body)
            if read is None:
                continue
            if read.status == 404:  # noqa: PLR2004 - nothing there
                return []
            if read.status in {0, 204}:
                return [_delivery(each) for each in read.frames]
            if read.status == 413:  # noqa: PLR2004
                raise InternalError(f"direct get of too many subjects: {len(body)} bytes")
        raise UnavailableError(f"{self._subject} does not answer")

    async def _ask(self, body: bytes) -> _Read | None:
        self._number += 1
        token = str(self._number)
        read = self._reads[token] = _Read(trio.Event(), [])
        try:
            self._transport.publish(Outgoing(self._subject, body, reply=self._inbox + token))
            with trio.move_on_after(READ_S):
                await read.done.wait()
                return read
        except UnknownOutcomeError:
            return None
        finally:
            del self._reads[token]
        return None

    def _take(self, frames: Sequence[Frame]) -> None:
        start = len(self._inbox)
        for frame in frames:
            read = self._reads.get(frame.subject[start:])
            if read is None:
                continue
            status = h.status(frame.headers)
            if status:
                read.status = status
                read.done.set()
            else:
                read.frames.append(frame)


def _delivery(frame: Frame) -> Delivery:
    found = h.decode(frame.headers)
    if found is None:
        # The stored headers are hostile; the server's own lines come behind them.
        found = _own_lines(frame.headers)
    return Delivery(
        int(found["Nats-Sequence"]),
        nanoseconds(found["Nats-Time-Stamp"]),
        found["Nats-Subject"],
        frame.headers,
        frame.payload,
    )


def _own_lines(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name in {b"Nats-Sequence", b"Nats-Time-Stamp", b"Nats-Subject"}:
            found[name.decode()] = value.strip().decode("utf-8", "backslashreplace")
    return found


def nanoseconds(text: str) -> int:
    """Return nanoseconds since 1970 of an RFC 3339 time in UTC with up to nine decimals."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    seconds = (moment - _EPOCH).days * 86_400 + (moment - _EPOCH).seconds
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or "0")
