"""Error kinds by root cause: nine that movant knows, and how a failure is found to be of one.

    what was said                                    classified as
    a kind of this list, or an alias of one          that kind
    no kind, but an HTTP status                      by the status
    a kind of the service's own                      that kind: directives may name it

A kind that nobody has declared is unknown, and an unknown kind halts: nothing passes silently.
"""

from __future__ import annotations

from typing import Final

from protocols.failure import (
    CODE,
    FAILED,
    NO_RESPONDERS,
    PROTOCOL,
    REFUSED,
    TIMEOUT,
    UNKNOWN,
    VALIDATION,
    Failure,
)

NETWORK: Final = "network"
"""The service could not be reached, or somebody between answered in its place."""
PERMISSION: Final = "permission"
"""Who asks may not have it done."""
COMPLIANCE: Final = "compliance"
"""A rule, a law or a guardrail forbids it."""
SYSTEM: Final = "system"
"""A defect: the service broke, or its answer made no sense."""
OVER_LIMIT: Final = "over_limit"
"""Too much, too large or too fast."""

TIMED_OUT: Final = "timeout_error"
"""A timeout of a service that took back what it had begun; ``timeout`` leaves that unknown."""

KINDS: Final = (
    TIMEOUT,
    NETWORK,
    REFUSED,
    VALIDATION,
    PERMISSION,
    COMPLIANCE,
    SYSTEM,
    NO_RESPONDERS,
    OVER_LIMIT,
)

ILL: Final = frozenset({TIMEOUT, NETWORK, SYSTEM, NO_RESPONDERS})
"""Kinds that say something about the service, whatever was asked of it: breakers count these.
The others are about the request, and answers of a healthy service."""

ALIASES: Final = {
    TIMED_OUT: TIMEOUT,
    "network_error": NETWORK,
    "unavailable": NETWORK,
    "captured": NETWORK,
    "validation_error": VALIDATION,
    "permission_error": PERMISSION,
    "compliance_error": COMPLIANCE,
    "system_error": SYSTEM,
    "error": SYSTEM,
    CODE: SYSTEM,
    PROTOCOL: SYSTEM,
    "overloaded": OVER_LIMIT,
    "oversized": OVER_LIMIT,
    "rate_limited": OVER_LIMIT,
}
"""Other words for a kind: those of movant's own parts, and common ones of services."""

NAMED_STATUSES: Final = {
    400: VALIDATION,
    401: PERMISSION,
    403: PERMISSION,
    407: PERMISSION,
    408: TIMEOUT,
    413: OVER_LIMIT,
    414: OVER_LIMIT,
    415: VALIDATION,
    422: VALIDATION,
    425: OVER_LIMIT,
    429: OVER_LIMIT,
    431: OVER_LIMIT,
    451: COMPLIANCE,
    502: NETWORK,
    503: NETWORK,
    504: TIMEOUT,
    507: OVER_LIMIT,
}
"""HTTP statuses that say more than who is to blame."""
_UNNAMED: Final = frozenset({REFUSED, FAILED, UNKNOWN, ""})
"""What a failure is called when the service said no kind: its outcome."""
_CLIENT, _SERVER, _END = 400, 500, 600


def classify(failure: Failure) -> str:
    """Return the kind of a failure by its root cause; a service's own kind stays as it is.

    What it returns is one of KINDS, or a word that only the service and the definition know.
    """
    kind = failure.kind
    if kind in _UNNAMED:
        return kind_of_status(failure.code) or (REFUSED if kind == REFUSED else SYSTEM)
    return ALIASES.get(kind, kind)


def words(failure: Failure) -> tuple[str, ...]:
    """Return what a failure may be called: the service's own word, then its kind."""
    kind = classify(failure)
    return (kind,) if failure.kind in _UNNAMED or failure.kind == kind else (failure.kind, kind)


def kind_of_status(code: int) -> str:
    """Return the kind that an HTTP status stands for; empty when it says nothing."""
    known = NAMED_STATUSES.get(code)
    if known is not None:
        return known
    if _CLIENT <= code < _SERVER:
        return REFUSED
    return SYSTEM if _SERVER <= code < _END else ""


def is_unknown_outcome(failure: Failure) -> bool:
    """Tell whether the work may have been done although it failed."""
    return failure.unknown or failure.kind in {TIMEOUT, PROTOCOL}
