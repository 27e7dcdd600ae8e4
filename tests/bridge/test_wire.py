"""The wire protocol: what we write, what we refuse to write, what we read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import BadValueError, InvalidIdError, OversizedError, RefusedError
from protocols.ports import Frame, Outgoing
from runtime.bridge import wire

MANY = (
    b"MSG a.b 2 5\r\nhello\r\n"
    b"PING\r\n"
    b"MSG a.c 2 _INBOX.x 0\r\n\r\n"
    b"HMSG a.d 31 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    b"HMSG a.e 31 r.1 4 7\r\n\r\n\r\n\r\n\x00\r\n"
    b"-ERR 'x'\r\n"
    b"MSG \xff\xfe 2 \xfd 2\r\n\r\n\r\n"
)


def frames_of(data: list[bytes]) -> tuple[list[tuple[bytes, Frame]], list[bytes]]:
    """Read the pieces and return frames with sids, and control lines."""
    reader = wire.Reader()
    frames: list[tuple[bytes, Frame]] = []
    controls: list[bytes] = []
    for piece in data:
        chunk = reader.feed(piece)
        if chunk is not None:
            frames += [(sid, frame) for sid, run in chunk.runs for frame in run]
            controls += chunk.controls
    return frames, controls


def test_a_stream_of_frames_is_read_with_subject_reply_headers_and_payload() -> None:
    """Every field of MSG and HMSG arrives, also an empty payload and one with line ends."""
    frames, controls = frames_of([MANY])

    assert frames == [
        (b"2", Frame("a.b", "", b"", b"hello")),
        (b"2", Frame("a.c", "_INBOX.x", b"", b"")),
        (b"31", Frame("a.d", "", b"NATS/1.0\r\n\r\n", b"hi")),
        (b"31", Frame("a.e", "r.1", b"\r\n\r\n", b"\r\n\x00")),
        (b"2", Frame("\\xff\\xfe", "\\xfd", b"", b"\r\n")),
    ]
    assert controls == [b"PING", b"-ERR 'x'"]


@given(st.lists(st.integers(0, len(MANY)), max_size=12))
def test_frames_do_not_depend_on_where_the_socket_cuts_them(cuts: list[int]) -> None:
    """Any cutting of the bytes into reads gives the same frames."""
    edges = [0, *sorted(cuts), len(MANY)]
    pieces = [MANY[start:end] for start, end in pairwise(edges)]

    assert frames_of(pieces) == frames_of([MANY])


def test_consecutive_frames_of_one_subscription_form_one_run() -> None:
    """A batch goes to a sink in one call."""
    chunk = wire.Reader().feed(b"MSG a 2 0\r\n\r\n" * 3 + b"MSG b 3 0\r\n\r\nMSG a 2 0\r\n\r\n")

    assert chunk is not None
    assert [(sid, len(run)) for sid, run in chunk.runs] == [(b"2", 3), (b"3", 1), (b"2", 1)]
    assert chunk.frames == 5


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\x00"])
def test_odd_white_space_in_a_subject_is_part_of_the_subject(space: bytes) -> None:
    """Only single spaces divide a message line, as the server writes it."""
    frames, _ = frames_of([b"MSG a." + space + b"b 2 1\r\nx\r\n"])

    assert [frame.payload for _, frame in frames] == [b"x"]


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a 2\r\n",
        b"MSG a 2 r 5 5\r\nhello\r\n",
        b"MSG a 2 -1\r\n",
        b"MSG a 2 5\r\nhello!!",
        b"HMSG a 2 5\r\nhello\r\n",
        b"HMSG a 2 9 5\r\nhello\r\n",
        b"x" * (wire.LINE_BYTES_MAX + 1),
    ],
)
def test_what_is_no_protocol_is_an_error(data: bytes) -> None:
    """Broken framing ends the connection; nothing is guessed."""
    reader = wire.Reader()

    with pytest.raises(wire.WireError):
        reader.feed(data)


def test_a_message_is_written_as_the_protocol_wants_it() -> None:
    """PUB without headers, HPUB with; sizes count the whole block."""
    plain = wire.publish(Outgoing("a.b", b"hi", reply="r.1"), 100)
    request = wire.publish(Outgoing("a.b", b"hi", b"K: v\r\n", "ours.instead"), 100, "ours.1")

    assert plain == b"PUB a.b r.1 2\r\nhi\r\n"
    assert request == b"HPUB a.b ours.1 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n"


def bad_subjects() -> list[str]:
    """Return subjects that must not reach the wire."""
    return [
        "",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a\tb",
        "a\r\nPUB x 0\r\n",
        "a\nb",
        "a\x00b",
        "a\x0bb",
        "a\x85b",
        "a\u2028b",
        "a\udc80",
        "a.*",
        "*.a",
        "a.>",
        ">",
        "x" * 1025,
        "ä" * 600,
    ]


@pytest.mark.parametrize("subject", bad_subjects())
def test_a_subject_that_would_break_the_line_is_refused(subject: str) -> None:
    """Injection, empty tokens, wildcards and over-long subjects never reach the wire."""
    with pytest.raises(InvalidIdError):
        wire.publish(Outgoing(subject, b""), 100)

    with pytest.raises(InvalidIdError):
        wire.publish(Outgoing("a", b"", reply=subject or " "), 100)


@pytest.mark.parametrize("subject", ["a", "a.b", "a*b.c>d", "$JS.API.INFO", "ä.ö", "x" * 1024])
def test_an_ordinary_subject_is_taken(subject: str) -> None:
    """Wildcards inside a token are ordinary characters, as they are for the server."""
    data = wire.publish(Outgoing(subject, b""), 100)

    assert data == f"PUB {subject}  0\r\n\r\n".encode()


@pytest.mark.parametrize("subject", ["*", ">", "a.*.b", "a.>", "a.b"])
def test_a_filter_may_have_wildcards(subject: str) -> None:
    """What the server takes as a subscription passes."""
    wire.check_filter(subject, "queue.a")


@pytest.mark.parametrize(
    ("subject", "queue"),
    [("", ""), ("a b", ""), ("a..b", ""), (">.a", ""), ("a", "q q"), ("a\r\n", ""), ("a.", "")],
)
def test_a_filter_that_would_break_the_line_is_refused(subject: str, queue: str) -> None:
    """Subscriptions are checked like subjects; so are queue names."""
    with pytest.raises(InvalidIdError):
        wire.check_filter(subject, queue)


@pytest.mark.parametrize(
    "lines",
    [
        b"A: b",
        b"A: b\r\n\r\n",
        b"A: b\nC: d\r\n",
        b"A: b\rC: d\r\n",
        b"\r\nA: b\r\n",
        b"A: b\r\n\r\nPUB x 0\r\n",
        b"A: b\r\r\n",
    ],
)
def test_header_lines_that_would_break_the_block_are_refused(lines: bytes) -> None:
    """No bare line end and no empty line inside a block."""
    with pytest.raises(BadValueError):
        wire.publish(Outgoing("a", b"", lines), 1000)


def test_a_message_over_the_limit_of_the_server_is_refused() -> None:
    """The server would close the connection; headers count as well."""
    assert wire.publish(Outgoing("a", b"x" * 100), 100)

    with pytest.raises(OversizedError):
        wire.publish(Outgoing("a", b"x" * 101), 100)
    with pytest.raises(OversizedError):
        wire.publish(Outgoing("a", b"x" * 90, b"A: b\r\n"), 100)
    with pytest.raises(OversizedError):
        wire.publish(Outgoing("a", b"", b"A: b\r\n" * 5000), 1_000_000)


@given(
    st.text(max_size=30),
    st.text(max_size=30),
    st.binary(max_size=40),
    st.binary(max_size=40),
)
def test_what_passes_the_checks_is_exactly_one_command(
    subject: str, reply: str, headers: bytes, payload: bytes
) -> None:
    """Whatever the fields hold, the bytes are refused or are one line and its body."""
    try:
        data = wire.publish(Outgoing(subject, payload, headers, reply), 1000)
    except RefusedError:
        return

    line, _, body = data.partition(b"\r\n")
    parts = line.decode().split(" ")
    size = int(parts[-1])
    assert parts[0] == ("HPUB" if headers else "PUB")
    assert parts[1:3] == [subject, reply]
    assert len(body) == size + 2
    assert body.endswith(payload + b"\r\n")
