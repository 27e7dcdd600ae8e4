"""What strangers say of their own messages gives them nothing that others do not have."""

from __future__ import annotations

import pytest

from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery, Letter
from protocols import headers as h
from protocols.blobs import LARGE
from protocols.codec import PAYLOAD_BYTES_MAX
from protocols.headers import JSON
from protocols.mail import Reply
from protocols.tokens import KeyRing

KEYS = KeyRing("k1", {"k1": b"secret" * 4})


@pytest.mark.parametrize("what", ["start.w", "signal.s"])
@pytest.mark.parametrize("content_type", [JSON, JSON + LARGE, JSON + LARGE + LARGE])
def test_a_message_that_says_it_was_a_blob_is_too_large_all_the_same(
    what: str, content_type: str
) -> None:
    """Above 256 KiB a value has a digest by which it is checked."""
    headers = h.block(h.encode({h.CONTENT_TYPE: content_type}))
    body = b'"%s"' % (b"x" * PAYLOAD_BYTES_MAX)

    found = parse(Delivery(1, 1, f"movant.mail.0.a.{what}", headers, body), KEYS)

    assert isinstance(found, DeadLetter)
    assert found.reason == "value"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, ""),
        ({h.OUTCOME: "failed"}, ""),
        ({h.SERVICE_ERROR: "no", h.ERROR_KIND: "sold_out"}, ""),
        ({h.OUTCOME.lower(): "refused"}, "is written 'Movant-Outcome'"),
        ({h.SERVICE_ERROR.lower(): "no"}, "is written 'Nats-Service-Error'"),
        ({h.OUTCOME: "done"}, "it is refused, failed or unknown"),
        ({h.SERVICE_ERROR: "no", h.OUTCOME: "Failed"}, "it is refused, failed or unknown"),
        ({h.ERROR_KIND: "sold_out"}, "without an error or an outcome"),
    ],
)
def test_headers_that_tell_a_failure_in_wrong_words_are_noted(
    said: dict[str, str], told: str
) -> None:
    """Whoever wrote them meant something, and surely not a success."""
    subject = f"movant.mail.0.a.reply.s.1.{KEYS.sign('a', 's', 1)}"
    headers = b"\r\n".join(
        [b"NATS/1.0", *(f"{name}: {value}".encode() for name, value in said.items()), b"", b""]
    )

    found = parse(Delivery(1, 1, subject, headers if said else b"", b"1"), KEYS)

    assert isinstance(found, Letter)
    assert isinstance(found.mail, Reply)
    assert told in found.mail.odd
    assert bool(found.mail.odd) == bool(told)
