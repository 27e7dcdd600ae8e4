"""``movant doctor``: check this machine and the daemon, each finding with its remedy."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import trio

from protocols.api.runs import Empty, Finding, Findings
from protocols.errors import MovantError, NoRespondersError
from runtime.bridge import NatsTransport
from runtime.checks import check_server, finding
from runtime.cli.failures import DEGRADED, OK
from runtime.cli.options import Target, command, target
from runtime.cli.output import write_json, write_jsonl, write_table, write_text
from runtime.client.client import Client
from runtime.client.discovery import find
from runtime.config import default_store, redacted
from runtime.server.binary import find as find_server
from runtime.server.configuration import FREE_BYTES_MIN
from runtime.telemetry import configure

PACKAGES: Final = ("protocols", "actors", "supervisors", "runtime", "movant")
SKEW_S_MAX: Final = 2.0
"""Timers are due by the server's clock; a client that shows other times confuses people."""
_PYTHON_MIN: Final = (3, 11)
_GIB: Final = 1024**3


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
                write_text(f"{each.check}: {each.found}\n    {each.next}")
    return DEGRADED if any(each.verdict == "error" for each in findings) else OK


def _local(store: Path) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield finding(
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
    return finding(
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
    return finding(
        "store",
        free >= FREE_BYTES_MIN,
        f"{store}, {free / _GIB:.1f} GiB free",
        "free some space, or choose another directory",
    )


async def _remote(to: Target) -> list[Finding]:
    """Ask the daemon what it finds; without one look at the server with our own login."""
    try:
        nats = find(to.url or "", to.store)
    except MovantError as error:
        return [Finding(check="daemon", verdict="warning", found=error.message, next=error.hint)]
    try:
        async with Client.connect(
            to.url, store=to.store, name="movant-doctor", patience_s=1.0
        ) as client:
            found = [Finding(check="nats", verdict="ok", found=redacted(nats.url))]
            return found + await _server(client) + [await _daemon(client)]
    except MovantError as error:
        return [Finding(check="nats", verdict="error", found=error.message, next=error.hint)]


async def _server(client: Client) -> list[Finding]:
    try:
        told = await client.calls.call("check", Empty(), Findings)
    except NoRespondersError:
        transport = client.calls.transport
        assert isinstance(transport, NatsTransport)
        told = await check_server(transport)
    except MovantError as error:
        return [Finding(check="server", verdict="error", found=error.message, next=error.hint)]
    return [*told.findings, _clock(told.server_time, time.time_ns())]


def _clock(server: int, ours: int) -> Finding:
    if not server:
        return Finding(
            check="clock",
            verdict="error",
            found="there is no stream MAIL on this server",
            next="movant serve makes it",
        )
    skew_s = (server - ours) / 1e9
    return finding(
        "clock",
        abs(skew_s) <= SKEW_S_MAX,
        f"the server's clock is {skew_s:+.3f} s from ours",
        "synchronise the clocks of both machines (NTP)",
    )


async def _daemon(client: Client) -> Finding:
    try:
        view = await client.status()
    except MovantError as error:
        return Finding(check="daemon", verdict="error", found=error.message, next=error.hint)
    wrong = view.problems or ([] if view.state == "ready" else [f"it is {view.state}"])
    return finding(
        "daemon",
        not wrong,
        "; ".join(wrong) or f"{view.daemon} is ready, movant {view.version}",
        "movant status",
    )
