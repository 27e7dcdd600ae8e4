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

from protocols.errors import BadValueError, OversizedError
from protocols.headers import JSON, MSGPACK

DEPTH_MAX: Final = 64
PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""Larger payloads belong into the object store; the server's own limit is 1 MB."""
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1

T = TypeVar("T")

_json_encoder: Final = msgspec.json.Encoder(order="deterministic")
_json_decoder: Final = msgspec.json.Decoder()
_msgpack_decoder: Final = msgspec.msgpack.Decoder()


def encode(value: Any, content_type: str = JSON) -> bytes:
    """Return the bytes of a value or Struct. Raises BadValueError for what is no value."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True) if _needs_builtins(value) else value
        _check(plain)
        if content_type == MSGPACK:
            return msgspec.msgpack.encode(plain)
        return _json_encoder.encode(plain)
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise BadValueError(f"not encodable: {error}") from error


def decode(body: bytes, content_type: str = "") -> Any:
    """Return the value of a payload; an empty payload is None.

    Raises OversizedError and BadValueError.
    """
    if not body:
        return None
    if len(body) > PAYLOAD_BYTES_MAX:
        raise OversizedError(
            f"payload of {len(body)} bytes is above the limit of {PAYLOAD_BYTES_MAX}"
        )
    try:
        if content_type.startswith(MSGPACK):
            value = _msgpack_decoder.decode(body)
            _check(value)
            return value
        value = _json_decoder.decode(body)
        keys = _check(value)
        if keys and body.count(b":") != keys:
            _check_unique(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadValueError(f"not a valid payload: {error}") from error
    return value


def convert(value: Any, kind: type[T]) -> T:
    """Return ``value`` as ``kind``. Raises BadValueError that names the field."""
    try:
        return msgspec.convert(value, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise BadValueError(str(error)) from error


def _needs_builtins(value: Any) -> bool:
    return type(value) not in {str, int, float, bool, type(None)}


def _check(value: Any, depth: int = 0) -> int:
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
                raise BadValueError("map keys must be text")
            if type(item) is not str:
                keys += _check(item, depth + 1)
        return keys
    if kind is list:
        if depth >= DEPTH_MAX:
            raise BadValueError(f"nested deeper than {DEPTH_MAX} levels")
        return sum(_check(item, depth + 1) for item in value)
    if kind is int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise BadValueError("integer outside 64 bits")
        return 0
    if kind is float:
        if not isfinite(value):
            raise BadValueError("NaN and infinity are no values")
        return 0
    raise BadValueError(f"{kind.__name__} is no value")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadValueError(f"key {twice!r} appears twice")


def _check_unique(body: bytes) -> None:
    """Refuse a repeated key. Only reached when colons and keys do not tally."""
    json.loads(body, object_pairs_hook=_unique)
