"""The bridge between trio and NATS: the one home of nats-py and asyncio.

    trio thread                                     asyncio thread (uvloop)
    NatsTransport ── Outbox: encoded messages ──▶   Loop.pump ──▶ Link ──▶ socket
         ▲           one wake-up per batch                          │
         └────────── Inbox: chunks of frames ◀──    Loop._received ◀┘
                     one ``run_sync_soon`` per batch

Read it in this order: ``limits`` (every bound), ``wire`` (bytes, pure), ``requests`` (tokens
and deadlines, pure), ``watchdog`` (is it alive, pure), ``servers`` (which one next, pure),
``handover`` (what the threads share), ``nkeys`` (logins by key), ``client`` (nats-py's
handshake), ``link`` (one connection), ``loop`` (connection after connection),
``subscription``, ``errors``, ``waking``, ``transport`` (what actors call), ``connection``
(opens one).

Decisions

D1. nats-py makes the connection and nothing else. Its read loop, flusher, ping timer and
    reconnection each have a way to go silent, to close for good, or to send what the caller
    has given up. Every loss is answered in one way: cut the socket, make a new client,
    subscribe everything again, and say ``connected`` when the server has answered a PING
    behind the subscriptions. Rejected: guarding each of its methods (twice the private
    names, and the reconnection still inherits the old buffers).
D2. Own parser and writer on the raw socket. Measured beside nats-py's publish and
    subscription callbacks in ``benchmarks/bridge.py``. Price: no websockets.
D3. Back-pressure, never loss. Incoming: above ``incoming_*_max`` the socket is not read; the
    kernel's buffers fill, then the server's. A server cuts a client that takes nothing for
    its ``write_deadline`` (10 s) while data waits: that is a loss like any other, told by
    ``on_state``, and a reader of a stream goes on after its position. Outgoing: the event
    loop's ``pause_writing`` stops the pump at 1 MiB, the outbox fills, ``publish`` raises.
D4. Connections have epochs. The outbox is taken for the epoch that trio knows of, so what
    was queued for a lost connection is never sent on the next one; requests are told
    ``UnknownOutcomeError`` when their bytes were given to the socket and
    ``DisconnectedError`` when they were not.
D5. Deadlines are ticks in buckets on the trio side, at most ``tick_s`` late. The task that
    looks at them is a system task, not a nursery's: so ``async with connect()`` puts no
    exception of its user into a group.
D6. The watchdog's probe is a message through the server to a subscription of its own. A user
    who may not publish to its own inbox gets PINGs instead (``bridge.watchdog_limited``).
D7. Servers form a ring: the given ones in their order, then those that a server told of. A
    loss leads to the next one at once, a whole round without success to a wait. Rejected:
    nats-py's shuffled pool (whoever runs daemons beside their nodes names the near one first).

Events: ``bridge.connected``, ``bridge.lost``, ``bridge.deaf``, ``bridge.unreachable``,
``bridge.refused``, ``bridge.bad_frames``, ``bridge.watchdog_limited``, ``bridge.sink_failed``,
``bridge.done_failed``, ``bridge.state_failed``, ``bridge.failed``, ``bridge.stuck``,
``bridge.closed``.
"""

from runtime.bridge.connection import connect
from runtime.bridge.limits import BridgeLimits, BridgeStatistics
from runtime.bridge.subscription import NatsSubscription
from runtime.bridge.transport import NatsTransport

__all__ = ["BridgeLimits", "BridgeStatistics", "NatsSubscription", "NatsTransport", "connect"]
