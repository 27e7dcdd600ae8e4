"""Kv: a key-value bucket of JetStream, on plain stream requests.

A bucket is a stream ``KV_<name>`` with one message per key (ADR-8). nats-py's own class is not
used: its watch needs 20 s to recover and its ``create`` trusts markers wrongly.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import trio

from actors.store.direct_reader import DirectReader
from actors.store.stream_writer import ERR_IN_FLIGHT, ERR_WRONG_SEQUENCE, PubAck
from protocols import headers as h
from protocols.errors import AlreadyExistsError, UnavailableError
from protocols.events import from_time
from protocols.ports import Outgoing, Transport

ANSWER_S: Final = 5.0
IN_FLIGHT_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses while another write of the same key is under way (R3): then the check tells."""
_ack_decoder: Final = msgspec.json.Decoder(PubAck)


class _Stored(msgspec.Struct):
    """The answer of STREAM.MSG.GET."""

    class Message(msgspec.Struct):
        """The stored message; ``data`` and ``hdrs`` are base64 on the wire."""

        seq: int
        subject: str = ""
        data: bytes = b""
        hdrs: bytes = b""
        time: str = ""

    message: Message | None = None
    error: PubAck.Error | None = None


_stored_decoder: Final = msgspec.json.Decoder(_Stored)


class Entry(msgspec.Struct, frozen=True):
    """One value with its revision (the stream sequence)."""

    key: str
    value: bytes
    revision: int
    at: int = 0


def acknowledged(payload: bytes) -> bool:
    """Tell whether an answer says that a value is stored."""
    try:
        ack = _ack_decoder.decode(payload)
    except msgspec.DecodeError:
        return False
    return ack.error is None and ack.seq > 0


class Kv:
    """One bucket. Every call raises UnavailableError or UnknownOutcomeError."""

    def __init__(self, transport: Transport, bucket: str) -> None:
        self.stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._transport = transport
        self._reader: DirectReader | None = None

    def subject(self, key: str) -> str:
        """Return the subject of a key."""
        return self._prefix + key

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store a value and return its revision.

        With ``revision`` only when the key still has it (0: no such key); otherwise
        AlreadyExistsError.
        """
        lines = b"" if revision is None else h.encode({h.EXPECTED_SEQUENCE: str(revision)})
        message = Outgoing(self.subject(key), value, lines)
        tries = 0
        while True:
            answer = await self._transport.request(message, timeout_s=ANSWER_S)
            ack = _ack_decoder.decode(answer.payload)
            if ack.error is None:
                return ack.seq
            if ack.error.err_code == ERR_WRONG_SEQUENCE:
                raise AlreadyExistsError(f"{key} has changed: {ack.error.description}")
            if ack.error.err_code != ERR_IN_FLIGHT or tries == len(IN_FLIGHT_S):
                raise UnavailableError(f"{self.stream} refused {key}: {ack.error.description}")
            await trio.sleep(IN_FLIGHT_S[tries])
            tries += 1

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
        found = await self._message({"last_by_subj": self.subject(key)})
        if found is None or b"KV-Operation" in found.hdrs:
            return None
        return Entry(key, found.data, found.seq, from_time(found.time))

    async def leaders(self) -> list[Entry]:
        """Return all keys as the stream's leader has them, oldest first: for a few keys."""
        entries = []
        found = await self._message({"seq": 1, "next_by_subj": self.subject(">")})
        while found is not None:
            if b"KV-Operation" not in found.hdrs:
                key = found.subject.removeprefix(self._prefix)
                entries.append(Entry(key, found.data, found.seq))
            found = await self._message({"seq": found.seq + 1, "next_by_subj": self.subject(">")})
        return entries

    async def _message(self, request: dict[str, Any]) -> _Stored.Message | None:
        """Ask the leader for one stored message."""
        answer = await self._transport.request(
            Outgoing(f"$JS.API.STREAM.MSG.GET.{self.stream}", msgspec.json.encode(request)),
            timeout_s=ANSWER_S,
        )
        found = _stored_decoder.decode(answer.payload)
        if found.error is not None:
            if found.error.code == 404:  # noqa: PLR2004
                return None
            raise UnavailableError(f"{self.stream} does not answer: {found.error.description}")
        assert found.message is not None, "neither an error nor a message"
        return found.message

    async def last(self, *patterns: str) -> list[Entry]:
        """Return the keys that match subject patterns, at most 1,000, in no order.

        One question. Found by subject: ``all`` looks at each sequence, and in a bucket that is
        renewed all the time there are many between two that are left.
        """
        if self._reader is None:  # kept: to subscribe takes as long as to ask
            reader = DirectReader(self._transport, self.stream)
            await reader.__aenter__()
            self._reader = reader
        stored = await self._reader.last([self._prefix + each for each in patterns])
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
