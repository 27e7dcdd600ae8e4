"""A daemon for tests with a NATS server of its own, and the logins of that server's users."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from protocols.service import Service
from runtime.bridge import connect
from runtime.config import DaemonConfig, ServerConfig
from runtime.daemon import Daemon
from runtime.server.credentials import read
from runtime.service_host import serve
from tests.support.daemon import PROBE, Running


class Own(Running):
    """The daemon, asked as its user ``client``."""

    def login(self, user: str) -> str:
        """Return the server's URL with the login of a user."""
        return login(self.daemon, user)


def login(daemon: Daemon, user: str) -> str:
    """Return the URL of a daemon's own server with the login of a user."""
    password = read(daemon.config.server.store, user)
    return f"nats://{user}:{password}@{daemon.url.removeprefix('nats://')}"


@asynccontextmanager
async def own_daemon(
    store: Path,
    *,
    hosted: Sequence[Service] = (),
    workflows: Sequence[Path] = (PROBE,),
    foreign: Mapping[str, str] | None = None,
    heard: Sequence[str] = (),
) -> AsyncIterator[Own]:
    """Run a daemon with an embedded server here, and services as the user ``service``."""
    one = Daemon(
        DaemonConfig(
            name="own",
            server=ServerConfig(store=store, durability="interval", client_subjects=tuple(heard)),
            workflows=tuple(workflows),
            services=dict(foreign or {}),
            drain_timeout_s=5.0,
        )
    )
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        async with connect(login(one, "client"), name="test") as transport:

            async def offer(*, task_status: trio.TaskStatus[None]) -> None:
                url = login(one, "service")
                await serve(hosted, url, stop, drain_s=0.5, task_status=task_status)

            if hosted:
                await nursery.start(offer)
            try:
                yield Own(transport, one, nursery.cancel_scope)
            finally:
                stop.set()
                one.drain()
                nursery.cancel_scope.deadline = trio.current_time() + 20
