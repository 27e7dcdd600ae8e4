"""Neighbours: streams of others in our account that would answer in somebody's place.

A stream acknowledges every message that it captures, on the message's reply subject. One that
captures a service's subject answers for the service, one that captures the API's answers for
the daemon (hazard S4). They are refused at the start and when something is registered; the
router looks again at each subject that a step uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from protocols.errors import ConfigurationError, UnavailableError
from protocols.ports import Outgoing, Transport

GUARDED: Final = ("movant.svc.>", "movant.api.>")
"""Subjects of ours where a subscriber has to answer, and no stream may."""
ANSWER_S: Final = 5.0


class _Names(msgspec.Struct):
    streams: list[str] | None = None


_names_decoder: Final = msgspec.json.Decoder(_Names)


async def streams_on(transport: Transport, subject: str) -> list[str]:
    """Return the streams whose subjects overlap ``subject``."""
    answer = await transport.request(
        Outgoing("$JS.API.STREAM.NAMES", msgspec.json.encode({"subject": subject})), ANSWER_S
    )
    try:
        return _names_decoder.decode(answer.payload).streams or []
    except msgspec.DecodeError as error:
        raise UnavailableError(
            f"JetStream answers STREAM.NAMES with something else: {error}"
        ) from error


async def captors(transport: Transport, foreign: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return the guarded and foreign subjects that streams capture, each with those streams."""
    found = {}
    for subject in (*GUARDED, *foreign):
        names = await streams_on(transport, subject)
        if names:
            found[subject] = names
    return found


async def refuse_captors(transport: Transport, foreign: Iterable[str] = ()) -> None:
    """Raise ConfigurationError when a stream would answer in place of services or the daemon."""
    found = await captors(transport, foreign)
    if found:
        raise ConfigurationError(
            told(found),
            hint="change the subjects of that stream, or give movant a NATS account of its own"
            " (docs/operations.md, 'Accounts')",
        )


def told(found: Mapping[str, list[str]]) -> str:
    """Say which streams capture what."""
    each = [f"stream {', '.join(names)} captures {subject}" for subject, names in found.items()]
    return f"{'; '.join(each)}: it would answer in place of who serves there"
