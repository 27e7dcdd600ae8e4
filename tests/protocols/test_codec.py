"""The codec: one value domain for JSON and MessagePack, and what is outside of it."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.codec import DEPTH_MAX, PAYLOAD_BYTES_MAX, Known, convert, decode, encode
from protocols.errors import BadValueError, MovantError, OversizedError
from protocols.headers import JSON, MSGPACK

KINDS = pytest.mark.parametrize("kind", [JSON, MSGPACK])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=20)
    ),
    max_leaves=40,
)


class Item(msgspec.Struct, frozen=True):
    """A Struct as authors write them."""

    sku: str
    sizes: tuple[int, ...] = ()
    tags: frozenset[str] = frozenset()


def nested(depth: int) -> Any:
    """Return lists inside of each other."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal and of the same types all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@KINDS
@given(value=VALUES)
def test_every_value_comes_back_as_it_was(kind: str, value: Any) -> None:
    """What is inside the domain survives, with its types: 1 is not 1.0."""
    body = encode(value, kind)

    back = decode(body, kind)

    assert same(back, value)


@given(value=VALUES)
def test_equal_values_have_equal_bytes(value: Any) -> None:
    """Maps are written in one order, however they came about."""
    turned = value
    if isinstance(value, dict):
        turned = dict(reversed(value.items()))

    assert encode(turned) == encode(value)
    assert encode(turned, MSGPACK) == encode(value, MSGPACK)


@KINDS
@given(value=VALUES, over=st.integers(0, 90))
def test_what_was_decoded_is_encoded_as_everything_else(kind: str, value: Any, over: int) -> None:
    """The same bytes, or the same refusal of what has become too deep or too large."""
    whole: Any = decode(encode(value))
    for _ in range(over):
        whole = {"a": [whole]} if over % 2 else [whole]

    def outcome(value: Any) -> tuple[str, bytes]:
        try:
            return "", encode(value, kind)
        except MovantError as error:
            return error.message, b""

    assert outcome(Known(whole)) == outcome(whole)


def test_what_has_become_too_large_is_not_encoded_again() -> None:
    """Each part was small enough when it came in."""
    part = "x" * (PAYLOAD_BYTES_MAX - 2)

    assert len(encode(Known(part))) == PAYLOAD_BYTES_MAX
    with pytest.raises(OversizedError):
        encode(Known({"a": part}))


@given(body=st.binary(max_size=200), kind=st.sampled_from([JSON, MSGPACK, "", "text/plain"]))
def test_hostile_bytes_are_a_value_or_a_clear_refusal(body: bytes, kind: str) -> None:
    """Decoding raises nothing but movant's errors, and what it takes it can write again."""
    try:
        value = decode(body, kind)
    except MovantError:
        return

    assert same(decode(encode(value)), value)


@KINDS
def test_structs_tuples_and_sets_are_values(kind: str) -> None:
    """Authors' types are written as lists and maps, sets in one order (hazard M2)."""
    item = Item("b", (3, 1), frozenset({"z", "a", "m"}))

    back = decode(encode([item, {1: True}], kind), kind)

    assert back == [{"sku": "b", "sizes": [3, 1], "tags": ["a", "m", "z"]}, {"1": True}]


@KINDS
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {"a": -math.inf},
        1 << 64,
        [-(1 << 63) - 1],
        "\ud800",
        {"\ud800": 1},
        object(),
        {"a": 1j},
        {(1, 2): 3},
        {"a", 1},
        nested(DEPTH_MAX + 1),
        {"a": nested(DEPTH_MAX)},
        nested(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_value_is_not_encoded(kind: str, value: Any) -> None:
    """Outside of the domain nothing is written, in either format."""
    with pytest.raises(BadValueError):
        encode(value, kind)


@KINDS
def test_the_greatest_depth_is_a_value(kind: str) -> None:
    """The limit itself is allowed, both ways."""
    value = nested(DEPTH_MAX)

    assert decode(encode(value, kind), kind) == value


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b" ",
        b"[1,]",
        b"NaN",
        b"1e400",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"1" * 5_000,
        b"\xff",
        b'"\xc3\x28"',
        b'"\\ud800"',
        b"\xef\xbb\xbf1",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"k":1,"k":1}},":"]',
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1),
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_outside_the_domain_is_refused(body: bytes) -> None:
    """Not JSON, or JSON that languages read differently."""
    with pytest.raises(BadValueError):
        decode(body, JSON)


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode(math.nan),
        msgspec.msgpack.encode([math.inf]),
        b"\x82\xa1a\x01\xa1a\x02",
        b"\xde\x00\x02\xa1a\x01\xa1a\x02",
        b"\xdf\x00\x00\x00\x02\xa1a\x01\xa1a\x02",
        b"\x91\x82\xa1a\xcd\x01\x00\xd9\x01a\xcb" + bytes(8),
        b"\x81\x01\x01",
        b"\xa2\xff\xfe",
        b"\xc4\x01x",
        b"\xc7\x01\x05x",
        b"\xd6\xff" + bytes(4),
        b"\xc1",
        b"\x01\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * (DEPTH_MAX + 1) + b"\x01",
        b"\x91" * 100_000,
    ],
    ids=lambda body: body[:10].hex(),
)
def test_messagepack_outside_the_domain_is_refused(body: bytes) -> None:
    """Repeated keys, binary data, extensions, NaN: what JSON cannot say is no value here."""
    with pytest.raises(BadValueError):
        decode(body, MSGPACK)


@given(value=VALUES)
def test_repeated_keys_are_never_seen_where_there_are_none(value: Any) -> None:
    """Colons in texts and numbers of all sizes raise no false alarm."""
    text = json.dumps({"a:b": value, "c": "::"}).encode()
    packed = msgspec.msgpack.encode({"a": value, "n": [2**7, 2**40, -(2**40), 0.5]})

    assert decode(text)["c"] == "::"
    assert decode(packed, MSGPACK)["n"] == [2**7, 2**40, -(2**40), 0.5]


def test_keys_are_counted_right_in_large_messagepack_values() -> None:
    """Every length that the format knows: 4, 8, 16 and 32 bits."""
    value = {
        "texts": ["x" * size for size in (3, 40, 300, 70_000)],
        "lists": [[0] * size for size in (3, 40, 70_000)],
        "maps": [{f"k{n}": n for n in range(size)} for size in (3, 40)],
    }

    assert decode(msgspec.msgpack.encode(value), MSGPACK) == value


def test_an_empty_payload_is_none() -> None:
    """A message without a payload is the value null, whatever its content type."""
    assert decode(b"", MSGPACK) is None


def test_the_content_type_is_read_as_media_types_are() -> None:
    """Upper case and parameters do not matter."""
    assert decode(b"\x01", "Application/MsgPack; v=1") == 1


def test_a_payload_above_the_limit_is_refused_unread() -> None:
    """Size comes first: nothing large is parsed."""
    with pytest.raises(OversizedError, match="above the limit"):
        decode(b"[" * (PAYLOAD_BYTES_MAX + 1))


def test_a_value_becomes_a_struct_or_names_the_wrong_field() -> None:
    """Conversion is strict and says where."""
    assert convert({"sku": "a", "sizes": [1]}, Item) == Item("a", (1,))

    with pytest.raises(BadValueError, match=r"\$\.sizes\[0\]"):
        convert({"sku": "a", "sizes": ["x"]}, Item)
