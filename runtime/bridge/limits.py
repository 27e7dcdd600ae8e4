"""What bounds the bridge, and what it tells about itself."""

from __future__ import annotations

import msgspec


class BridgeLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound and every wait of the bridge. Each has a reason."""

    outgoing_messages_max: int = 65_536
    """Messages that may wait for the socket; above it ``publish`` raises OverloadedError.
    One second of full throughput: whoever waits longer had better be told."""
    outgoing_bytes_max: int = 33_554_432
    """The same in bytes. 32 messages of the largest payload, or 160,000 small ones."""
    incoming_frames_max: int = 32_768
    """Frames handed to trio and not yet taken; above it the socket is not read any more."""
    incoming_bytes_max: int = 16_777_216
    """The same in bytes as received. The server buffers 64 MiB for a client before it cuts."""
    turn_frames_max: int = 128
    """Frames that trio takes before other tasks run. One may begin an instance, some 50 us: a
    read of the socket (256 kB) holds a thousand, and everybody else would wait for all of them."""
    requests_open_max: int = 262_144
    """Requests without an answer; about 1 kB each."""
    tick_s: float = 0.02
    """Grain of request deadlines: a timeout is at most this much late, never early."""
    connect_s: float = 5.0
    """How long one attempt to connect may take, with several servers all of them together (but
    a second each); also how long the first connection is tried."""
    reconnect_s_min: float = 0.1
    """Wait after a round over all servers; doubles up to ``reconnect_s_max``, with jitter."""
    reconnect_s_max: float = 1.0
    """A restarted server is found within about this time, by a thousand clients too."""
    watchdog_s: float = 2.0
    """Time between two probes through the server."""
    watchdog_misses_max: int = 2
    """Probes without an answer before the connection is given up."""
    close_s: float = 1.0
    """How long ``close`` waits for the server to take what was already queued."""


class BridgeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the bridge; counters run from its start."""

    connected: bool
    server: str
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int
    bad_frames: int
    reconnects: int
    watchdog_misses: int
    reading_pauses: int
    server_errors: int
    late_replies: int
    sink_errors: int
    subscriptions: int
    requests_open: int
    outgoing_messages: int
    outgoing_bytes: int
    incoming_frames: int
    incoming_bytes: int
    rtt_s: float
    """Of the last answered probe; 0.0 before the first."""
