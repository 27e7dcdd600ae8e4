"""Kv: a key-value bucket of JetStream, on plain stream requests.

A bucket is a stream ``KV_<name>`` with one message per key (ADR-8). nats-py's own class is not
used: its watch needs 20 s to recover and its ``create`` trusts markers wrongly.
"""

from __future__ import annotations

from typing import Final

import msgspec

from actors.direct_reader import DirectReader
from actors.stream_writer import PubAck
from protocols import headers as h
from protocols.errors import AlreadyExistsError, UnavailableError
from protocols.ports import Outgoing, Transport

ANSWER_S: Final = 5.0
_ack_decoder: Final = msgspec.json.Decoder(PubAck)


class _Stored(msgspec.Struct):
    """The answer of STREAM.MSG.GET."""

    class Message(msgspec.Struct):
        """The stored message; ``data`` and ``hdrs`` are base64 on the wire."""

        seq: int
        data: bytes = b""
        hdrs: bytes = b""

    message: Message | None = None
    error: PubAck.Error | None = None


_stored_decoder: Final = msgspec.json.Decoder(_Stored)


class Entry(msgspec.Struct, frozen=True):
    """One value with its revision (the stream sequence)."""

    key: str
    value: bytes
    revision: int
    at: int = 0


class Kv:
    """One bucket. Every call raises UnavailableError or UnknownOutcomeError."""

    def __init__(self, transport: Transport, bucket: str) -> None:
        self.stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._transport = transport

    def subject(self, key: str) -> str:
        """Return the subject of a key."""
        return self._prefix + key

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store a value and return its revision.

        With ``revision`` only when the key still has it (0: no such key); otherwise
        AlreadyExistsError.
        """
        lines = b"" if revision is None else h.encode({h.EXPECTED_SEQUENCE: str(revision)})
        answer = await self._transport.request(
            Outgoing(self.subject(key), value, lines), timeout_s=ANSWER_S
        )
        ack = _ack_decoder.decode(answer.payload)
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in {10071, 10164}:
            raise AlreadyExistsError(f"{key} has changed: {ack.error.description}")
        raise UnavailableError(f"{self.stream} refused {key}: {ack.error.description}")

    async def get(self, key: str) -> Entry | None:
        """Return the value of a key, or None."""
        answer = await self._transport.request(
            Outgoing(f"$JS.API.DIRECT.GET.{self.stream}.{self.subject(key)}", b""),
            timeout_s=ANSWER_S,
        )
        status = h.status(answer.headers)
        if status == 404:  # noqa: PLR2004
            return None
        found = h.decode(answer.headers)
        if status or found is None:
            raise UnavailableError(f"{self.stream} does not answer for {key}: {status}")
        if found.get("KV-Operation"):
            return None
        return Entry(key, answer.payload, int(found["Nats-Sequence"]))

    async def leader(self, key: str) -> Entry | None:
        """Return the value of a key as the stream's leader has it: never an old one."""
        answer = await self._transport.request(
            Outgoing(
                f"$JS.API.STREAM.MSG.GET.{self.stream}",
                msgspec.json.encode({"last_by_subj": self.subject(key)}),
            ),
            timeout_s=ANSWER_S,
        )
        found = _stored_decoder.decode(answer.payload)
        if found.error is not None:
            if found.error.code == 404:  # noqa: PLR2004
                return None
            raise UnavailableError(f"{self.stream} does not answer for {key}: {found.error}")
        assert found.message is not None, "neither an error nor a message"
        if b"KV-Operation" in found.message.hdrs:
            return None
        return Entry(key, found.message.data, found.message.seq)

    async def last(self, pattern: str) -> list[Entry]:
        """Return the keys that match a subject pattern, at most 1,000, in no order.

        Found by subject: ``all`` looks at each sequence, and in a bucket that is renewed all
        the time there are many between two that are left.
        """
        async with DirectReader(self._transport, self.stream) as reader:
            stored = await reader.last([self._prefix + pattern])
        start = len(self._prefix)
        return [
            Entry(each.subject[start:], each.payload, each.seq, each.at)
            for each in stored
            if b"KV-Operation" not in each.headers
        ]

    async def purge(self, key: str) -> None:
        """Remove a key with everything that is stored of it."""
        await self._transport.request(
            Outgoing(
                f"$JS.API.STREAM.PURGE.{self.stream}",
                msgspec.json.encode({"filter": self.subject(key)}),
            ),
            timeout_s=ANSWER_S,
        )

    async def all(self, pattern: str = ">") -> list[Entry]:
        """Return all keys that match a subject pattern, with their values, oldest first."""
        async with DirectReader(self._transport, self.stream) as reader:
            stored = await reader.subject(self._prefix + pattern)
        start = len(self._prefix)
        return [
            Entry(each.subject[start:], each.payload, each.seq, each.at)
            for each in stored
            if b"KV-Operation" not in each.headers
        ]
