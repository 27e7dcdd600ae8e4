"""What the daemon's NATS user has to be permitted, and finding out what is missing.

A message that is marked as trace-only goes nowhere, but the server checks first whether its
sender may publish there; so asking costs nothing and changes nothing (nats-server ADR-41).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocols import headers as h
from protocols.errors import NotPermittedError
from protocols.ports import Outgoing
from runtime.bridge.transport import NatsTransport

PUBLISHED: Final[dict[str, str]] = {
    "movant.probe.>": "movant.probe.check.x",
    "movant.to.>": "movant.to.check.owner.check",
    "movant.mail.*._owner": "movant.mail.0._owner",
    "movant.timer.>": "movant.timer.0.check.x",
    "movant.event.>": "movant.event.check.check.x",
    "movant.done.>": "movant.done.0.check",
    "movant.dead.>": "movant.dead.check",
    "movant.put.>": "movant.put.check.check.0",
    "movant.svc.>": "movant.svc.check.check",
    "$SRV.>": "$SRV.INFO",
    "_INBOX.>": "_INBOX.check.x",
    "$KV.movant_leases.>": "$KV.movant_leases.check",
    "$KV.movant_keys.>": "$KV.movant_keys.check",
    "$KV.movant_checkpoints.>": "$KV.movant_checkpoints.check",
    "$KV.movant_definitions.>": "$KV.movant_definitions.check",
    "$KV.movant_holds.>": "$KV.movant_holds.check",
    "$KV.movant_budgets.>": "$KV.movant_budgets.check",
    "$KV.movant_triggers.>": "$KV.movant_triggers.check",
    "$KV.movant_turns.>": "$KV.movant_turns.check",
    "$JS.API.INFO": "$JS.API.INFO",
    "$JS.API.STREAM.NAMES": "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.INFO.*": "$JS.API.STREAM.INFO.MAIL",
    "$JS.API.STREAM.CREATE.*": "$JS.API.STREAM.CREATE.MAIL",
    "$JS.API.STREAM.PURGE.*": "$JS.API.STREAM.PURGE.MAIL",
    "$JS.API.STREAM.MSG.GET.*": "$JS.API.STREAM.MSG.GET.MAIL",
    "$JS.API.STREAM.MSG.DELETE.DEAD": "$JS.API.STREAM.MSG.DELETE.DEAD",
    "$JS.API.DIRECT.GET.>": "$JS.API.DIRECT.GET.MAIL",
    "$JS.API.CONSUMER.CREATE.MAIL.>": "$JS.API.CONSUMER.CREATE.MAIL.check",
    "$JS.API.CONSUMER.MSG.NEXT.MAIL.*": "$JS.API.CONSUMER.MSG.NEXT.MAIL.check",
}
"""Each subject that the daemon publishes to, with one example of it."""
SUBSCRIBED: Final = (
    "movant.probe.>",
    "movant.api.>",
    "movant.event.>",
    "movant.svc.movant-budgets.*",
    "$SRV.>",
)


async def missing(transport: NatsTransport, foreign: Sequence[str] = ()) -> list[str]:
    """Return what the user of a connection may not do, such as ``publish movant.timer.>``."""
    refused: set[str] = set()
    stop = transport.on_refusal(refused.add)
    asked = dict(PUBLISHED) | {each: f"{each.removesuffix('>')}check" for each in foreign}
    lines = h.encode({h.TRACE_DEST: PUBLISHED["movant.probe.>"], h.TRACE_ONLY: "true"})
    try:
        for subject in asked.values():
            transport.publish(Outgoing(subject, b"", lines))
        found = []
        for pattern in SUBSCRIBED:
            try:
                subscription = await transport.subscribe(pattern, lambda _: None)
            except NotPermittedError:
                found.append(f"subscribe {pattern}")
            else:
                subscription.unsubscribe()
        # The server answers in order: whatever it refused was told before the last answer.
    finally:
        stop()
    published = [f"publish {pattern}" for pattern, subject in asked.items() if subject in refused]
    return published + found
