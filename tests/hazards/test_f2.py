"""F2: a stranger's message id swallows nobody's message."""

from __future__ import annotations

import pytest

from tests.support.daemon import daemon, plainly
from tests.support.nats import NatsServer

pytestmark = pytest.mark.server


async def test_equal_message_ids_of_strangers_are_two_messages(nats_server: NatsServer) -> None:
    """Nats-Msg-Id does nothing in MAIL: both signals arrive, in both mailboxes."""
    lines = {"Nats-Msg-Id": "42"}
    async with daemon(nats_server.url) as movant:
        for instance in ("a", "b"):
            await movant("run.start", workflow="probe.signals", input=2, id=instance)
        await plainly(
            nats_server.url,
            [
                (f"movant.to.{one}.signal.go", value, lines)
                for one in "ab"
                for value in (b"1", b"2")
            ],
        )
        ended = [await movant.ended(instance) for instance in ("a", "b")]

    assert [each["result"] for each in ended] == [[1, 2], [1, 2]]
