"""What the headers of a reply say: a success, a failure, or nothing that the protocol knows."""

from __future__ import annotations

from typing import Final

import msgspec

from protocols import headers as h
from protocols.codec import decode
from protocols.errors import MovantError
from protocols.failure import FAILED, REFUSED, UNKNOWN, Failure
from protocols.subjects import is_number

_RETRYABLE_4XX: Final = frozenset({408, 425, 429})
_OUTCOMES: Final = frozenset({REFUSED, FAILED, UNKNOWN})
_MEANT: Final = {
    each.lower(): each
    for each in (
        h.SERVICE_ERROR,
        h.SERVICE_ERROR_CODE,
        h.OUTCOME,
        h.ERROR_KIND,
        h.RETRYABLE,
        h.RETRY_AFTER,
    )
}


def is_stream_ack(payload: bytes) -> bool:
    """Tell whether a payload is what a stream answers when it has stored a message."""
    try:
        value = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return False
    known = {"stream", "seq", "domain", "duplicate", "batch", "count", "val"}
    return isinstance(value, dict) and isinstance(value.get("seq"), int) and value.keys() <= known


def failure_of(found: dict[str, str], payload: bytes, content_type: str) -> Failure | None:
    """Return the failure that a reply's headers tell, or None for a success."""
    text = found.get(h.SERVICE_ERROR)
    code_text = found.get(h.SERVICE_ERROR_CODE, "")
    outcome = found.get(h.OUTCOME, "")
    if text is None and not code_text and outcome not in {REFUSED, FAILED, "unknown"}:
        return None
    code = int(code_text) if is_number(code_text) and len(code_text) <= 4 else 500  # noqa: PLR2004
    refused = outcome == REFUSED or (
        not outcome and 400 <= code < 500 and code not in _RETRYABLE_4XX  # noqa: PLR2004
    )
    try:
        details = decode(payload, content_type)
    except MovantError:
        details = None
    return Failure(
        kind=found.get(h.ERROR_KIND) or (REFUSED if refused else outcome or FAILED),
        message=(text or f"code {code}")[:2000],
        retryable=not refused and found.get(h.RETRYABLE) != "false",
        details=details,
        retry_after_s=_seconds(found.get(h.RETRY_AFTER, "")),
        unknown=outcome == "unknown",
        code=code if code_text else 0,
    )


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 86_400 * 366 else None


def oddity(found: dict[str, str]) -> str:
    """Return why headers seem to tell a failure in other words than those of the protocol.

    A success says none of it. A kernel from ``CLEAR_ANSWERS`` on takes an odd answer for one
    that nobody can read: there may be an effect.
    """
    for name in found:
        meant = _MEANT.get(name.lower(), name)
        if meant != name:
            return f"header {name!r} is written {meant!r}"
    outcome = found.get(h.OUTCOME)
    if outcome is not None and outcome not in _OUTCOMES:
        return f"{h.OUTCOME} is {outcome[:40]!r}: it is refused, failed or unknown"
    told = h.SERVICE_ERROR in found or h.SERVICE_ERROR_CODE in found or outcome is not None
    if h.ERROR_KIND in found and not told:
        return f"{h.ERROR_KIND} without an error or an outcome"
    return ""
