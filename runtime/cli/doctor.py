"""``movant doctor``: check this machine and the daemon, each finding with its remedy."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import trio

from actors.direct_reader import nanoseconds
from protocols.errors import MovantError
from protocols.ports import Outgoing
from runtime.cli.failures import DEGRADED, OK
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_jsonl, write_table, write_text
from runtime.client import Client
from runtime.client_discovery import find
from runtime.config import default_store, redacted
from runtime.server.binary import find as find_server
from runtime.server.configuration import FREE_BYTES_MIN
from runtime.telemetry import configure

PACKAGES: Final = ("protocols", "actors", "supervisors", "runtime", "movant")
SKEW_S_MAX: Final = 2.0
"""Timers are due by the server's clock; a client that shows other times confuses people."""
_ANSWER_S: Final = 5.0
_PYTHON_MIN: Final = (3, 11)
_GIB: Final = 1024**3

Verdict = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check has found, and what to do about it."""

    check: str
    verdict: Verdict
    found: str
    next: str = ""


@command(
    "doctor",
    examples=(
        ("movant doctor", "exit 0 when nothing is wrong, 3 otherwise"),
        ("movant doctor -o json", "for programs"),
    ),
)
@target
def doctor(to: Target) -> int:
    """Check Python, packages, nats-server, the store, the daemon and its streams."""
    configure("error", "human")
    findings = [*_local(to.store or default_store()), *trio.run(_remote, to)]
    if to.form == "json":
        write_json(findings)
    elif to.form == "jsonl":
        write_jsonl(findings)
    else:
        write_table(
            ("CHECK", "VERDICT", "FOUND"),
            [(each.check, each.verdict, each.found) for each in findings],
        )
        for each in findings:
            if each.next:
                write_text(f"{each.check}: {each.next}")
    return DEGRADED if any(each.verdict == "error" for each in findings) else OK


def _local(store: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _finding(
        "python", sys.version_info >= _PYTHON_MIN, version, "install Python 3.11 or newer"
    )
    yield _packages()
    try:
        server = find_server()
        yield Finding(
            check="nats-server", verdict="ok", found=f"{server.version_text} at {server.path}"
        )
    except MovantError as error:
        yield Finding(check="nats-server", verdict="error", found=error.message, next=error.hint)
    yield _store(store.expanduser().absolute())


def _packages() -> Finding:
    """Check that our names are ours: a foreign wheel may bring a package of the same name."""
    home = Path(__file__).parents[2]
    strangers = []
    for name in PACKAGES:
        spec = find_spec(name)
        where = Path(spec.origin).parents[1] if spec and spec.origin else None
        if where != home:
            strangers.append(f"{name} is at {where}")
    return _finding(
        "packages",
        not strangers,
        "; ".join(strangers) or f"all of {home}",
        "install movant into an environment of its own",
    )


def _store(store: Path) -> Finding:
    existing = next(path for path in (store, *store.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(
            check="store",
            verdict="error",
            found=f"{existing} is not writable",
            next="choose another directory: --store, or MOVANT_SERVER__STORE",
        )
    free = shutil.disk_usage(existing).free
    return _finding(
        "store",
        free >= FREE_BYTES_MIN,
        f"{store}, {free / _GIB:.1f} GiB free",
        "free some space, or choose another directory",
    )


async def _remote(to: Target) -> list[Finding]:
    try:
        nats = find(to.url or "", to.store)
    except MovantError as error:
        return [Finding(check="daemon", verdict="warning", found=error.message, next=error.hint)]
    findings: list[Finding] = []
    try:
        async with Client.connect(nats.url, name="movant-doctor", patience_s=1.0) as client:
            findings.append(Finding(check="nats", verdict="ok", found=redacted(nats.url)))
            checks = (_jetstream, _replicas, _clock, _captured, _daemon)
            findings += [await _checked(check, client) for check in checks]
    except MovantError as error:
        findings.append(
            Finding(check="nats", verdict="error", found=error.message, next=error.hint)
        )
    return findings


async def _checked(check: Callable[[Client], Awaitable[Finding]], client: Client) -> Finding:
    try:
        return await check(client)
    except MovantError as error:
        name = check.__name__.strip("_")
        return Finding(check=name, verdict="error", found=error.message, next=error.hint)


async def _jetstream(client: Client) -> Finding:
    told = await _ask(client, "$JS.API.INFO")
    if "error" in told:
        return Finding(
            check="jetstream",
            verdict="error",
            found=str(told["error"].get("description")),
            next="enable JetStream on the server",
        )
    return Finding(
        check="jetstream",
        verdict="ok",
        found=f"{told.get('streams', 0)} streams, {told.get('storage', 0) / _GIB:.2f} GiB stored",
    )


async def _replicas(client: Client) -> Finding:
    """Look for streams without a leader, and for copies that are away or behind."""
    told = await _ask(client, "$JS.API.STREAM.LIST")
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
    # A stream without a leader answers no list: it is only counted.
    wrong += [f"{name} does not answer" for name in told.get("missing") or []]
    led = ", ".join(f"{name} {count}" for name, count in sorted(leaders.items()) if name)
    return _finding(
        "replicas",
        not wrong,
        "; ".join(wrong) or ("one copy" if copies == 1 else f"{copies} copies; led by: {led}"),
        "start the NATS server that is missing, then look again: nats server report jetstream",
    )


async def _clock(client: Client) -> Finding:
    before = time.time_ns()
    told = await _ask(client, "$JS.API.STREAM.INFO.MAIL")
    after = time.time_ns()
    if "ts" not in told:
        return Finding(
            check="clock",
            verdict="error",
            found="there is no stream MAIL on this server",
            next="movant serve makes it",
        )
    skew_s = (nanoseconds(told["ts"]) - (before + after) / 2) / 1e9
    return _finding(
        "clock",
        abs(skew_s) <= SKEW_S_MAX,
        f"the server's clock is {skew_s:+.3f} s from ours",
        "synchronise the clocks of both machines (NTP)",
    )


async def _captured(client: Client) -> Finding:
    """Look for streams that capture requests to services and would answer in their place."""
    told = await _ask(client, "$JS.API.STREAM.NAMES", {"subject": "movant.svc.>"})
    names = told.get("streams") or []
    return _finding(
        "captured",
        not names,
        f"captured by {', '.join(names)}" if names else "no stream captures movant.svc.>",
        "change the subjects of these streams: they answer in place of services",
    )


async def _daemon(client: Client) -> Finding:
    view = await client.status()
    wrong = view.problems or ([] if view.state == "ready" else [f"it is {view.state}"])
    return _finding(
        "daemon",
        not wrong,
        "; ".join(wrong) or f"{view.daemon} is ready, movant {view.version}",
        "movant status",
    )


async def _ask(client: Client, subject: str, request: Any = None) -> dict[str, Any]:
    payload = b"" if request is None else msgspec.json.encode(request)
    frame = await client.calls.transport.request(Outgoing(subject, payload), _ANSWER_S)
    found: dict[str, Any] = msgspec.json.decode(frame.payload, type=dict[str, Any])
    return found


def _finding(check: str, holds: bool, found: str, remedy: str) -> Finding:  # noqa: FBT001 - what was found
    return Finding(
        check=check,
        verdict="ok" if holds else "error",
        found=found,
        next="" if holds else remedy,
    )
