"""Connectors: hosted services that are declared in a file instead of written. Pure.

    connectors:
      crm:
        kind: http
        base_url: https://crm.example.com/api
        auth: {bearer: "${env:CRM_TOKEN}"}

This module has what all kinds share: limits, and secrets as references. A secret is never a
value in a file: it is ``${env:NAME}``, ``${file:PATH}`` or ``${credential:NAME}`` (a file in the
directory that a service manager names in CREDENTIALS_DIRECTORY).
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, Union

import msgspec
from msgspec import Meta

from protocols.codec import PAYLOAD_BYTES_MAX
from protocols.durations import seconds
from protocols.findings import Finding, Place, did_you_mean

TIMEOUT_S_DEFAULT: Final = 30.0
CONCURRENCY_DEFAULT: Final = 20
RESULT_BYTES_MAX: Final = PAYLOAD_BYTES_MAX
"""Of an operation's result as JSON: a kind looks before it lets an effect last."""
SOURCES: Final = ("env", "file", "credential")
"""Where a secret may come from."""

_REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")

MARK: Final = "references"
Secret = Annotated[str, Meta(extra={MARK: "must"})]
"""A text that holds a secret: it must have a reference in it, so that the value is elsewhere."""
Open = Annotated[str, Meta(extra={MARK: "may"})]
"""A text that may have references in it, to secrets or to what differs between machines."""

Duration = float | str


class Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of all parts of a connector's settings."""


class Connector(Part, frozen=True, kw_only=True, tag_field="kind"):
    """What all kinds have. ``kind`` itself is the tag of the Struct of a kind."""

    description: Annotated[str, Meta(description="What it is for, in discovery.")] = ""
    concurrency_max: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)],
        Meta(description="Requests at once, over all operations of one process."),
    ] = CONCURRENCY_DEFAULT
    rate_per_s: Annotated[
        Annotated[float, Meta(ge=0)],
        Meta(description="Requests per second of one process; 0: no limit."),
    ] = 0.0
    burst: Annotated[
        Annotated[int, Meta(ge=0)],
        Meta(description="Requests at once after a pause; 0: what comes in a tenth of a second."),
    ] = 0
    timeout: Annotated[
        Duration,
        Meta(description="How long a request may take; less when its step has less time left."),
    ] = TIMEOUT_S_DEFAULT

    probe: Annotated[
        Duration | None,
        Meta(description="How often it is looked whether its system is there; not when absent."),
    ] = None

    def __post_init__(self) -> None:
        """Read the durations. Raises ValueError that begins with the name of the field."""
        to_seconds(self, "timeout")
        if self.probe is not None:
            to_seconds(self, "probe")

    @property
    def timeout_s(self) -> float:
        """How long a request may take, in seconds."""
        return float(self.timeout)

    def findings(self) -> Iterator[Finding]:
        """Yield what no type can say; places are relative to the connector."""
        yield from ()


class Reference(NamedTuple):
    """Where a secret is."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"${{{self.source}:{self.name}}}"


def to_seconds(part: msgspec.Struct, *fields: str) -> None:
    """Bring durations to seconds. Raises ValueError for 0 and for what is no duration."""
    for field in fields:
        given = getattr(part, field)
        value = seconds(given, field)
        if not value:
            raise ValueError(f"{field} is 0: nothing could be done in time")
        msgspec.structs.force_setattr(part, field, value)


def split(text: str) -> list[str | Reference]:
    """Return a text as its plain parts and its references. Raises ValueError for a wrong one."""
    parts: list[str | Reference] = []
    begin = 0
    for found in _REFERENCE.finditer(text):
        if found.start() > begin:
            parts.append(text[begin : found.start()])
        parts.append(_reference(found[1]))
        begin = found.end()
    if begin < len(text):
        parts.append(text[begin:])
    return parts


def references(settings: msgspec.Struct) -> Iterator[Reference]:
    """Yield all references in the settings of a connector."""
    for _, text, _ in _texts(settings, type(settings), ()):
        for part in split(text):
            if isinstance(part, Reference):
                yield part


def check(settings: Connector) -> Iterator[Finding]:
    """Yield what is wrong with a connector; places are relative to it."""
    for place, text, mark in _texts(settings, type(settings), ()):
        try:
            found = any(isinstance(each, Reference) for each in split(text))
        except ValueError as error:
            yield Finding(place, str(error), "write ${env:NAME}, ${file:PATH}, ${credential:NAME}")
            continue
        if mark == "must" and not found:
            yield Finding(place, "a secret must not stand here", "write where it is: ${env:NAME}")
        elif found and not mark:
            yield Finding(
                place, "references to secrets are not read here", "they stand under auth and such"
            )
    yield from settings.findings()


def _reference(inner: str) -> Reference:
    source, colon, name = inner.partition(":")
    if not colon or source not in SOURCES:
        raise ValueError(
            f"${{{inner[:60]}}} names no source: {did_you_mean(source or inner, SOURCES)}"
        )
    wrong = (
        (source == "env" and _ENV.match(name) is None)
        or (source == "credential" and _CREDENTIAL.match(name) is None)
        or not name
    )
    if wrong:
        raise ValueError(f"{name[:60]!r} is no name for {source}")
    return Reference(source, name)


def _texts(
    value: Any, kind: Any, place: Place, mark: str = ""
) -> Iterator[tuple[Place, str, str]]:
    """Yield each text of the settings with its place, and whether references may stand in it."""
    if isinstance(value, str):
        yield place, value, mark or _mark(kind)
    elif isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            inner = getattr(value, field.name)
            yield from _texts(inner, field.type, (*place, field.encode_name))
    elif isinstance(value, dict):
        mark = mark or _mark(kind)
        for key, each in value.items():
            yield from _texts(each, Any, (*place, key), mark)
    elif isinstance(value, tuple | list):
        mark = mark or _mark(kind)
        for index, each in enumerate(value):
            yield from _texts(each, Any, (*place, index), mark)


def _mark(kind: Any) -> str:
    """Return what the annotation of a text says of references, also inside of maps and lists."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        extras = (each.extra for each in inner[1:] if isinstance(each, Meta) and each.extra)
        found = next((each[MARK] for each in extras if MARK in each), "")
        return found or _mark(inner[0])
    if origin in {Union, UnionType, dict, tuple}:
        return next((found for each in inner if (found := _mark(each))), "")
    return ""
