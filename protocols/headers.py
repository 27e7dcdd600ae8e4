"""NATS header blocks: build and read the bytes, and the header names that movant uses.

Own code on bytes, because nats-py's parser goes deaf on hostile blocks and costs ten times
as much; a block that cannot be read gives no headers and the flag ``malformed``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from protocols.errors import BadValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

LINE: Final = b"NATS/1.0\r\n"
HEADER_BYTES_MAX: Final = 16_384
"""A block above this is refused: ours are below 1 kB, and a reader must not parse 5,000 lines."""

CONTENT_TYPE: Final = "Content-Type"
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"

MESSAGE_ID: Final = "Movant-Id"
"""Identity of a message: chosen once by the sender, kept on every retry."""
WHO: Final = "Movant-Who"
"""Who sends a signal, a cancel or a migration by hand; percent-encoded, as are the next two."""
WHERE: Final = "Movant-Where"
WHY: Final = "Movant-Why"
SCHEMA: Final = "Movant-Schema"
"""Schema version of the sender; absent means 1."""
DEFINITION: Final = "Movant-Definition"
"""Hash of the definition that a start is pinned to; filled in by the API."""
WORKFLOW: Final = "Movant-Workflow"
"""On a pack: the workflow of its instance, so that a listing need not open it."""
STARTED: Final = "Movant-Started"
"""On a pack: when its instance was started, nanoseconds since 1970."""
PARENT: Final = "Movant-Parent"
"""``<instance>|<path>`` of the step that started a child."""
PARENT_TOKEN: Final = "Movant-Parent-Token"  # noqa: S105 - the name of a header
"""Proof that the parent's owner wrote the start: without it the parent is not told."""
KEY: Final = "Movant-Key"
"""Idempotency key of a request: the same for every attempt of a step at one service."""
UNDOES: Final = "Movant-Undoes"
"""On the request for an undo: the key of the step that it undoes."""
ATTEMPT: Final = "Movant-Attempt"
TIMEOUT: Final = "Movant-Timeout"
HEARTBEAT: Final = "Movant-Heartbeat"
"""Of a request: after how many seconds without a beat the attempt is given up."""
BEAT: Final = "Movant-Beat"
"""Of a request: the subject of its beats."""
BEAT_BYTES_MAX: Final = 2_048
"""Of what a beat says, so that it fits into a header."""
LAST: Final = "Movant-Last"
"""Of a request: what the last beat of the attempt before said, as percent-encoded JSON."""
"""Seconds that the caller will wait for this attempt, as a decimal number."""
PATH: Final = "Movant-Path"
"""Full path of a step whose subject token is a hash."""
OUTCOME: Final = "Movant-Outcome"
"""``refused`` or ``failed`` (no effect) or ``unknown``; absent with an error means failed."""
ERROR_KIND: Final = "Movant-Error-Kind"
PRIORITY: Final = "Movant-Priority"
"""On a start: -9 to 9, who goes first where requests have to wait; absent means 0."""
ASKS: Final = "Movant-Asks"
"""On a signal: its sender waits to be told what becomes of it."""
PROFILE: Final = "Movant-Profile"
"""On a start: under which of its profiles the run works; filled in by the API."""
GROUP: Final = "Movant-Group"
"""On a start and on packs of its run: by what it is counted; percent-encoded."""
GROUP_CHARS_MAX: Final = 120
"""Of what runs are counted by: percent-encoded, it has to fit a header block."""
QUEUED: Final = "Movant-Queued"
"""On a pack of a run that waits for its turn: what its owner said of that, as JSON."""
RETRY_AFTER: Final = "Movant-Retry-After"
RETRYABLE: Final = "Movant-Retryable"
"""``false`` on an error: another attempt cannot help, though there may be an effect."""
KERNEL: Final = "Movant-Kernel"
"""On a start: the semantics that it is folded with; absent means 1."""
ARTIFACTS: Final = "Movant-Artifacts"
"""On a success: the artifacts that it declares, as JSON."""
TRACEPARENT: Final = "traceparent"
SERVICE_ERROR: Final = "Nats-Service-Error"
SERVICE_ERROR_CODE: Final = "Nats-Service-Error-Code"
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
SCHEDULE: Final = "Nats-Schedule"
SCHEDULE_TARGET: Final = "Nats-Schedule-Target"
TRACE_DEST: Final = "Nats-Trace-Dest"
TRACE_ONLY: Final = "Nats-Trace-Only"

SCHEMA_VERSION: Final = 1

_IGNORED: Final = re.compile(
    rb"\r\n(?!(?:Movant(?:-[A-Z][a-z]*)+|Content-Type|traceparent):)"
    rb"(?i:(movant-[a-z-]+|content-type|traceparent)):"
)
_NAME: Final = re.compile(r"[!-9;-~]+\Z")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")


def encode(headers: Mapping[str, str]) -> bytes:
    """Return the header lines without version line and end, to be joined by ``block``.

    Raises BadValueError for a name or value that would break the block.
    """
    lines = []
    for name, value in headers.items():
        line = f"{name}: {value}"
        if not line.isascii() or not line.isprintable() or _NAME.match(name) is None:
            raise BadValueError(
                f"header {name!r} has a value that no header can carry",
                hint="headers take printable ASCII on one line; put data into the payload",
            )
        lines.append(line)
    return ("\r\n".join(lines) + "\r\n").encode() if lines else b""


def block(lines: bytes) -> bytes:
    """Return a whole header block for header lines, or nothing for no lines."""
    return b"%b%b\r\n" % (LINE, lines) if lines else b""


def decode(raw: bytes) -> dict[str, str] | None:
    """Return the headers of a block; None when the block is malformed or too large.

    The first value of a repeated name counts. An empty block has no headers.
    """
    if not raw:
        return {}
    if len(raw) > HEADER_BYTES_MAX or not raw.startswith(b"NATS/1.0"):
        return None
    try:
        lines = raw.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        return None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon or not name:
            return None
        headers.setdefault(name, value.strip())
    return headers


def ignored(raw: bytes) -> str:
    """Return the first name that is one of ours but for its case, so that nobody reads it.

    Names count as they are written, as everywhere in NATS. To read them in any case would give
    messages that are stored an identity or a priority that they were folded without.
    """
    found = _IGNORED.search(raw, 0, HEADER_BYTES_MAX)
    return found[1].decode() if found else ""


def is_traceparent(text: str) -> bool:
    """Tell whether a text is a W3C trace context: it comes from strangers, and is passed on."""
    return _TRACEPARENT.match(text) is not None


def status(raw: bytes) -> int:
    """Return the status of a status message (``NATS/1.0 503 …``), or 0."""
    if raw[8:9] != b" ":
        return 0
    digits = raw[9:12]
    return int(digits) if digits.isdigit() else 0
