"""The processes of a benchmark: daemon, hosted service, plain service, owners of states.

    python -m benchmarks.launch daemon --store DIR --durability fsync
    python -m benchmarks.launch daemon --name second --nats URL
    python -m benchmarks.launch hosted --nats URL
    python -m benchmarks.launch plain --nats URL
    python -m benchmarks.launch offices --nats URL --only duke,prince

Each prints one line ``ready <url>`` when it serves, and stops on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251  # the plain service is what a stranger would write
import ctypes
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from benchmarks.calls import noter
from benchmarks.flow import OFFICES, offices
from protocols.service import Call, Service
from runtime.bridge.handover import Outbox
from runtime.config import load
from runtime.daemon import Daemon
from runtime.service_host import serve

PR_SET_PDEATHSIG: Final = 1
WORKFLOWS: Final = [Path(__file__).with_name(name) for name in ("workflows.py", "w8.yaml")]
REQUEST: Final = "movant.svc."
KEY: Final = b"Movant-Key: "
AT_ONCE: Final = 50_000
"""Handlers of the hosted service that may sleep beside each other."""


def main() -> None:
    """Run one process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["daemon", "hosted", "plain", "offices"])
    parser.add_argument("--name", default="bench")
    parser.add_argument("--store", type=Path, default=Path())
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--nats", default="")
    parser.add_argument("--host", default="", help="what the daemon takes for its host's name")
    parser.add_argument(
        "--set", action="append", default=[], help="KEY=VALUE of the configuration"
    )
    parser.add_argument("--requests", type=Path, help="note each request to a service in a file")
    parser.add_argument("--calls", type=Path, help="note each call of the handler in a file")
    parser.add_argument("--only", default=",".join(OFFICES), help="offices, comma-separated")
    parser.add_argument("--step-s", type=float, default=0.0, help="how long a handler sleeps")
    arguments = parser.parse_args()
    _end_with_parent()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if arguments.kind == "daemon":
        trio.run(_daemon, arguments)
    elif arguments.kind == "hosted":
        trio.run(_hosted, arguments.nats, noter(arguments.calls), arguments.step_s)
    elif arguments.kind == "offices":
        owners = offices(arguments.only.split(","), step_s=arguments.step_s, at_once=AT_ONCE)
        trio.run(_host, owners, arguments.nats)
    else:
        asyncio.run(_plain(arguments.nats, noter(arguments.calls)))


def _end_with_parent() -> None:
    """Get SIGTERM when whoever started us dies: a killed benchmark leaves nothing running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


async def _daemon(arguments: argparse.Namespace) -> None:
    if arguments.host:
        # On one host others see at once that a process is gone; elsewhere a lease has to lapse.
        socket.gethostname = lambda: arguments.host
    if arguments.requests:
        _note_requests(arguments.requests)
    flags = {
        "name": arguments.name,
        "nats.url": arguments.nats or None,
        "server.store": arguments.store,
        "server.durability": arguments.durability,
        "workflows": WORKFLOWS,
        **dict(each.split("=", 1) for each in arguments.set),
    }
    config = load(flags, environment={}).config
    daemon = Daemon(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, daemon.drain)
        await nursery.start(daemon.run)
        _say_ready(daemon.url)


def _note_requests(path: Path) -> None:
    """Note what this daemon sends to services, at the moment when it is written."""
    note = noter(path)
    take = Outbox.take

    def noting(outbox: Outbox) -> bytes:
        taken = take(outbox)
        for each in taken.split(KEY)[1:]:
            note(each.split(b"\r\n", 1)[0].decode())
        return taken

    Outbox.take = noting  # type: ignore[method-assign, assignment]


async def _hosted(url: str, note: Callable[[str], object], step_s: float) -> None:
    service = Service("bench", version="1.0.0")

    @service.operation("noop", concurrency=AT_ONCE if step_s else None)
    async def noop(request: Any, call: Call) -> Any:
        note(call.key)
        if step_s:
            await trio.sleep(step_s)
        return request

    await _host([service], url)


async def _host(services: Sequence[Service], url: str) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, stop.set)
        await nursery.start(partial(serve, services, url, stop))
        _say_ready(url)
        await stop.wait()
    sys.exit(0)


async def _plain(url: str, note: Callable[[str], object]) -> None:
    """Answer with nats-py alone, as a stranger's service does."""
    import nats  # noqa: PLC0415, TID251  # only this process needs it

    connection = await nats.connect(url, pending_size=64 * 1024 * 1024)

    async def noop(message: Any) -> None:
        if message.reply:  # a probe of presence has none
            note((message.headers or {}).get("Movant-Key", ""))
        await connection.publish(message.reply, message.data)

    await connection.subscribe(
        "movant.svc.bench.noop",
        queue="q",
        cb=noop,
        pending_msgs_limit=-1,
        pending_bytes_limit=-1,
    )
    await connection.flush()
    _say_ready(url)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await connection.drain()


async def _stop_on_signal(stop: Any) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            stop()
            return


def _say_ready(url: str) -> None:
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
