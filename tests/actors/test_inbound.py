"""What strangers say of their own messages gives them nothing that others do not have."""

from __future__ import annotations

import pytest

from actors.owning.inbound import parse
from actors.owning.letters import DeadLetter, Delivery
from protocols import headers as h
from protocols.blobs import LARGE
from protocols.codec import PAYLOAD_BYTES_MAX
from protocols.headers import JSON
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
