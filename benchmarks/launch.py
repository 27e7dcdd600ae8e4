"""The processes of a benchmark: daemon, hosted service, plain service.

    python -m benchmarks.launch daemon --store DIR --durability fsync
    python -m benchmarks.launch hosted --nats URL
    python -m benchmarks.launch plain --nats URL

Each prints one line ``ready <url>`` when it serves, and stops on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio  # noqa: TID251  # the plain service is what a stranger would write
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from protocols.service import Call, Service
from runtime.config import DaemonConfig, ServerConfig
from runtime.daemon import Daemon
from runtime.service_host import serve

PR_SET_PDEATHSIG: Final = 1
WORKFLOWS: Final = Path(__file__).with_name("workflows.py")


def main() -> None:
    """Run one process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["daemon", "hosted", "plain"])
    parser.add_argument("--store", type=Path, default=Path())
    parser.add_argument("--durability", choices=["fsync", "interval"], default="fsync")
    parser.add_argument("--nats", default="")
    parser.add_argument("--calls", type=Path, help="note each call of the handler in a file")
    arguments = parser.parse_args()
    _end_with_parent()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("critical"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    if arguments.kind == "daemon":
        trio.run(_daemon, arguments)
    elif arguments.kind == "hosted":
        trio.run(_hosted, arguments.nats, _noter(arguments.calls))
    else:
        asyncio.run(_plain(arguments.nats, _noter(arguments.calls)))


def _end_with_parent() -> None:
    """Get SIGTERM when whoever started us dies: a killed benchmark leaves nothing running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _noter(path: Path | None) -> Callable[[str], object]:
    """Return what notes a call: eight bytes of the key, which outlive this process."""
    if path is None:
        return lambda _: None
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    return lambda key: os.write(descriptor, blake2b(key.encode(), digest_size=8).digest())


async def _daemon(arguments: argparse.Namespace) -> None:
    config = DaemonConfig(
        name="bench",
        server=ServerConfig(store=arguments.store, durability=arguments.durability),
        workflows=(WORKFLOWS,),
    )
    daemon = Daemon(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, daemon.drain)
        await nursery.start(daemon.run)
        _say_ready(daemon.url)


async def _hosted(url: str, note: Callable[[str], object]) -> None:
    service = Service("bench", version="1.0.0")

    @service.operation("noop")
    async def noop(request: Any, call: Call) -> Any:
        note(call.key)
        return request

    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, stop.set)
        await nursery.start(partial(_serve, service, url, stop))
        _say_ready(url)
        await stop.wait()
    sys.exit(0)


async def _serve(
    service: Service, url: str, stop: trio.Event, *, task_status: trio.TaskStatus[None]
) -> None:
    await serve([service], url, stop, task_status=task_status)


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
