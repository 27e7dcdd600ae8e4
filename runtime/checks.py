"""Checks of the NATS server that a daemon works on, for ``movant doctor``.

They run in the daemon, with its login, when one answers; else in ``doctor`` itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import msgspec

from actors.store import blobs, neighbours, streams
from actors.store.blobs import Blobs
from protocols.api.runs import Finding, Findings
from protocols.errors import MovantError, UnavailableError
from protocols.events import from_time
from protocols.ports import Outgoing
from runtime import permissions
from runtime.bridge.transport import NatsTransport
from runtime.config import DaemonConfig

_ANSWER_S: Final = 5.0
_GIB: Final = 1024**3


def wanted_streams(config: DaemonConfig) -> list[streams.Configuration]:
    """Return the streams that a daemon makes.

    MAIL has to have room whatever is put: what steers runs stands there.
    """
    free = 0 if config.nats.url else config.server.file_store_bytes_max - streams.DEAD_BYTES_MAX
    share = free // 2 if free > 0 else -1
    return streams.wanted(
        partitions=config.partitions,
        replicas=config.replicas,
        blobs_bytes_max=config.limits.blobs_bytes_max or share,
    )


async def check_server(
    transport: NatsTransport,
    *,
    foreign: Sequence[str] = (),
    partitions: int | None = None,
    replicas: int = 1,
) -> Findings:
    """Return what is found. Without ``partitions`` the streams' settings are not compared."""

    async def permitted() -> Finding:
        lacking = await permissions.missing(transport, foreign)
        return finding(
            "permissions",
            not lacking,
            f"the NATS user {transport.user} may do all that a daemon does"
            if not lacking
            else f"the NATS user {transport.user} lacks: {', '.join(lacking)}",
            "permit them, or use the daemon's user (docs/operations.md, 'Permissions')",
        )

    async def jetstream() -> Finding:
        told = await _ask(transport, "$JS.API.INFO")
        if "error" in told:
            return finding(
                "jetstream",
                False,  # noqa: FBT003 - see ``finding``
                str(told["error"].get("description")),
                "enable JetStream on the server, for the account of the daemon",
            )
        stored = told.get("storage", 0) / _GIB
        return finding(
            "jetstream",
            True,  # noqa: FBT003 - see ``finding``
            f"{told.get('streams', 0)} streams, {stored:.2f} GiB stored",
        )

    async def settings() -> Finding:
        assert partitions is not None
        wrong = []
        for wanted in streams.wanted(partitions=partitions, replicas=replicas):
            told = await _ask(transport, f"$JS.API.STREAM.INFO.{wanted['name']}")
            if "config" not in told:
                wrong.append(f"{wanted['name']} is missing")
            else:
                differences = streams.differences(wanted, told["config"])
                wrong += [f"{wanted['name']}: {each}" for each in differences]
        return finding(
            "streams",
            not wrong,
            "; ".join(wrong) or "as movant needs them",
            "movant serve makes missing ones; one that differs has to be changed back",
        )

    async def copies() -> Finding:
        return replicas_of(await _ask(transport, "$JS.API.STREAM.LIST"))

    async def captured() -> Finding:
        wrong = await neighbours.problems(transport, foreign)
        return finding(
            "captured",
            not wrong,
            "; ".join(wrong) or "no stream answers in place of services or of movant's streams",
            "remove that mirror or change the subjects of that stream, or give movant an account"
            " of its own",
        )

    checks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
        ("permissions", permitted),
        ("jetstream", jetstream),
        ("replicas", copies),
        ("blobs", partial(room, transport)),
        ("captured", captured),
    ]
    if partitions is not None:
        checks.insert(2, ("streams", settings))
    found = [await _checked(name, check) for name, check in checks]
    return Findings(findings=found, server_time=await _server_time(transport))


async def room(transport: NatsTransport) -> Finding:
    """Look how much room is left for large values."""
    found = await Blobs(transport).room()
    told = f"large values and artifacts: {found}"
    return finding("blobs", not found.is_scarce, told, blobs.ROOM)


def finding(check: str, holds: bool, found: str, remedy: str = "") -> Finding:  # noqa: FBT001 - what was found
    """Return what a check has found."""
    return Finding(
        check=check,
        verdict="ok" if holds else "error",
        found=found,
        next="" if holds else remedy,
    )


def replicas_of(told: Mapping[str, Any]) -> Finding:
    """Look in a list of streams for one without a leader, and for copies that are away."""
    wrong: list[str] = []
    leaders: Counter[str] = Counter()
    copies = 1
    for stream in told.get("streams") or []:
        name = stream["config"]["name"]
        state = stream.get("cluster") or {}
        replicas = state.get("replicas") or []
        copies = max(copies, stream["config"].get("num_replicas", 1))
        leaders[state.get("leader") or ""] += 1
        if replicas and not state.get("leader"):
            wrong.append(f"{name} has no leader")
        wrong += [
            f"{name}: {each['name']} is away or behind"
            for each in replicas
            if each.get("offline") or not each.get("current")
        ]
    # A stream without a leader answers no list: it is only named.
    wrong += [f"{name} does not answer" for name in told.get("missing") or []]
    led = ", ".join(f"{name} {count}" for name, count in sorted(leaders.items()) if name)
    return finding(
        "replicas",
        not wrong,
        "; ".join(wrong) or ("one copy" if copies == 1 else f"{copies} copies; led by: {led}"),
        "start the NATS server that is missing, then look again: nats server report jetstream",
    )


async def _checked(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except MovantError as error:
        return finding(name, False, error.message, error.hint)  # noqa: FBT003 - see ``finding``


async def _server_time(transport: NatsTransport) -> int:
    """Return the server's clock now, 0 when it does not tell."""
    before = time.time_ns()
    try:
        told = await _ask(transport, "$JS.API.STREAM.INFO.MAIL")
    except MovantError:
        return 0
    if "ts" not in told:
        return 0
    # As of now: the answer was written half a round trip ago.
    return from_time(told["ts"]) + (time.time_ns() - before) // 2


async def _ask(transport: NatsTransport, subject: str) -> dict[str, Any]:
    frame = await transport.request(Outgoing(subject, b""), _ANSWER_S)
    try:
        return cast("dict[str, Any]", msgspec.json.decode(frame.payload, type=dict))
    except msgspec.DecodeError as error:
        raise UnavailableError(f"the server answers {subject} with something else") from error
