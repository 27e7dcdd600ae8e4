"""Neighbours: streams of others in our account that would answer in somebody's place.

A stream acknowledges every message that it captures, on the message's reply subject. One that
captures a service's subject answers for the service, one that captures the API's answers for
the daemon (hazard S4). They are refused at the start and when something is registered; the
router looks again at each subject that a step uses.

A mirror of a stream of ours answers direct gets for it, behind its origin and with what was
purged there; the server does not let that be switched off. It is refused in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from protocols.errors import ConfigurationError, UnavailableError
from protocols.ports import Outgoing, Transport

GUARDED: Final = ("movant.svc.>", "movant.api.>")
"""Subjects of ours where a subscriber has to answer, and no stream may."""
OURS: Final = frozenset({"MAIL", "TIMERS", "EVENTS", "ARCHIVE", "DEAD"})
"""Streams of ours, beside those of our buckets."""
BUCKETS: Final = "KV_movant_"
ANSWER_S: Final = 5.0


class _Names(msgspec.Struct):
    streams: list[str] | None = None


class _Mirror(msgspec.Struct):
    name: str = ""
    external: dict[str, str] | None = None


class _Config(msgspec.Struct):
    name: str
    mirror: _Mirror | None = None


class _Stream(msgspec.Struct):
    config: _Config


class _Page(msgspec.Struct):
    total: int = 0
    streams: list[_Stream] | None = None


_names_decoder: Final = msgspec.json.Decoder(_Names)
_page_decoder: Final = msgspec.json.Decoder(_Page)


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


async def mirrors(transport: Transport) -> dict[str, list[str]]:
    """Return the streams of ours that have mirrors in our account, each with those."""
    found: dict[str, list[str]] = {}
    seen = 0
    while True:
        body = msgspec.json.encode({"offset": seen})
        answer = await transport.request(Outgoing("$JS.API.STREAM.LIST", body), ANSWER_S)
        try:
            page = _page_decoder.decode(answer.payload)
        except msgspec.DecodeError as error:
            raise UnavailableError(
                f"JetStream answers STREAM.LIST with something else: {error}"
            ) from error
        streams = page.streams or []
        for each in streams:
            mirror = each.config.mirror
            if mirror is None or mirror.external is not None:
                continue
            if mirror.name in OURS or mirror.name.startswith(BUCKETS):
                found.setdefault(mirror.name, []).append(each.config.name)
        seen += len(streams)
        if not streams or seen >= page.total:
            return found


async def problems(transport: Transport, foreign: Iterable[str] = ()) -> list[str]:
    """Say which streams would answer in place of services, the daemon or our own streams."""
    found = []
    for name, copies in (await mirrors(transport)).items():
        found.append(
            f"stream {', '.join(copies)} is a mirror of {name}: it would answer reads, behind"
            " its origin"
        )
    captured = await captors(transport, foreign)
    return [*found, told(captured)] if captured else found


async def refuse_neighbours(transport: Transport, foreign: Iterable[str] = ()) -> None:
    """Raise ConfigurationError when a stream would answer in somebody's place."""
    found = await problems(transport, foreign)
    if found:
        raise ConfigurationError(
            "; ".join(found),
            hint="remove that mirror or change the subjects of that stream, or give movant a NATS"
            " account of its own (docs/operations.md, 'Accounts')",
        )


def told(found: Mapping[str, list[str]]) -> str:
    """Say which streams capture what."""
    each = [f"stream {', '.join(names)} captures {subject}" for subject, names in found.items()]
    return f"{'; '.join(each)}: it would answer in place of who serves there"
