"""What a stopped nats-server has stored, as files: for tests that change it behind its back.

    store/jetstream/<account>/streams/<stream>/msgs/<n>.blk    records, one behind the other
    record    length, sequence, time, subject, [headers], payload, checksum (HighwayHash-64)

(nats-server 2.15; whoever can write these files can mend the checksums, as is done here.)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

HAS_HEADERS: Final = 1 << 31
HEAD: Final = struct.Struct("<IQqH")
CHECKSUM_BYTES: Final = 8
CHECKED: Final = 50
"""Messages of a file by which it is seen that its format is this one."""
MUL0: Final = (
    0xDBE6D5D5FE4CCE2F,
    0xA4093822299F31D0,
    0x13198A2E03707344,
    0x243F6A8885A308D3,
)
MUL1: Final = (
    0x3BD39E10CB0EF593,
    0xC0ACF169B5F18A8C,
    0xBE5466CF34E90C6C,
    0x452821E638D01377,
)
M64: Final = (1 << 64) - 1
M32: Final = (1 << 32) - 1


class Record(msgspec.Struct, frozen=True):
    """One stored message."""

    seq: int
    at: int
    subject: str
    headers: bytes
    payload: bytes


def rewrite(
    directory: Path, stream: str, change: Callable[[list[Record]], Sequence[Record]]
) -> None:
    """Write a stream's messages anew, as ``change`` returns them. The server must not run."""
    (messages,) = directory.glob(f"store/jetstream/*/streams/{stream}/msgs")
    for path in sorted(messages.glob("*.blk")):
        key = hashlib.sha256(f"{stream}-{path.stem}".encode()).digest()
        raw = path.read_bytes()
        stored = dict(_records(raw))
        for each in list(stored)[:CHECKED]:
            assert _encoded(each, key) == stored[each], "another file format"
        # A sum takes half a millisecond here: what is as it was keeps its own.
        changed = change(list(stored))
        path.write_bytes(b"".join(stored.get(each) or _encoded(each, key) for each in changed))
    for path in messages.glob("index.db"):  # it is made again from the blocks
        path.unlink()


def _records(raw: bytes) -> Iterator[tuple[Record, bytes]]:
    """Yield each message, and its bytes."""
    at = 0
    while at < len(raw):
        length, seq, moment, subject_bytes = HEAD.unpack_from(raw, at)
        end = at + (length & ~HAS_HEADERS) - CHECKSUM_BYTES
        begin = at + HEAD.size
        subject = raw[begin : begin + subject_bytes].decode()
        begin += subject_bytes
        headers = b""
        if length & HAS_HEADERS:
            (size,) = struct.unpack_from("<I", raw, begin)
            headers = raw[begin + 4 : begin + 4 + size]
            begin += 4 + size
        begun, at = at, end + CHECKSUM_BYTES
        yield Record(seq, moment, subject, headers, raw[begin:end]), raw[begun:at]


def _encoded(record: Record, key: bytes) -> bytes:
    subject = record.subject.encode()
    headers = record.headers
    sized = struct.pack("<I", len(headers)) + headers if headers else b""
    body = subject + sized + record.payload
    length = HEAD.size + len(body) + CHECKSUM_BYTES
    if headers:
        length |= HAS_HEADERS
    head = HEAD.pack(length, record.seq, record.at, len(subject))
    summed = highway_hash(key, head[4:20] + subject + headers + record.payload)
    return head + body + struct.pack("<Q", summed)


def highway_hash(key: bytes, data: bytes) -> int:
    """Return HighwayHash-64 (github.com/google/highwayhash)."""
    state = _Highway(struct.unpack("<4Q", key))
    whole = len(data) & ~31
    for at in range(0, whole, 32):
        state.update(struct.unpack_from("<4Q", data, at))
    if len(data) > whole:
        state.remainder(data[whole:])
    return state.finish()


class _Highway:
    def __init__(self, key: Sequence[int]) -> None:
        self.mul0, self.mul1 = list(MUL0), list(MUL1)
        self.v0 = [mul ^ word for mul, word in zip(self.mul0, key, strict=True)]
        self.v1 = [mul ^ _swapped(word) for mul, word in zip(self.mul1, key, strict=True)]

    def update(self, lanes: Sequence[int]) -> None:
        v0, v1, mul0, mul1 = self.v0, self.v1, self.mul0, self.mul1
        for i in range(4):
            v1[i] = (v1[i] + mul0[i] + lanes[i]) & M64
            mul0[i] ^= (v1[i] & M32) * (v0[i] >> 32)
            v0[i] = (v0[i] + mul1[i]) & M64
            mul1[i] ^= (v0[i] & M32) * (v1[i] >> 32)
        for i in (0, 2):
            _zip(v1[i + 1], v1[i], v0, i)
        for i in (0, 2):
            _zip(v0[i + 1], v0[i], v1, i)

    def remainder(self, rest: bytes) -> None:
        size = len(rest)
        for i in range(4):
            self.v0[i] = (self.v0[i] + (size << 32) + size) & M64
            low, high = self.v1[i] & M32, self.v1[i] >> 32
            self.v1[i] = _turned(low, size) | _turned(high, size) << 32
        packet = bytearray(32)
        part = size & 3
        packet[: size & ~3] = rest[: size & ~3]
        tail = rest[size & ~3 :]
        if size & 16:
            packet[28:32] = rest[-4:]
        elif part:
            packet[16:19] = bytes([tail[0], tail[part >> 1], tail[part - 1]])
        self.update(struct.unpack("<4Q", packet))

    def finish(self) -> int:
        for _ in range(4):
            self.update([_swapped(self.v0[i]) for i in (2, 3, 0, 1)])
        return (self.v0[0] + self.v1[0] + self.mul0[0] + self.mul1[0]) & M64


def _swapped(word: int) -> int:
    return word >> 32 | (word & M32) << 32


def _turned(word: int, by: int) -> int:
    return ((word << by) | (word >> (32 - by))) & M32


def _zip(v1: int, v0: int, into: list[int], at: int) -> None:
    """Mix the bytes of two words into two others, as a byte shuffle does."""
    into[at] = (
        into[at]
        + (
            ((v0 & 0xFF000000) | (v1 & 0xFF00000000)) >> 24
            | ((v0 & 0xFF0000000000) | (v1 & 0xFF000000000000)) >> 16
            | (v0 & 0xFF0000)
            | (v0 & 0xFF00) << 32
            | (v1 & 0xFF00000000000000) >> 8
            | (v0 << 56) & M64
        )
    ) & M64
    into[at + 1] = (
        into[at + 1]
        + (
            ((v1 & 0xFF000000) | (v0 & 0xFF00000000)) >> 24
            | (v1 & 0xFF0000)
            | (v1 & 0xFF0000000000) >> 16
            | (v1 & 0xFF00) << 24
            | (v0 & 0xFF000000000000) >> 8
            | (v1 & 0xFF) << 48
            | (v0 & 0xFF00000000000000)
        )
    ) & M64
