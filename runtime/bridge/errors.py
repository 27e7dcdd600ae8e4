"""The errors that the bridge tells, each with the next thing to do."""

from __future__ import annotations

from typing import Final

from protocols.errors import (
    DisconnectedError,
    NoRespondersError,
    NotPermittedError,
    OverloadedError,
    UnknownOutcomeError,
)

_PERMISSION_HINT: Final = (
    "use the user that is meant for it (movant nats credentials), or permit it on the server"
    " (docs/operations.md, 'Permissions')"
)


def disconnected() -> DisconnectedError:
    """Say that there is no connection, so nothing was sent."""
    return DisconnectedError(
        "there is no connection to NATS; the message was not sent",
        hint="try again when the connection is back",
    )


def unknown(why: str) -> UnknownOutcomeError:
    """Say that it was sent, and nobody knows what became of it."""
    return UnknownOutcomeError(f"the outcome is unknown: {why}", hint="ask again with the same id")


def no_responders() -> NoRespondersError:
    """Say that nobody listens, as the server told."""
    return NoRespondersError(
        "nobody subscribes to the subject of the request",
        hint="start the service, or check the subject",
    )


def subscription_refused(subject: str, user: str) -> NotPermittedError:
    """Say that the server does not permit a subscription."""
    return NotPermittedError(
        f"the NATS user {user} may not subscribe to {subject}", hint=_PERMISSION_HINT
    )


def publish_refused(subject: str, user: str) -> NotPermittedError:
    """Say that the server does not permit a message."""
    return NotPermittedError(
        f"the NATS user {user} may not publish to {subject}", hint=_PERMISSION_HINT
    )


def queue_full(messages: int, bytes_count: int) -> OverloadedError:
    """Say that the socket does not take what is published."""
    return OverloadedError(
        f"{messages} messages of {bytes_count} bytes wait for the socket",
        hint="publish more slowly; the server or the network does not keep up",
    )


def too_many_open(requests: int) -> OverloadedError:
    """Say that more requests are open than may be."""
    return OverloadedError(
        f"{requests} requests are open", hint="wait for answers before asking more"
    )
