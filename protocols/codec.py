"""Bytes <-> values: one value domain for JSON and MessagePack.

A value is null, a boolean, a 64-bit integer, a finite float, valid text, a list or a map with
unique text keys, at most 64 levels deep. Whatever is outside is refused at the edge, so that a
history means the same in every language and at every fold.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec

from protocols.blobs import BLOB, BLOB_BYTES_MAX, INLINE_BYTES_MAX, LARGE
from protocols.errors import BadValueError, OversizedError, UnresolvedError
from protocols.headers import JSON, MSGPACK

DEPTH_MAX: Final = 64
PAYLOAD_BYTES_MAX: Final = INLINE_BYTES_MAX
"""Larger values travel as blobs; the server's own limit is 1 MB."""
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1
_SMALL_MIN: Final = -(1 << 62)
_SMALL_MAX: Final = 1 << 62
"""Integers between these are looked at where they stand; most are."""

_MSGPACK_MAPS: Final = frozenset({0xDE, 0xDF})
_MSGPACK_TEXTS: Final = frozenset({0xD9, 0xDA, 0xDB})
_MSGPACK_SIZED: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""Bytes of the length that follows the first byte of a text, list or map."""
_MSGPACK_FIXED: Final = {
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
"""Bytes of a float or an integer after its first byte."""

T = TypeVar("T")


class Encoded:
    """The JSON of a value, for who needs it more than once: ``encode`` gives it as it is."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


class Known:
    """A value that is made of texts and of what ``decode`` has returned.

    ``encode`` gives the same as without this, and takes a third of the time: each part was
    looked at when it came in, so only the depth of the whole may be wrong.
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


_json_encoder: Final = msgspec.json.Encoder(order="deterministic")
_json_decoder: Final = msgspec.json.Decoder()
_msgpack_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_msgpack_decoder: Final = msgspec.msgpack.Decoder()


def encode(value: Any, content_type: str = JSON, limit: int = PAYLOAD_BYTES_MAX) -> bytes:
    """Return the bytes of a value or Struct, at most ``limit``.

    Raises BadValueError for what is no value, OversizedError for what nobody would take.
    """
    kind = type(value)
    if kind is Encoded and content_type == JSON:
        known: Encoded = value
        return known.body
    try:
        if kind is Known and content_type == JSON:
            body = _json_encoder.encode(value.value)
            if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
                _check(value.value)
        else:
            plain = _checked(value.value if kind is Known else value)
            encoder = _msgpack_encoder if content_type == MSGPACK else _json_encoder
            body = encoder.encode(plain)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise BadValueError(f"not encodable: {error}") from error
    if len(body) > limit:
        raise _oversized(len(body), limit)
    return body


def is_value(value: Any) -> bool:
    """Tell whether something is of the value domain as it stands: nothing has to be converted."""
    try:
        _check(value)
    except BadValueError:
        return False
    return True


def decode(body: bytes, content_type: str = "") -> Any:
    """Return the value of a payload; an empty payload is None.

    Only what came out of a blob may be larger than a payload. Raises OversizedError and
    BadValueError, and UnresolvedError for a reference: whoever decodes has to fetch it before.
    """
    if not body:
        return None
    if content_type == BLOB:
        raise UnresolvedError("the payload is a reference whose content was not fetched")
    if len(body) > PAYLOAD_BYTES_MAX:
        limit = BLOB_BYTES_MAX if content_type.endswith(LARGE) else PAYLOAD_BYTES_MAX
        if len(body) > limit:
            raise _oversized(len(body), limit)
    try:
        if content_type[: len(MSGPACK)].lower() == MSGPACK:
            value = _msgpack_decoder.decode(body)
            if _check(value) != _msgpack_keys(body):
                raise BadValueError("a key appears twice")
            return value
        value = _json_decoder.decode(body)
        keys = _check(value)
        if keys and body.count(b":") != keys:
            check_unique(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadValueError(f"not a valid payload: {error}") from error
    return value


def convert(value: Any, kind: type[T]) -> T:
    """Return ``value`` as ``kind``. Raises BadValueError that names the field."""
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise BadValueError(str(error)) from error


def _oversized(size: int, limit: int) -> OversizedError:
    return OversizedError(
        f"a payload of {size} bytes is above the limit of {limit}",
        hint="keep large data as an artifact or elsewhere, and pass its name",
    )


def _checked(value: Any) -> Any:
    """Return a value of the value domain without Structs. Raises BadValueError for others."""
    try:
        _check(value)
    except _NotPlainError:
        value = _plain(value)
        _check(value)
    return value


def _plain(value: Any) -> Any:
    """Return a value without Structs; maps and sets in one order, however they came about."""
    return msgspec.to_builtins(value, str_keys=True, order="deterministic")


class _NotPlainError(BadValueError):
    """A type that JSON does not have: perhaps a Struct, a set or a date."""


def _check(value: Any, depth: int = 0) -> int:  # noqa: C901, PLR0912 - one flat test per kind is fastest
    """Refuse what is outside the value domain; return the number of map keys."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return 0
    if kind is dict:
        if depth >= DEPTH_MAX:
            raise BadValueError(f"nested deeper than {DEPTH_MAX} levels")
        keys = len(value)
        for key, item in value.items():
            if type(key) is not str:
                raise _NotPlainError("map keys must be text")
            of = type(item)
            if of is str or item is None or of is bool:
                continue
            if of is int and _SMALL_MIN < item < _SMALL_MAX:
                continue
            keys += _check(item, depth + 1)
        return keys
    if kind is list or kind is tuple:  # a tuple of a Struct becomes a list
        if depth >= DEPTH_MAX:
            raise BadValueError(f"nested deeper than {DEPTH_MAX} levels")
        keys = 0
        for item in value:
            if type(item) is not str:
                keys += _check(item, depth + 1)
        return keys
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise BadValueError("integer outside 64 bits")
        return 0
    if kind is float:
        if not isfinite(value):
            raise BadValueError("NaN and infinity are no values")
        return 0
    raise _NotPlainError(f"{kind.__name__} is no value")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValueError(f"key {twice!r} appears twice")


def check_unique(body: bytes) -> None:
    """Raise BadValueError for valid JSON with a key twice. Slow: 10 us for a small value."""
    json.loads(body, object_pairs_hook=_unique)


def _msgpack_keys(body: bytes) -> int:
    """Count the keys of all maps in a valid MessagePack value that holds no extensions.

    The decoder keeps the last of two equal keys and says nothing.
    """
    keys = at = 0
    while at < len(body):
        lead = body[at]
        at += 1
        if 0x80 <= lead <= 0x8F:  # noqa: PLR2004 - fixmap
            keys += lead & 0x0F
        elif 0xA0 <= lead <= 0xBF:  # noqa: PLR2004 - fixstr
            at += lead & 0x1F
        elif lead in _MSGPACK_SIZED:
            bytes_count = _MSGPACK_SIZED[lead]
            size = int.from_bytes(body[at : at + bytes_count])
            at += bytes_count
            if lead in _MSGPACK_MAPS:
                keys += size
            elif lead in _MSGPACK_TEXTS:
                at += size
        else:
            at += _MSGPACK_FIXED.get(lead, 0)
    return keys
