"""The daemon as a process: signals, its notice to clients, and the service manager.

first SIGTERM or SIGINT   drain: finish what is under way, then exit 0
second                    exit at once; what was not stored is done after the next start
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import structlog
import trio

from runtime.client.discovery import Notice, announced
from runtime.config import DaemonConfig
from runtime.daemon import Daemon
from runtime.notify import keep_notified, notify
from runtime.telemetry import configure

log = structlog.get_logger()


def serve(config: DaemonConfig, told: Callable[[Daemon], None]) -> None:
    """Run a daemon until it is told to stop; ``told`` is called when it is ready.

    Raises what stopped it, when that was no signal.
    """
    configure(config.log.level, config.log.format)
    trio.run(_host, Daemon(config), told)


async def _host(daemon: Daemon, told: Callable[[Daemon], None]) -> None:
    stopped = trio.Event()

    async def live(*, task_status: trio.TaskStatus[Any]) -> None:
        await daemon.run(task_status=task_status)
        stopped.set()

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey, signals, daemon)
            await nursery.start(live)
            notice = Notice(
                url=daemon.url,
                pid=os.getpid(),
                started=time.time_ns(),
                name=daemon.name,
                own=not daemon.config.nats.url,
            )
            with announced(daemon.config.server.store, notice):
                notify(READY=1, STATUS=_status(daemon), MAINPID=os.getpid())
                nursery.start_soon(keep_notified, lambda: daemon.state, lambda: _status(daemon))
                told(daemon)
                await stopped.wait()
            nursery.cancel_scope.cancel()


async def _obey(signals: AsyncIterator[int], daemon: Daemon) -> None:
    """Drain at the first signal, end the process at the second."""
    obeyed = False
    async for number in signals:
        name = signal.Signals(number).name
        if obeyed:
            log.warning("daemon.signal", signal=name, then="exit")
            os._exit(128 + number)
        obeyed = True
        log.info("daemon.signal", signal=name, then="drain")
        notify(STOPPING=1, STATUS="draining")
        daemon.drain()


def _status(daemon: Daemon) -> str:
    problems = daemon.problems()
    return f"{daemon.state}; {problems[0]}" if problems else daemon.state
