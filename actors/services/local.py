"""LocalService: runs the functions of ``ctx.run``, each in its own step.

An async function runs on trio, a plain one in an actor that owns a thread. The result is
written into the workflow's mailbox like any service's reply. A function that is running is not
started again by a re-ask; after a crash of the daemon it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio

from actors.core.base import TrioActor
from actors.core.ref import TrioRef, ask
from actors.core.threads import BlockingActor, BlockingHost
from actors.services.answers import (
    Answer,
    Large,
    declared_answer,
    failure_answer,
    header_text,
    result_answer,
)
from actors.services.large_answers import LargeAnswers
from actors.store.stream_writer import StreamWriter
from protocols.effects import Ask, LocalCall
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import MovantError, OverloadedError, OversizedError
from protocols.failure import CODE
from protocols.ports import Outgoing
from protocols.service import Failed, Refused

RUNNING_MAX: Final = 10_000
"""Functions waiting or running; above it a step fails as overloaded and is tried again."""
THREADS_MAX: Final = 16
ASYNC_MAX: Final = 500


FUNCTION_S: Final = 86_400.0
"""The step's own timeout is what counts; this only ends the wait for a thread that is stuck."""


class RunLocal(msgspec.Struct, frozen=True):
    """Run the function of ``ask`` and write its outcome to ``reply``."""

    ask: Ask
    reply: str


class LocalService(TrioActor):
    """The service actor of ``ctx.run``; tell it RunLocal."""

    def __init__(self, writer: StreamWriter, large: LargeAnswers) -> None:
        super().__init__()
        self._large = large
        self._writer = writer
        self._hands: list[TrioRef[BlockingHost]] = []
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

    def on_receive(self, message: Any) -> None:
        """Begin to run a function, unless it runs already."""
        assert isinstance(message, RunLocal)
        step, reply = message.ask, message.reply
        assert step.local is not None
        if step.key in self._running:
            return
        if len(self._running) >= RUNNING_MAX:
            self._write(reply, _not_now("overloaded", f"{RUNNING_MAX} local functions wait"))
            return
        if step.undoes in self._running:
            self._write(reply, _not_now("running", "the function that it undoes still runs"))
            return
        self._running.add(step.key)
        self.system.nursery.start_soon(self._run, step.key, step.local, reply)

    async def _run(self, key: str, local: LocalCall, reply: str) -> None:
        try:
            answer = await self._outcome_of(local, reply)
        finally:
            self._running.discard(key)
        self._write(reply, answer)
        if not self._running:
            self._idle.set()

    async def _outcome_of(self, local: LocalCall, reply: str) -> Answer:
        function, args, kwargs = local.function, local.args, local.kwargs
        try:
            if inspect.iscoroutinefunction(function):
                async with self._tasks:
                    answer = result_answer(await function(*args, **kwargs))
            else:
                answer = result_answer(await self._in_thread(partial(function, *args, **kwargs)))
            if isinstance(answer, Large):
                answer = await self._large.stored([reply], answer)
            return answer  # noqa: TRY300  # what is refused here is the function's outcome too
        except OversizedError as error:
            message = header_text(error.message)
            return failure_answer(
                OVER_LIMIT, message, outcome="unknown", code=413, retryable=False
            )
        except (Refused, Failed) as error:
            return declared_answer(error)
        except Exception as error:  # noqa: BLE001  # the function's error is the step's outcome
            message = f"{getattr(function, '__qualname__', function)}: {type(error).__name__}"
            return failure_answer(
                CODE, header_text(f"{message}: {error}"), outcome="unknown", code=500
            )

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        """Run a blocking function in a thread that nobody else uses meanwhile."""
        async with self._threads:
            hand = self._hands.pop() if self._hands else self.system.start_blocking(FunctionThread)
            try:
                return await ask(hand, call, timeout_s=FUNCTION_S)
            finally:
                if hand.is_alive():
                    self._hands.append(hand)

    def _write(self, reply: str, answer: Answer) -> None:
        payload, lines = answer
        try:
            self._writer.write(Outgoing(reply, payload, lines), _ignore)
        except OverloadedError:
            return  # the step's deadline asks for the function again


def _not_now(kind: str, message: str) -> Answer:
    return failure_answer(kind, message, outcome="failed", code=503, retry_after_s=1.0)


def _ignore(_: int, __: MovantError | None) -> None:
    """Let a refused reply show as the step's timeout."""


class FunctionThread(BlockingActor):
    """One thread; each message is a function without arguments."""

    def on_receive(self, message: Callable[[], Any]) -> Any:
        """Run the function."""
        return message()
