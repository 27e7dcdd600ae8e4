"""Who may say what, by kind of message: the accounts and users of a NATS server for movant.

    CLIENTS ── start, signal, api ─▶ MOVANT: streams, the daemon ── svc ──▶ SERVICES
            ◀─── events ────────────                             ◀── reply ─
    MONITORS ── read JetStream ────▶

Permissions of users alone are not enough. Whoever publishes into a stream names the subject to
which its acknowledgement goes, and the server sends it there with rights of its own: with one
account a signal with the reply subject ``movant.to.<other>.control.cancel`` cancels another
run, one with ``$KV.…`` overwrites a lease, one with ``movant.timer.…`` unarms a timer; a
service that answers ``$SRV.PING`` can be made to publish anywhere. Between accounts the server
replaces reply subjects, and the answer ends in the account of who asked. So everything durable
stands in an account of its own, and each kind of program has one that sees what it needs.
Inboxes are separate for the same reason: nobody reads another kind's replies.
(nats-server 2.15.1; hazard S9 in tests/hazards.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from actors.files.trigger_check import wrong_subject
from protocols.errors import ConfigurationError

MAIN: Final = "MOVANT"
CLIENTS: Final = "CLIENTS"
SERVICES: Final = "SERVICES"
MONITORS: Final = "MONITORS"

_SERVED: Final = "movant.svc.>"
_DISCOVERY: Final = "$SRV.>"
_EVENTS: Final = "movant.event.>"
_INBOX: Final = "_INBOX.>"
"""Also published to: a connection proves that it lives by a message to itself."""
_TO_CLIENTS: Final = (
    "movant.to.*.start.>",
    "movant.to.*.signal.>",
    "movant.put.>",
    "movant.api.>",
)
_TO_SERVICES: Final = (
    "movant.to.*.reply.>",
    "movant.beat.>",
    "movant.put.>",
    "$JS.API.DIRECT.GET.BLOBS.>",
    "movant.api.run.mend",
)
"""Blobs are read by the subject that a request names. That keeps honest programs to what they
were asked with; the server takes wildcards there, so it keeps nobody out (docs/operations.md)."""
_TO_MONITORS: Final = (
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.INFO.*.*",
)
_TO_MONITORS_MANY: Final = ("$JS.API.DIRECT.GET.>",)
"""Reads that are answered with more than one message."""
_RESPONSES: Final = {"max": 100, "expires": "2m"}
"""For answers to discovery: one message reaches every service of a process."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """One user. Without ``publish`` and ``subscribe`` everything in the account is permitted."""

    name: str
    account: str
    purpose: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    responds: bool = False
    """Whether answers may go to the reply subject of a message that was received."""


def users(foreign: Sequence[str] = (), heard: Sequence[str] = ()) -> tuple[User, ...]:
    """Return all users; ``foreign`` are subjects of services outside of ``movant.svc``.

    ``heard`` are those of message triggers, which clients may publish.
    """
    return (
        User(name="daemon", account=MAIN, purpose="the daemon"),
        User(name="admin", account=MAIN, purpose="people who may do everything, with care"),
        User(
            name="client",
            account=CLIENTS,
            purpose="programs that start, signal and watch runs",
            publish=(*_TO_CLIENTS, *heard, _DISCOVERY, _INBOX),
            subscribe=(_INBOX, _EVENTS),
        ),
        User(
            name="service",
            account=SERVICES,
            purpose="services, hosted by movant or not",
            publish=(*_TO_SERVICES, _INBOX),
            subscribe=(_INBOX, _SERVED, _DISCOVERY, *foreign),
            responds=True,
        ),
        User(
            name="monitor",
            account=MONITORS,
            purpose="people and tools that look and change nothing",
            publish=(*_TO_MONITORS, *_TO_MONITORS_MANY, _DISCOVERY, _INBOX),
            subscribe=(_INBOX, _EVENTS),
        ),
    )


USERS: Final = tuple(each.name for each in users())


def accounts(
    passwords: Mapping[str, str], foreign: Sequence[str] = (), heard: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the ``accounts`` block of a server configuration; ``passwords`` is by user."""
    found: dict[str, dict[str, Any]] = {
        MAIN: {
            "jetstream": "enabled",
            "exports": [
                *_exports("service", (*_TO_CLIENTS, *heard), CLIENTS),
                *_exports("service", _TO_SERVICES, SERVICES),
                *_exports("service", _TO_MONITORS, MONITORS),
                *_exports("service", _TO_MONITORS_MANY, MONITORS, response_type="stream"),
                *_exports("service", (_DISCOVERY,), CLIENTS, MONITORS, response_type="stream"),
                *_exports("stream", (_EVENTS,), CLIENTS, MONITORS),
                *_exports("stream", (_SERVED, *foreign), SERVICES),
            ],
            "imports": _imports("service", (_DISCOVERY,), SERVICES),
        },
        CLIENTS: {
            "imports": [
                *_imports("service", (*_TO_CLIENTS, *heard, _DISCOVERY), MAIN),
                *_imports("stream", (_EVENTS,), MAIN),
            ]
        },
        SERVICES: {
            "exports": _exports("service", (_DISCOVERY,), MAIN, response_type="stream"),
            "imports": [
                *_imports("service", _TO_SERVICES, MAIN),
                # The trace tells the daemon who serves a subject: presence (hazard S1).
                *_imports("stream", (_SERVED, *foreign), MAIN, allow_trace=True),
            ],
        },
        MONITORS: {
            "imports": [
                *_imports("service", (*_TO_MONITORS, *_TO_MONITORS_MANY, _DISCOVERY), MAIN),
                *_imports("stream", (_EVENTS,), MAIN),
            ]
        },
    }
    return {
        name: {
            "users": [
                _user(each, passwords[each.name])
                for each in users(foreign, heard)
                if each.account == name
            ],
            **account,
        }
        for name, account in found.items()
    }


def foreign_subjects(services: Mapping[str, str]) -> tuple[str, ...]:
    """Return what users of foreign services subscribe to, from the setting ``services``.

    Raises ConfigurationError for a pattern that would open more than one service.
    """
    found = {_foreign_subject(name, pattern) for name, pattern in services.items() if pattern}
    return tuple(sorted(each for each in found if not each.startswith("movant.svc.")))


def heard_subjects(subjects: Iterable[str]) -> tuple[str, ...]:
    """Return what clients may publish for message triggers, from ``server.client_subjects``.

    Raises ConfigurationError for a subject of ours or of everybody.
    """
    found = sorted({*subjects})
    for each in found:
        wrong = wrong_subject(each)
        if wrong:
            raise ConfigurationError(f"server.client_subjects: {wrong}", hint="such as: orders.>")
    return tuple(found)


def _foreign_subject(name: str, pattern: str) -> str:
    """Cut a pattern where the operation begins: ``billing.v2.{operation}`` -> ``billing.v2.>``."""
    kept = []
    for token in pattern.split("."):
        if "{operation}" in token:
            break
        kept.append(token)
    subject = ".".join(kept)
    ours = subject.startswith(("movant.", "$", "_")) and not subject.startswith("movant.svc.")
    if not subject or ours or {"*", ">", ""} & set(kept):
        raise ConfigurationError(
            f"services.{name} = {pattern!r} is no subject of a service of its own",
            hint="begin it with a name of the service, such as billing.v2.{operation}",
        )
    return f"{subject}.>"


def _exports(
    kind: str, subjects: Iterable[str], *to: str, response_type: str = ""
) -> list[dict[str, Any]]:
    more = {"response_type": response_type} if response_type else {}
    return [{kind: subject, "accounts": list(to), **more} for subject in subjects]


def _imports(
    kind: str, subjects: Iterable[str], of: str, *, allow_trace: bool = False
) -> list[dict[str, Any]]:
    more = {"allow_trace": True} if allow_trace else {}
    return [{kind: {"account": of, "subject": subject}, **more} for subject in subjects]


def _user(user: User, password: str) -> dict[str, Any]:
    found: dict[str, Any] = {"user": user.name, "password": password}
    if user.publish:
        found["permissions"] = {
            "publish": list(user.publish),
            "subscribe": list(user.subscribe),
            **({"allow_responses": _RESPONSES} if user.responds else {}),
        }
    return found
