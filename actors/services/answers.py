"""Answers: what a service says, as payload and header lines.

A success is the bare value. Whatever is not carries NATS micro's error headers and, for movant,
whether there may have been an effect.
"""

from __future__ import annotations

from typing import Any

import msgspec

from protocols import codec
from protocols import headers as h
from protocols.blobs import BLOB_BYTES_MAX, INLINE_BYTES_MAX, File, Result
from protocols.failure import FAILED, REFUSED, UNKNOWN
from protocols.service import Failed, Refused, Unknown

Answer = tuple[bytes, bytes]
"""Payload and header lines."""


class Large(msgspec.Struct, frozen=True):
    """An answer of which something has to be stored first: its value, or files beside it."""

    body: bytes
    files: tuple[File, ...] = ()


def result_answer(value: Any) -> Answer | Large:
    """Return the answer for a result. Raises BadValueError, OversizedError."""
    files: tuple[File, ...] = ()
    if type(value) is Result:
        value, files = value.value, value.artifacts
    body = codec.encode(value, limit=BLOB_BYTES_MAX)
    if files or len(body) > INLINE_BYTES_MAX:
        return Large(body, files)
    return body, b""


def declared_answer(error: Refused | Failed | Unknown) -> Answer:
    """Return the answer of a handler that refuses, could not do it now, or cannot say."""
    if isinstance(error, Refused):
        return failure_answer(
            error.kind, error.message, outcome=REFUSED, code=409, details=error.details
        )
    unknown = isinstance(error, Unknown)
    return failure_answer(
        error.kind,
        error.message,
        outcome=UNKNOWN if unknown else FAILED,
        code=500 if unknown else 503,
        details=error.details,
        retry_after_s=error.retry_after_s,
    )


def failure_answer(
    kind: str,
    message: str,
    *,
    outcome: str,
    code: int,
    details: Any = None,
    retry_after_s: float | None = None,
    retryable: bool = True,
) -> Answer:
    """Return an error answer as every NATS micro client understands it."""
    found = {
        h.SERVICE_ERROR: header_text(message),
        h.SERVICE_ERROR_CODE: str(code),
        h.OUTCOME: outcome,
        h.ERROR_KIND: header_text(kind),
    }
    if not retryable:
        found[h.RETRYABLE] = "false"
    if retry_after_s is not None:
        found[h.RETRY_AFTER] = f"{retry_after_s:g}"
    body = b"" if details is None else codec.encode(details)
    return body, h.encode(found)


def header_text(text: str, length: int = 500) -> str:
    """Return text as a header can carry it: printable ASCII on one line."""
    plain = text.encode("ascii", "replace").decode()
    return " ".join(plain.split())[:length] or "-"
