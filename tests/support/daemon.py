"""A daemon for tests: inside the test's own trio program, or as a process that can be killed.

    async with daemon(nats_server.url, workflows=[PROBE], services=[shop]) as running:
        outcome = await running.run("probe.echo", {"x": 1})

Whatever a test starts here ends with it; nothing is ever signalled but by its pid.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 - a client without movant runs on it, in a thread of its own
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import nats  # noqa: TID251 - what any other program would use
import trio

from protocols import effects
from protocols import headers as h
from protocols.api import runs as api
from protocols.errors import MovantError
from protocols.ports import Outgoing
from protocols.service import Service
from runtime.bridge import NatsTransport, connect
from runtime.config import DaemonConfig, NatsConfig
from runtime.daemon import Daemon
from runtime.service_host import serve

WAIT_S: Final = 20.0
"""Far above what anything here takes; only a defect gets there."""
WORKFLOWS: Final = Path(__file__).parent.parent / "workflows"
PROBE: Final = WORKFLOWS / "probe.py"
FINAL: Final = (*effects.FINAL, "blocked")


class Api:
    """Asks the daemon's API. Refusals are raised as the client library raises them."""

    prefix = "movant.api."

    def __init__(self, transport: NatsTransport) -> None:
        self.transport = transport

    async def __call__(self, verb: str, *, answer_s: float = WAIT_S, **fields: Any) -> Any:
        """Ask one verb with the fields of its request."""
        return await self.raw(verb, msgspec.json.encode(fields), answer_s=answer_s)

    async def raw(self, verb: str, payload: bytes, *, answer_s: float = WAIT_S) -> Any:
        """Ask with a payload as it is."""
        frame = await self.transport.request(Outgoing(self.prefix + verb, payload), answer_s)
        if h.SERVICE_ERROR.encode() in frame.headers:
            raise api.to_error(msgspec.json.decode(frame.payload, type=api.ErrorReply))
        return msgspec.json.decode(frame.payload)

    async def run(self, workflow: str, value: Any = None, **fields: Any) -> Any:
        """Start an instance and return its outcome when it has ended or is blocked."""
        fields.setdefault("wait_s", WAIT_S)
        return await self("run.start", workflow=workflow, input=value, **fields)

    async def ended(self, instance: str, *, answer_s: float = 2.0) -> Any:
        """Return the view of an instance when it has ended or is blocked."""
        return await self.view_when(
            instance, lambda view: view["status"] in FINAL, answer_s=answer_s
        )

    async def waits(self, instance: str, kind: str, *, times: int = 1) -> Any:
        """Return the view of an instance when it waits for so many things of a kind."""
        return await self.view_when(
            instance,
            lambda view: sum(each["kind"] == kind for each in view.get("waiting", ())) >= times,
        )

    async def view_when(
        self, instance: str, holds: Callable[[Any], object], *, answer_s: float = 2.0
    ) -> Any:
        """Return the view of an instance as soon as something holds of it."""
        view: Any = None
        with trio.move_on_after(WAIT_S):
            while True:
                try:
                    # Not for long: among several daemons the one that was asked may be frozen.
                    view = await self("run.show", id=instance, answer_s=answer_s)
                    if holds(view):
                        return view
                except (MovantError, LookupError) as error:  # not there yet, or waits for nothing
                    view = error
                await trio.sleep(0.02)
        raise AssertionError(f"never came about; last seen: {view!r}")

    async def ready(self, wait_s: float = WAIT_S) -> None:
        """Wait until a daemon answers."""
        with trio.fail_after(wait_s):
            while True:
                try:
                    await self("status", answer_s=2.0)
                except MovantError:
                    await trio.sleep(0.02)
                else:
                    return

    async def counter(self, name: str) -> float:
        """Return one of the daemon's counters."""
        return float((await self("status"))["counters"][name])


class Running(Api):
    """A daemon inside this program."""

    def __init__(self, transport: NatsTransport, one: Daemon, scope: trio.CancelScope) -> None:
        super().__init__(transport)
        self.daemon = one
        self.scope = scope
        self.error: MovantError | None = None
        """Why it ended by itself, when it did."""

    def crash(self) -> None:
        """End it where it stands: no drain, no last checkpoint, queues are lost."""
        self.scope.cancel()


@asynccontextmanager
async def daemon(
    url: str,
    *,
    workflows: Sequence[Path] = (PROBE,),
    services: Sequence[Service] = (),
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a daemon here, and services beside it. Ends with a drain, or is crashed."""
    config = DaemonConfig(
        name=settings.pop("name", "test"),
        nats=NatsConfig(url=url),
        workflows=tuple(workflows),
        drain_timeout_s=5.0,
        **settings,
    )
    one = Daemon(config)
    stop = trio.Event()
    scope = trio.CancelScope()

    async def host(*, task_status: trio.TaskStatus[Any]) -> None:
        with scope:
            try:
                await one.run(task_status=task_status)
            except MovantError as error:
                if one.state == "starting":
                    raise
                running.error = error

    async def offer(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(services, url, stop, drain_s=0.5, task_status=task_status)

    async with connect(url, name="test") as transport, trio.open_nursery() as nursery:
        running = Running(transport, one, scope)
        if services:
            await nursery.start(offer)
        await nursery.start(host)
        try:
            yield running
        finally:
            stop.set()
            one.drain()
            nursery.cancel_scope.deadline = trio.current_time() + WAIT_S


@asynccontextmanager
async def offered(url: str, *services: Service) -> AsyncIterator[None]:
    """Offer services inside this program."""
    stop = trio.Event()

    async def offer(*, task_status: trio.TaskStatus[None]) -> None:
        await serve(services, url, stop, drain_s=0.5, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(offer)
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Api]:
    """Return the API of a daemon that runs elsewhere."""
    async with connect(url, name="test") as transport:
        yield Api(transport)


class Process:
    """A process of movant's that can be killed and started again."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process

    def start(self) -> None:
        """Start it; it is ready some tenths of a second later."""
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def ask_to_end(self) -> None:
        """Ask it to drain (SIGTERM) and do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP freezes it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(WAIT_S)

    def terminate(self) -> int:
        """Ask it to drain (SIGTERM) and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT_S)

    @property
    def log(self) -> str:
        """What it has written so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End it for good. Idempotent."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._log.close()


@asynccontextmanager
async def daemon_process(
    url: str,
    *,
    workflows: Sequence[Path] = (PROBE,),
    name: str = "test",
    configuration: Path | None = None,
) -> AsyncIterator[tuple[Process, Api]]:
    """Run ``movant serve`` as a process of its own."""
    arguments = ["-m", "runtime", "serve", "--nats", url, "--name", name, "--http", ""]
    for path in workflows:
        arguments += ["--workflow", str(path)]
    if configuration is not None:
        arguments += ["--config", str(configuration)]
    process = Process(*arguments)
    try:
        process.start()
        async with asking(url) as asked:
            try:
                await asked.ready()
            except trio.TooSlowError as error:
                raise AssertionError(f"the daemon does not answer:\n{process.log}") from error
            yield process, asked
    finally:
        process.close()


async def plainly(
    url: str, messages: Sequence[tuple[str, bytes, Mapping[str, str] | None]]
) -> None:
    """Publish with an ordinary NATS client, as a program in any language would."""

    async def publish() -> None:
        client = await nats.connect(url)
        for subject, payload, lines in messages:
            await client.publish(subject, payload, headers=dict(lines) if lines else None)
        await client.drain()

    await trio.to_thread.run_sync(lambda: asyncio.run(publish()))


async def until(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    """Wait until something holds."""
    with trio.fail_after(wait_s):
        while not holds():
            await trio.sleep(0.005)
