"""LocalService: runs the functions of ``ctx.run``, each in its own step.

An async function runs on trio, a plain one in a thread. The result is written into the
workflow's mailbox like any service's reply. A function that is running is not started again
by a re-ask; after a crash of the daemon it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Final

import trio

from actors.service import Answer, failure_answer, header_text, result_answer
from actors.stream_writer import StreamWriter
from actors.system import ActorSystem
from protocols.effects import Ask, LocalCall
from protocols.errors import MovantError, OverloadedError
from protocols.failure import CODE, REFUSED
from protocols.ports import Outgoing
from protocols.service import Failed, Refused

RUNNING_MAX: Final = 10_000
"""Functions waiting or running; above it a step fails as overloaded and is tried again."""
THREADS_MAX: Final = 16
ASYNC_MAX: Final = 500


class LocalService:
    """Runs local functions in the daemon."""

    def __init__(self, system: ActorSystem, writer: StreamWriter) -> None:
        self._system = system
        self._writer = writer
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._tasks = trio.CapacityLimiter(ASYNC_MAX)
        self._running: set[str] = set()
        self._idle = trio.Event()

    @property
    def running(self) -> int:
        """How many functions wait or run."""
        return len(self._running)

    async def drained(self) -> None:
        """Wait until no function runs."""
        while self._running:
            if self._idle.is_set():
                self._idle = trio.Event()
            await self._idle.wait()

    def run(self, ask: Ask, reply: str) -> None:
        """Run a function and write its outcome to ``reply``."""
        assert ask.local is not None
        if ask.key in self._running:
            return
        if len(self._running) >= RUNNING_MAX:
            self._write(
                reply,
                failure_answer(
                    "overloaded",
                    f"{RUNNING_MAX} local functions wait",
                    outcome="failed",
                    code=503,
                    retry_after_s=1.0,
                ),
            )
            return
        self._running.add(ask.key)
        self._system.nursery.start_soon(self._run, ask.key, ask.local, reply)

    async def _run(self, key: str, local: LocalCall, reply: str) -> None:
        try:
            answer = await self._answer(local)
        finally:
            self._running.discard(key)
        self._write(reply, answer)
        if not self._running:
            self._idle.set()

    async def _answer(self, local: LocalCall) -> Answer:
        function, args, kwargs = local.function, local.args, local.kwargs
        try:
            if inspect.iscoroutinefunction(function):
                async with self._tasks:
                    return result_answer(await function(*args, **kwargs))
            call: Callable[[], object] = lambda: function(*args, **kwargs)  # noqa: E731
            return result_answer(
                await trio.to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)
            )
        except Refused as error:
            return failure_answer(
                error.kind, error.message, outcome=REFUSED, code=409, details=error.details
            )
        except Failed as error:
            return failure_answer(
                error.kind,
                error.message,
                outcome="failed",
                code=503,
                details=error.details,
                retry_after_s=error.retry_after_s,
            )
        except Exception as error:  # noqa: BLE001  # the function's error is the step's outcome
            message = f"{getattr(function, '__qualname__', function)}: {type(error).__name__}"
            return failure_answer(
                CODE, header_text(f"{message}: {error}"), outcome="unknown", code=500
            )

    def _write(self, reply: str, answer: Answer) -> None:
        payload, lines = answer
        try:
            self._writer.write(Outgoing(reply, payload, lines), _ignore)
        except OverloadedError:
            return  # the step's deadline asks for the function again


def _ignore(_: int, __: MovantError | None) -> None:
    """Let a refused reply show as the step's timeout."""
