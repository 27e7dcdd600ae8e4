"""The NATS wire protocol as pure functions: write commands, check subjects, read frames.

Own code instead of nats-py's parser for three reasons: it takes one pass over a whole chunk
of the socket (about a quarter of the cost per message); what cannot be decoded becomes an
escaped frame and is never an exception in a read loop; and it splits lines exactly as the
server joins them, at single spaces. (A regular expression over white space takes a subject
that holds a vertical tab for a protocol error, and one such message in a stream would cut
every reader, again after each reconnect.)
"""

from __future__ import annotations

from typing import Final

import msgspec

from protocols.errors import BadValueError, InvalidIdError, OversizedError
from protocols.headers import HEADER_BYTES_MAX, block
from protocols.ports import Frame, Outgoing
from protocols.subjects import SUBJECT_BYTES_MAX

PING: Final = b"PING\r\n"
PONG: Final = b"PONG\r\n"
LINE_BYTES_MAX: Final = 65_536
"""Longest control line that is read. Messages have at most 4 kB of it; INFO of a large
cluster has some 10 kB."""

_CRLF: Final = b"\r\n"
_MESSAGE: Final = ord("M")
_HEADER_MESSAGE: Final = ord("H")

Run = tuple[bytes, list[Frame]]
"""Consecutive frames of one subscription, by its sid as it stands on the wire."""


class WireError(Exception):
    """The bytes are no NATS protocol; the connection is of no use any more."""


class Chunk(msgspec.Struct, gc=False):
    """What one read of the socket held."""

    runs: list[Run]
    controls: list[bytes]
    """Control lines other than messages, without their end."""
    frames: int
    bad_frames: int
    bytes_count: int

    def cut(self, count: int) -> Chunk:
        """Remove the first frames and return them; the bytes go with the last ones."""
        first: list[Run] = []
        self.frames -= count
        left = count
        while left:
            sid, frames = self.runs[0]
            if len(frames) > left:
                first.append((sid, frames[:left]))
                self.runs[0] = (sid, frames[left:])
                break
            first.append(self.runs.pop(0))
            left -= len(frames)
        return Chunk(first, [], count, 0, 0)


class Reader:
    """Bytes in, chunks out; keeps an unfinished frame until the rest has come."""

    __slots__ = ("_held", "_held_bytes", "_needed")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._needed = 0

    def feed(self, data: bytes) -> Chunk | None:
        """Return what ``data`` completes, or None. Raises WireError."""
        if self._held:
            self._held.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._needed:
                return None
            data = b"".join(self._held)
            self._held.clear()
        return self._split(data)

    def _split(self, data: bytes) -> Chunk:  # noqa: C901, PLR0912, PLR0915 - the hot path
        runs: list[Run] = []
        controls: list[bytes] = []
        frames: list[Frame] = []
        running = b""
        frames_count = bad = position = 0
        size = len(data)
        while position < size:
            end_of_line = data.find(_CRLF, position)
            if end_of_line < 0:
                if size - position > LINE_BYTES_MAX:
                    raise WireError("a control line does not end")
                self._hold(data[position:], 0)
                break
            kind = data[position]
            if kind == _MESSAGE:
                args = data[position + 4 : end_of_line].split(b" ")
                header_bytes = 0
            elif kind == _HEADER_MESSAGE:
                args = data[position + 5 : end_of_line].split(b" ")
                header_bytes = _count(args.pop(-2)) if len(args) > 3 else -1  # noqa: PLR2004
            else:
                controls.append(data[position:end_of_line])
                position = end_of_line + 2
                continue
            if len(args) == 3:  # noqa: PLR2004 - subject, sid, size
                subject, sid, count = args
                reply = b""
            elif len(args) == 4:  # noqa: PLR2004 - subject, sid, reply, size
                subject, sid, reply, count = args
            else:
                raise WireError(f"a message line has {len(args)} parts")
            start = end_of_line + 2
            end = start + _count(count)
            if end + 2 > size:
                self._hold(data[position:], end + 2 - position)
                break
            body = start + header_bytes
            if not start <= body <= end or not data.startswith(_CRLF, end):
                raise WireError("a message does not have the size that it names")
            try:
                subject_text = subject.decode()
                reply_text = reply.decode()
            except UnicodeDecodeError:
                bad += 1
                subject_text = subject.decode("utf-8", "backslashreplace")
                reply_text = reply.decode("utf-8", "backslashreplace")
            frame = Frame(subject_text, reply_text, data[start:body], data[body:end])
            frames_count += 1
            position = end + 2
            if sid == running:
                frames.append(frame)
            else:
                running = sid
                frames = [frame]
                runs.append((sid, frames))
        return Chunk(runs, controls, frames_count, bad, size)

    def _hold(self, rest: bytes, needed: int) -> None:
        self._held.append(rest)
        self._held_bytes = len(rest)
        self._needed = needed


def _count(digits: bytes) -> int:
    if not digits.isdigit():
        raise WireError("a size is no number")
    return int(digits)


def publish(message: Outgoing, payload_bytes_max: int, reply: str = "") -> bytes:
    """Return the bytes that publish ``message``. ``reply`` of ours replaces the message's.

    Raises InvalidIdError, BadValueError or OversizedError for what must not reach the wire.
    """
    subject = message.subject
    payload = message.payload
    check_subject(subject)
    if not reply and message.reply:
        reply = message.reply
        check_subject(reply)
    if message.headers:
        headers = block(message.headers)
        check_headers(headers)
        size = len(headers) + len(payload)
        if size > payload_bytes_max:
            raise _oversized(size, payload_bytes_max)
        line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n"
        return b"".join((line.encode(), headers, payload, _CRLF))
    size = len(payload)
    if size > payload_bytes_max:
        raise _oversized(size, payload_bytes_max)
    return b"%b%b\r\n" % (f"PUB {subject} {reply} {size}\r\n".encode(), payload)


def subscribe(subject: str, queue: str, sid: bytes) -> bytes:
    """Return the bytes that open a subscription."""
    return f"SUB {subject} {queue} ".encode() + sid + _CRLF


def unsubscribe(sid: bytes) -> bytes:
    """Return the bytes that end a subscription."""
    return b"UNSUB " + sid + _CRLF


def check_subject(subject: str) -> None:
    """Raise InvalidIdError unless ``subject`` may be published to.

    A space or a line end would let a subject write protocol lines of its own; a wildcard
    token would be stored literally and matched by no reader; an over-long line makes the
    server close the connection.
    """
    # Joined so that a valid subject costs six calls into C and no regular expression.
    if (
        not subject.isprintable()
        or " " in subject
        or ".." in subject
        or not subject
        or subject[0] == "."
        or subject[-1] == "."
        or len(subject) > SUBJECT_BYTES_MAX
        or (not subject.isascii() and len(subject.encode()) > SUBJECT_BYTES_MAX)
        or (("*" in subject or ">" in subject) and _has_wildcard(subject))
    ):
        raise InvalidIdError(
            f"subject {_shown(subject)} cannot be published to",
            hint="non-empty tokens of printable characters without spaces and wildcards, "
            f"joined by dots, at most {SUBJECT_BYTES_MAX} bytes",
        )


def check_filter(subject: str, queue: str) -> None:
    """Raise InvalidIdError unless ``subject`` and ``queue`` may be subscribed to."""
    tokens = subject.split(".")
    if tokens[-1] == ">":
        tokens[-1] = "_"
    try:
        check_subject(".".join("_" if one == "*" else one for one in tokens))
        if queue:
            check_subject(queue)
    except InvalidIdError as error:
        raise InvalidIdError(
            f"subject {_shown(subject)} with queue {_shown(queue)} cannot be subscribed to",
            hint="tokens of printable characters without spaces; '*' for one token, '>' last",
        ) from error


def check_headers(headers: bytes) -> None:
    """Raise unless a header block that we send is one: lines, each ended, none empty.

    A bare CR or LF, or an empty line, would end the block early or smuggle a header in.
    """
    if len(headers) > HEADER_BYTES_MAX:
        raise OversizedError(
            f"a header block of {len(headers)} bytes is above {HEADER_BYTES_MAX}",
            hint="put data into the payload, not into headers",
        )
    lines = headers.count(_CRLF)
    if (
        headers.count(b"\r") != lines
        or headers.count(b"\n") != lines
        or headers.find(b"\r\n\r\n") != len(headers) - 4
    ):
        raise BadValueError(
            "the header lines are no header lines",
            hint="build them with protocols.headers.encode",
        )


def _has_wildcard(subject: str) -> bool:
    return any(token in {"*", ">"} for token in subject.split("."))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")  # noqa: PLR2004


def _oversized(size: int, limit: int) -> OversizedError:
    return OversizedError(
        f"a message of {size} bytes is above the server's max_payload of {limit}",
        hint="put the data into the object store and send its digest",
    )
