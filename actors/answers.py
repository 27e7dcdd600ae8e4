"""Answers: what a service says, as payload and header lines.

A success is the bare value. Whatever is not carries NATS micro's error headers and, for movant,
whether there may have been an effect.
"""

from __future__ import annotations

from typing import Any

from protocols import codec
from protocols import headers as h
from protocols.failure import FAILED, REFUSED, UNKNOWN
from protocols.service import Failed, Refused, Unknown

Answer = tuple[bytes, bytes]
"""Payload and header lines."""


def result_answer(value: Any) -> Answer:
    """Return the answer for a result. Raises BadValueError, OversizedError."""
    return codec.encode(value), b""


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
) -> Answer:
    """Return an error answer as every NATS micro client understands it."""
    found = {
        h.SERVICE_ERROR: header_text(message),
        h.SERVICE_ERROR_CODE: str(code),
        h.OUTCOME: outcome,
        h.ERROR_KIND: header_text(kind),
    }
    if retry_after_s is not None:
        found[h.RETRY_AFTER] = f"{retry_after_s:g}"
    body = b"" if details is None else codec.encode(details)
    return body, h.encode(found)


def header_text(text: str, length: int = 500) -> str:
    """Return text as a header can carry it: printable ASCII on one line."""
    plain = text.encode("ascii", "replace").decode()
    return " ".join(plain.split())[:length] or "-"
