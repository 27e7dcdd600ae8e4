"""Hosting: connectors as supervised children, in the daemon or in a process of their own.

A connector whose system is not there is opened again and again, for ever: a dead external
service must not climb the tree. Until it is open nobody serves its subjects, and steps wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from actors.files.connectors import load_connectors
from protocols.connectors.connector import Connector
from protocols.connectors.kinds import kind_of
from protocols.errors import ConfigurationError, NotFoundError
from protocols.findings import did_you_mean
from runtime.connectors.frame import Opened, opened
from runtime.connectors.secrets import Secrets
from runtime.service_host import DRAIN_S, Hosting, offer, served, until_signal
from runtime.started import WhenUp
from supervisors.backoff import Backoff, failures_in_a_row
from supervisors.child import ChildSpec, ChildStatus
from supervisors.intensity import Intensity
from supervisors.supervisor import Supervisor
from supervisors.tree import SupervisorSpec, build

AGAIN: Final = Backoff(delay_s=0.5, max_delay_s=30.0)
DAEMON_DRAIN_S: Final = 10.0
"""How long a daemon's stop waits for its connectors, after all else has drained."""
STEADY_S: Final = 60.0
"""Who was open for so long begins with short pauses again."""

log = structlog.get_logger()


def chosen(file: Path | str, names: Sequence[str] = ()) -> dict[str, Connector]:
    """Return the connectors of a file, or those with certain names.

    Raises NotFoundError, and ConfigurationError with file, line and column.
    """
    found = load_connectors(file)
    for name in names:
        if name not in found:
            raise NotFoundError(
                f"{file} has no connector {name!r}", hint=did_you_mean(name, found)
            )
    return {name: found[name] for name in names} if names else found


def hosted(file: str, hosting: Hosting) -> tuple[SupervisorSpec, ...]:
    """Return the supervisor of the connectors of a file; none when no file is named.

    Raises NotFoundError, and ConfigurationError with file, line and column.
    """
    if not file:
        return ()
    path = Path(file).expanduser().absolute()
    return (supervised(chosen(path), path.parent, hosting, drain_s=DAEMON_DRAIN_S),)


def supervised(
    connectors: Mapping[str, Connector], base: Path, hosting: Hosting, *, drain_s: float = DRAIN_S
) -> SupervisorSpec:
    """Return the supervisor of connectors; ``base`` is where relative paths of secrets begin.

    ``hosting`` is asked when a child starts: it may not be complete before.
    """
    return SupervisorSpec(
        id="services",
        children=tuple(
            ChildSpec(
                id=name,
                start=partial(_host, name, settings, base, hosting, drain_s),
                shutdown=drain_s + 5.0,
            )
            for name, settings in connectors.items()
        ),
        intensity=Intensity(restarts_max=5, period_s=60.0),
    )


async def _host(
    name: str,
    settings: Connector,
    base: Path,
    hosting: Hosting,
    drain_s: float,
    *,
    task_status: ChildStatus,
) -> None:
    """Offer a connector until it is told to stop; open it again whenever it fails."""
    stop = trio.Event()
    task_status.started(stop=stop.set)
    failures = 0
    while not stop.is_set():
        began = trio.current_time()
        secrets = Secrets(base)
        try:
            async with opened(name, settings, secrets) as found:
                log.info("connector.open", connector=name, kind=kind_of(settings))
                async with trio.open_nursery() as nursery:
                    if settings.probe is not None:
                        nursery.start_soon(_probe, name, found, float(settings.probe))
                    await offer(hosting, found.service, stop, drain_s=drain_s)
                    nursery.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever a library raises: it is tried again
            failures = failures_in_a_row(failures, trio.current_time() - began, STEADY_S)
            delay_s = AGAIN.before(failures, name)
            log.warning(
                "connector.waiting",
                connector=name,
                reason=secrets.hidden(_reason(error)),
                delay_s=round(delay_s, 3),
            )
            with trio.move_on_after(delay_s):
                await stop.wait()


async def _probe(name: str, found: Opened, every_s: float) -> None:
    """Look now and then whether its system is there; tell of each change, and in statistics."""
    before: bool | None = None
    while True:
        failed = [each for each in await found.check() if not each.ok]
        healthy = not failed
        for operation in [*found.service.operations][:1]:  # statistics are added up
            found.service.counters.setdefault(operation, {})["healthy"] = float(healthy)
        if failed and before is not False:
            reason = "; ".join(f"{each.what}: {each.detail}" for each in failed)
            log.warning("connector.health", connector=name, healthy=False, reason=reason)
        elif healthy and before is False:
            log.info("connector.health", connector=name, healthy=True, reason="")
        before = healthy
        await trio.sleep(every_s)


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigurationError):
        return error.message
    if isinstance(error, ExceptionGroup):
        return "; ".join(_reason(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"


def run_connectors(
    file: Path | str,
    names: Sequence[str] = (),
    *,
    nats: str = "",
    store: Path | None = None,
    drain_s: float = DRAIN_S,
) -> None:
    """Serve the connectors of a file until SIGTERM or SIGINT; blocks.

    The server and its login are found as ``run_service`` finds them. Raises ConfigurationError,
    NotFoundError and DisconnectedError when serving cannot begin.
    """
    connectors = chosen(file, names)
    trio.run(_main, connectors, Path(file).absolute().parent, nats, store, drain_s)


async def _main(
    connectors: Mapping[str, Connector], base: Path, nats: str, store: Path | None, drain_s: float
) -> None:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_signal, stop)
        await serve(connectors, base, nats, stop, store=store, drain_s=drain_s)
        nursery.cancel_scope.cancel()


async def serve(
    connectors: Mapping[str, Connector],
    base: Path,
    nats: str,
    stop: trio.Event,
    *,
    store: Path | None = None,
    drain_s: float = DRAIN_S,
    task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connectors until ``stop``; then drain. Reports the supervisor when all have begun."""
    async with served(nats, names=", ".join(connectors), store=store) as hosting:
        root = build(supervised(connectors, base, hosting, drain_s=drain_s), seed="connectors")
        async with trio.open_nursery() as nursery:
            up = WhenUp(lambda: task_status.started(root))
            nursery.start_soon(partial(root.run, task_status=up))
            await stop.wait()
            root.request_stop()
