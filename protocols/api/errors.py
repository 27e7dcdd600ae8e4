"""Errors of the API: how one crosses the wire, and what the client raises for it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from protocols import errors
from protocols.errors import MovantError
from protocols.headers import SERVICE_ERROR, SERVICE_ERROR_CODE

_ERROR_CHARS_MAX: Final = 500
"""A header is for people who look at messages; the whole text is in the payload."""


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not done. The same fields whatever it was."""

    code: Annotated[
        str,
        Meta(
            description="Stable code, such as refused.not_found: what the caller can do about it."
        ),
    ]
    message: Annotated[str, Meta(description="What is wrong, for people.")]
    hint: Annotated[str, Meta(description="The next thing to do.")] = ""
    fields: Annotated[
        dict[str, str],
        Meta(description="For a wrong input: path of a field to what is wrong with it."),
    ] = {}


SERVICE_CODES: Final[dict[type[MovantError], int]] = {
    errors.InvalidIdError: 400,
    errors.BadValueError: 400,
    errors.InvalidInputError: 422,
    errors.NotFoundError: 404,
    errors.AlreadyExistsError: 409,
    errors.AlreadyDecidedError: 409,
    errors.OversizedError: 413,
    errors.SchemaVersionError: 400,
    errors.ConfigurationError: 412,
    errors.RefusedError: 400,
    errors.OverloadedError: 429,
    errors.NoRespondersError: 503,
    errors.DisconnectedError: 503,
    errors.UnavailableError: 503,
    errors.UnknownOutcomeError: 504,
    errors.InternalError: 500,
    errors.MovantError: 500,
}
"""Numbers for NATS micro clients. 4xx: change the request; 429 and 5xx: later or never."""

_CLASSES: Final = {kind.code: kind for kind in SERVICE_CODES}


def error_reply(error: MovantError) -> ErrorReply:
    """Return the payload that tells a client about an error."""
    return ErrorReply(
        code=error.code,
        message=error.message,
        hint=error.hint,
        fields=error.fields if isinstance(error, errors.InvalidInputError) else {},
    )


def error_headers(error: MovantError) -> dict[str, str]:
    """Return the headers of an error reply. A header carries one line of printable ASCII."""
    code = next(SERVICE_CODES[kind] for kind in type(error).__mro__ if kind in SERVICE_CODES)
    text = "".join(c if " " <= c <= "~" else "?" for c in error.message[:_ERROR_CHARS_MAX])
    return {SERVICE_ERROR: text.strip() or error.code, SERVICE_ERROR_CODE: str(code)}


def to_error(reply: ErrorReply) -> MovantError:
    """Return the error that a client raises for an error reply.

    A code of a newer daemon is read as the nearest one that this client knows.
    """
    code = reply.code
    while code not in _CLASSES and "." in code:
        code = code.rpartition(".")[0]
    kind = _CLASSES.get(code, MovantError)
    if kind is errors.InvalidInputError:
        return errors.InvalidInputError(reply.message, fields=reply.fields, hint=reply.hint)
    return kind(reply.message, hint=reply.hint)
