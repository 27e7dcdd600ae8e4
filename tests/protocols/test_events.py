"""Events: CloudEvents in binary mode, there and back, and what is refused."""

from __future__ import annotations

import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import events, headers
from protocols.errors import BadValueError, InvalidIdError, MovantError
from protocols.events import Event, from_wire, percent_decode, percent_encode, to_wire

TEXT = st.text(st.characters(codec="utf-8"))
DONE = Event(
    id="order-17/completed",
    kind=events.COMPLETED,
    workflow="shop.order",
    instance="order-17",
    at=1_700_000_000_123_456_789,
    data={"total": 12},
)
HEADERS, PAYLOAD = to_wire(DONE)


def test_an_event_on_the_wire_is_a_cloud_event() -> None:
    """Every CloudEvents consumer can read it: pinned attributes and payload."""
    found, payload = to_wire(msgspec.structs.replace(DONE, traceparent="00-ab-cd-01"))

    assert payload == b'{"total":12}'
    assert found == {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "order-17/completed",
        "ce-type": "movant.workflow.completed.v1",
        "ce-source": "/movant/workflow/shop.order",
        "ce-subject": "order-17",
        "ce-time": "2023-11-14T22:13:20.123456789Z",
        "ce-datacontenttype": "application/json",
        "ce-traceparent": "00-ab-cd-01",
    }


@given(
    id=TEXT.filter(bool),
    kind=st.text(string.ascii_letters, min_size=1, max_size=40),
    at=st.integers(0, 253_402_300_799_999_999_999),
    data=st.none() | TEXT | st.lists(st.integers(-9, 9)),
    trace=TEXT,
)
def test_events_come_back_as_they_were(
    id: str,  # noqa: A002 -- the field's name
    kind: str,
    at: int,
    data: Any,
    trace: str,
) -> None:
    """Through headers as bytes, whatever the attributes hold, to the nanosecond."""
    event = Event(
        id=id, kind=kind, workflow="w", instance="i", at=at, data=data, traceparent=trace
    )

    found, payload = to_wire(event)

    read = headers.decode(headers.block(headers.encode(found)))
    assert read is not None
    assert from_wire(read, payload) == event


@pytest.mark.parametrize("kind", events.LIFECYCLE)
def test_every_lifecycle_kind_can_be_sent(kind: str) -> None:
    """The kinds are valid tokens of subjects."""
    found, _ = to_wire(msgspec.structs.replace(DONE, kind=kind))

    assert found["ce-type"] == f"movant.workflow.{kind}.v1"


def test_header_names_are_read_in_any_case() -> None:
    """The binding says that names of attributes are case-insensitive."""
    read = from_wire({name.upper(): value for name, value in HEADERS.items()}, PAYLOAD)

    assert read == DONE


def test_values_in_double_quotes_are_read() -> None:
    """Senders of older versions of the binding quote instead of encoding."""
    read = from_wire({**HEADERS, "ce-id": '"a \\"b\\" \\\\ %25"'}, PAYLOAD)

    assert read.id == 'a "b" \\ %'


def test_the_payload_is_read_as_its_attribute_says() -> None:
    """ce-datacontenttype goes before Content-Type; without it that one counts."""
    packed = {**HEADERS, "ce-datacontenttype": "application/msgpack"}
    plain = {name: value for name, value in HEADERS.items() if name != "ce-datacontenttype"}

    assert from_wire(packed, b"\x01").data == 1
    assert from_wire({**plain, "Content-Type": "application/msgpack"}, b"\x02").data == 2


@pytest.mark.parametrize(
    "change",
    [
        {"ce-id": ""},
        {"ce-time": ""},
        {"ce-time": "yesterday"},
        {"ce-time": "2023-13-14T22:13:20Z"},
        {"ce-time": "2023-11-14T22:13:20"},
        {"ce-time": "2023-11-14T22:13:20+99:00"},
        {"ce-specversion": "0.3"},
        {"ce-type": "com.example.other"},
        {"ce-type": "movant.workflow.completed.v2"},
        {"ce-source": "/somebody"},
        {"ce-id": "%"},
        {"ce-id": "%4"},
        {"ce-id": "%zz"},
        {"ce-id": "%C0%A0"},
        {"Content-Type": "application/cloudevents+json"},
    ],
    ids=str,
)
def test_what_is_no_event_of_movant_is_refused(change: dict[str, str]) -> None:
    """Missing attributes, other senders, other versions, invalid encodings."""
    with pytest.raises(BadValueError):
        from_wire({**HEADERS, **change}, PAYLOAD)


@given(found=st.dictionaries(st.sampled_from(sorted(HEADERS)) | TEXT, TEXT), payload=st.binary())
def test_hostile_events_raise_nothing_else(found: dict[str, str], payload: bytes) -> None:
    """A consumer of events meets either an event or one kind of error."""
    with pytest.raises(MovantError):
        from_wire({**HEADERS, **found, "ce-specversion": "none"}, payload)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "a b"}, InvalidIdError),
        ({"workflow": "a/b"}, InvalidIdError),
        ({"instance": "_owner"}, InvalidIdError),
        ({"id": "\ud800"}, BadValueError),
        ({"data": object()}, BadValueError),
    ],
)
def test_what_cannot_be_sent_is_refused(change: dict[str, Any], error: type[MovantError]) -> None:
    """Nothing half-valid leaves."""
    with pytest.raises(error):
        to_wire(msgspec.structs.replace(DONE, **change))


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ('a"b%c', "a%22b%25c"),
        ("a\r\nb\x7f", "a%0D%0Ab%7F"),
        ("!~/-", "!~/-"),
        ("", ""),
    ],
)
def test_percent_encoding_is_that_of_the_binding(text: str, encoded: str) -> None:
    """The example of the CloudEvents documents, and the edges of the rule."""
    assert percent_encode(text) == encoded
    assert percent_decode(encoded) == text
    assert percent_decode(encoded.lower().replace("euro", "Euro")) == text


@given(text=TEXT)
def test_percent_encoding_comes_back(text: str) -> None:
    """One round, printable ASCII in between; what was not encoded is taken as it is."""
    encoded = percent_encode(text)

    assert all("!" <= char <= "~" and char != '"' for char in encoded)
    assert percent_decode(encoded) == text
    assert percent_decode(text.replace("%", "%25")) == text


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00.5+01:00", 500_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, at: int) -> None:
    """RFC 3339 with any offset and up to nine digits."""
    assert events.from_time(text) == at
