"""What the API tells about the daemons themselves: how they stand, and their trees."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.api.base import At, Message
from protocols.api.holds import HoldView


class DaemonRow(Message, frozen=True, kw_only=True):
    """One daemon among those that share the partitions."""

    daemon: Annotated[str, Meta(description="Its name.")]
    host: Annotated[str, Meta(description="The machine that it runs on.")] = ""
    pid: Annotated[int, Meta(description="Its process id there.")] = 0
    state: Annotated[
        str, Meta(description="ready, degraded, draining, or silent: it does not answer.")
    ]
    version: Annotated[str, Meta(description="Version of movant.")] = ""
    partitions: Annotated[list[int], Meta(description="The partitions that it claims.")] = []
    live: Annotated[int, Meta(description="Instances in its memory.")] = 0
    lag: Annotated[int, Meta(description="Messages that wait in the stream to be read.")] = 0


class PartitionRow(Message, frozen=True, kw_only=True):
    """How one partition stands at its owner."""

    partition: Annotated[int, Meta(description="Its number.")]
    daemon: Annotated[str, Meta(description="Who owns it; empty: nobody now.")] = ""
    epoch: Annotated[int, Meta(description="The epoch of its owner.")] = 0
    position: Annotated[int, Meta(description="Up to here everything was read.")] = 0
    lag: Annotated[int, Meta(description="Messages that wait in the stream to be read.")] = 0


class StatusView(Message, frozen=True, kw_only=True):
    """How the daemon stands."""

    version: Annotated[str, Meta(description="Version of movant.")]
    daemon: Annotated[str, Meta(description="Name of the daemon.")]
    state: Annotated[str, Meta(description="starting, ready, degraded or draining.")]
    durability: Annotated[
        str, Meta(description="fsync, interval or replicated: what an acknowledgement means.")
    ]
    uptime_s: Annotated[float, Meta(description="Seconds since the start.")]
    partitions: Annotated[list[int], Meta(description="The partitions that it owns.")] = []
    counters: Annotated[
        dict[str, float], Meta(description="Instances, messages, queues, by name.")
    ] = {}
    problems: Annotated[list[str], Meta(description="What a person should look at.")] = []
    holds: Annotated[list[HoldView], Meta(description="What is paused or forced by hand.")] = []
    daemons: Annotated[
        list[DaemonRow], Meta(description="All daemons that share the partitions.")
    ] = []
    owners: Annotated[
        list[PartitionRow], Meta(description="All partitions, with who owns them.")
    ] = []


class ActorNode(Message, frozen=True, kw_only=True):
    """One actor of the supervision tree."""

    name: Annotated[str, Meta(description="Name of the actor.")]
    kind: Annotated[str, Meta(description="supervisor or worker.")]
    state: Annotated[str, Meta(description="running, starting, restarting or stopped.")]
    strategy: Annotated[
        str, Meta(description="Of a supervisor: whom it restarts with one that failed.")
    ] = ""
    restarts: Annotated[int, Meta(description="How often it was restarted.")] = 0
    last_crash: Annotated[str, Meta(description="The error that it was restarted for last.")] = ""
    up_s: Annotated[float, Meta(description="Seconds since its latest start.")] = 0.0
    queued: Annotated[int, Meta(description="Messages in its mailbox.")] = 0
    children: Annotated[list[ActorNode], Meta(description="In start order.")] = []


class ServiceFlow(Message, frozen=True, kw_only=True):
    """How one daemon stands to one service that it asks. Times in seconds."""

    service: Annotated[str, Meta(description="Name of the service.")]
    daemon: Annotated[str, Meta(description="The daemon that asks it.")] = ""
    breaker: Annotated[str, Meta(description="closed, open, half_open, or forced.")] = "closed"
    paused: Annotated[str, Meta(description="Who paused it and why; empty: it is not.")] = ""
    parked: Annotated[int, Meta(description="Requests that may not go yet.")] = 0
    answers: Annotated[int, Meta(description="Answers since the daemon's start.")] = 0
    rate_per_s: Annotated[
        float, Meta(description="Answers a second; whoever asks again works it out.")
    ] = 0.0
    p50_s: Annotated[float, Meta(description="Half of the answers took no longer.")] = 0.0
    p99_s: Annotated[float, Meta(description="99 of 100 answers took no longer.")] = 0.0
    error_rate: Annotated[
        float, Meta(description="The share of failures among its latest answers.")
    ] = 0.0


class ActorTree(Message, frozen=True, kw_only=True):
    """The supervision tree, and the services that are asked from it."""

    root: Annotated[ActorNode, Meta(description="The daemon itself.")]
    others: Annotated[list[ActorNode], Meta(description="The other daemons.")] = []
    services: Annotated[
        list[ServiceFlow],
        Meta(description="Of each daemon at most 200, those that are in trouble first."),
    ] = []
    server_time: At = 0
