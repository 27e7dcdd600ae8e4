"""Header blocks: what is written can be read, and hostile bytes break nothing."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadValueError
from protocols.headers import HEADER_BYTES_MAX, LINE, block, decode, encode, ignored, status

NAMES = st.text(string.ascii_letters + string.digits + "-_", min_size=1)
TEXTS = st.text(string.ascii_letters + string.digits + string.punctuation + " ").map(str.strip)


@given(headers=st.dictionaries(NAMES, TEXTS))
def test_headers_come_back_as_they_were(headers: dict[str, str]) -> None:
    """Encode, block and decode are inverse for what headers can carry."""
    assert decode(block(encode(headers))) == headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "x\r\nB: y"),
        ("A", "x\n"),
        ("A", "\rx"),
        ("A", "ü"),
        ("A", "\x00"),
        ("A", "\x7f"),
        ("A", "\t"),
        ("A:B", "x"),
        ("A B", "x"),
        ("A ", "x"),
        ("A\r\nB", "x"),
        ("Ü", "x"),
        ("", "x"),
    ],
)
def test_a_header_that_would_break_the_block_is_refused(name: str, value: str) -> None:
    """Nothing can be smuggled into a block through a name or a value."""
    with pytest.raises(BadValueError, match="no header can carry") as caught:
        encode({name: value})

    assert "payload" in caught.value.hint


@given(raw=st.binary(max_size=300) | st.binary(max_size=300).map(LINE.__add__))
def test_hostile_blocks_never_raise(raw: bytes) -> None:
    """A reader that stops at a stranger's bytes would stop every workflow."""
    found = decode(raw)
    code = status(raw)

    assert found is None or all("\r\n" not in name + value for name, value in found.items())
    assert 0 <= code <= 999


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (LINE + b"\r\n", {}),
        (b"NATS/1.0\r\n\r\n", {}),
        (b"NATS/1.0 503\r\n\r\n", {}),
        (LINE + b"A: 1\r\nA: 2\r\n\r\n", {"A": "1"}),
        (LINE + b"A:1: 2 \r\n\r\n", {"A": "1: 2"}),
        (LINE + b"A:\r\n\r\n", {"A": ""}),
        (LINE + "A: ü\r\n\r\n".encode(), {"A": "ü"}),
        (b"\r\n\r\n", None),
        (b"HTTP/1.1 200\r\n\r\n", None),
        (LINE + b"no colon\r\n\r\n", None),
        (LINE + b": no name\r\n\r\n", None),
        (LINE + b"A: \xff\r\n\r\n", None),
        (LINE + b"A: " + b"x" * HEADER_BYTES_MAX + b"\r\n\r\n", None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_blocks_are_read_or_called_malformed(raw: bytes, expected: dict[str, str] | None) -> None:
    """None is the flag for a block that cannot be read; the first of equal names counts."""
    assert decode(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"NATS/1.0 503\r\n\r\n", 503),
        (b"NATS/1.0 404 No Messages\r\n\r\n", 404),
        (b"NATS/1.0\r\nA: 1\r\n\r\n", 0),
        (b"NATS/1.0 abc\r\n\r\n", 0),
        (b"NATS/1.0 ", 0),
        (b"", 0),
    ],
)
def test_the_status_of_a_status_message(raw: bytes, expected: int) -> None:
    """Only a status line has a status."""
    assert status(raw) == expected


def test_no_headers_need_no_block() -> None:
    """A message without headers is published without a header block."""
    assert block(encode({})) == b""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Movant-Id", False),
        ("Movant-Parent-Token", False),
        ("Movant-Of-Tomorrow", False),
        ("Content-Type", False),
        ("traceparent", False),
        ("X-movant-id", False),
        ("movant-id", True),
        ("MOVANT-PRIORITY", True),
        ("Movant-ID", True),
        ("content-type", True),
        ("Traceparent", True),
    ],
)
def test_a_name_that_is_ours_but_for_its_case_is_found(name: str, told: bool) -> None:  # noqa: FBT001 - a column
    """Its sender believes that it counts."""
    headers = block(encode({"X-First": "movant-id: 1", name: "x"}))

    assert ignored(headers) == (name if told else "")
