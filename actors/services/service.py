"""ServiceActor: one hosted service. Takes requests, runs handlers, answers.

    request -> inbox -> known key? -> stored answer
                          | running: its answer goes to both
                          | new: queue of the operation -> worker -> answer -> mailbox writer

An answer to a workflow is written into its mailbox and repeated until it is stored; a plain
request gets a plain reply. The answer of a success is kept under its key, so that a request
that comes again is answered and not done again. Once an undo of a key has come nothing is done
under it any more, and its request is refused; a handler that was at work on the key then and
succeeds after all is undone once more.
Keys are bounded, and known to this process alone: the contract for effects that must never
double is the handler's own record under ``call.key``.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import structlog
import trio

from actors.core.base import TrioActor
from actors.core.ref import ask
from actors.services.answers import Answer, Large, declared_answer, failure_answer, result_answer
from actors.services.calls import Beating, read_call
from actors.services.handlers import HandlerThread, abort_from, go_on
from actors.services.large_answers import LargeAnswers
from actors.store.blobs import BlobForgedError, BlobMissingError
from actors.store.stream_writer import StreamWriter
from protocols import codec
from protocols.blobs import BLOB
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import (
    BadValueError,
    MovantError,
    OverloadedError,
    OversizedError,
    UnavailableError,
)
from protocols.failure import REFUSED, VALIDATION
from protocols.ports import Clock, Frame, Outgoing, Transport
from protocols.service import Call, Failed, Operation, Refused, Service, Unknown
from protocols.subjects import TO, is_reply, is_step_reply

ANSWERS_MAX: Final = 20_000
"""Answers kept by key, about 0.5 kB each: minutes of a busy service, far above any re-ask."""
ANSWERS_BYTES_MAX: Final = 64 * 1024 * 1024
"""The same in bytes of payload, for services with large answers."""
FENCED_MAX: Final = 50_000
"""Undone keys that are refused, about 0.2 kB each; the oldest are forgotten first."""
UNDONE: Final = "undone"
"""Failure kind of a request whose key was undone: it had no effect and will have none."""
QUEUE_MAX: Final = 10_000
"""Requests waiting for a worker; above it a request is answered 'overloaded'."""
HANDLER_S: Final = 86_400.0
OVERLOADED_AFTER_S: Final = 1.0
"""When an overloaded service asks to be tried again."""

log = structlog.get_logger()


T = TypeVar("T")


class OperationStatistics(msgspec.Struct):
    """What an operation did so far. Times are nanoseconds, as NATS micro has them."""

    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""
    processing_time: int = 0
    repeats: int = 0


class _BadRequest(Exception):
    """The request is no value, or does not fit the operation's type: nothing was done."""


class _Job:
    __slots__ = ("behind", "body", "call", "content_type", "operation", "replies")

    def __init__(
        self, operation: _Running, body: bytes, content_type: str, call: Call, reply: str
    ) -> None:
        self.operation = operation
        self.body = body
        self.content_type = content_type
        self.call = call
        self.replies = [reply]
        self.behind: list[_Job] = []
        """Undos of its key that came meanwhile: they may have found nothing yet."""

    def join(self, reply: str, call: Call) -> None:
        """Answer another attempt at the same work as well, and beat for it."""
        if reply not in self.replies:
            self.replies.append(reply)
            if isinstance(self.call.beats, Beating) and isinstance(call.beats, Beating):
                self.call.beats.also(call.beats)


class _Running:
    """An operation with its queue, its workers and its numbers."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.queue: deque[_Job] = deque()
        self.sleepers: list[trio.lowlevel.Task] = []
        self.workers = 0
        self.waiting = 0
        """Workers whose handler waits: none of them looks at the queue."""
        self.statistics = OperationStatistics()


class ServiceActor(TrioActor):
    """Hosts one Service; tell it Frames. ``outstanding`` requests are being worked on."""

    mailbox_messages_max: ClassVar[int] = QUEUE_MAX * 2
    turn_messages_max: ClassVar[int] = 512

    def __init__(
        self,
        service: Service,
        transport: Transport,
        writer: StreamWriter,
        clock: Clock,
        large: LargeAnswers,
    ) -> None:
        super().__init__()
        self.service = service
        self._large = large
        self._transport = transport
        self._writer = writer
        self._clock = clock
        self._operations = {
            f"movant.svc.{service.name}.{name}": _Running(each)
            for name, each in service.operations.items()
        }
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._answer_bytes = 0
        self._under_way: dict[str, _Job] = {}
        self._fenced: OrderedDict[str, None] = OrderedDict()
        """Keys that were undone, the oldest first."""
        self._empty = trio.Event()
        self._scopes: list[trio.CancelScope] = []
        self.outstanding = 0

    def on_receive(self, message: Any) -> None:
        """Take one request."""
        frame: Frame = message
        running = self._operations.get(frame.subject)
        if running is None or not (is_step_reply(frame.reply) or is_reply(frame.reply)):
            return
        running.statistics.num_requests += 1
        told = (self.service.name, running.operation.name, frame.headers)
        call, content_type = read_call(*told, self._transport, self._clock)
        key = call.key
        if key:
            stored = self._answers.get(key)
            if stored is not None:
                running.statistics.repeats += 1
                self._send(frame.reply, stored)
                return
            job = self._under_way.get(key)
            if job is not None:
                running.statistics.repeats += 1
                job.join(frame.reply, call)
                return
            if key in self._fenced:
                running.statistics.num_errors += 1
                self._send(frame.reply, declared_answer(_undone(key)))
                return
        if len(running.queue) >= QUEUE_MAX:
            running.statistics.num_errors += 1
            self.refuse(frame)
            return
        job = _Job(running, frame.payload, content_type, call, frame.reply)
        if key:
            self._under_way[key] = job
        if call.undoes:
            self._fence(call.undoes, job)
        self._enqueue(job)

    def _fence(self, key: str, undo: _Job) -> None:
        """Do nothing under a key from now on; what is at work is undone when it succeeds."""
        self._fenced[key] = None
        while len(self._fenced) > FENCED_MAX:
            self._fenced.popitem(last=False)
        work = self._under_way.get(key)
        if work is not None:
            again = _Job(undo.operation, undo.body, undo.content_type, undo.call, "")
            again.replies = []
            work.behind.append(again)

    def _enqueue(self, job: _Job) -> None:
        running = job.operation
        self.outstanding += 1
        running.queue.append(job)
        if running.sleepers:
            trio.lowlevel.reschedule(running.sleepers.pop())
        elif running.waiting == running.workers < running.operation.concurrency:
            self._start_worker(running)

    def refuse(self, frame: Frame) -> None:
        """Answer a request that there is no room for; asking again later may help."""
        if is_step_reply(frame.reply) or is_reply(frame.reply):
            self._send(
                frame.reply,
                failure_answer(
                    "overloaded",
                    f"{QUEUE_MAX} requests wait",
                    outcome="failed",
                    code=503,
                    retry_after_s=OVERLOADED_AFTER_S,
                ),
            )

    async def drained(self) -> None:
        """Wait until every request that was taken is answered."""
        while self.outstanding or len(self.actor_inbox):
            self._empty = trio.Event()
            with trio.move_on_after(0.05):
                await self._empty.wait()

    def on_stop(self) -> None:
        """End the workers."""
        for scope in self._scopes:
            scope.cancel()

    def numbers_of(self, operation: str) -> dict[str, Any]:
        """Return the statistics of an operation, by the names of NATS micro."""
        running = self._operations[f"movant.svc.{self.service.name}.{operation}"]
        numbers = msgspec.structs.asdict(running.statistics)
        done = max(1, numbers["num_requests"])
        own = self.service.counters.get(operation)
        more = {"data": dict(own)} if own else {}
        return {**numbers, "average_processing_time": numbers["processing_time"] // done, **more}

    def _start_worker(self, running: _Running) -> None:
        running.workers += 1
        worker = self._blocking_worker if running.operation.blocking else self._worker
        self.system.nursery.start_soon(worker, running)

    async def _worker(self, running: _Running) -> None:
        """Run async handlers. One that finishes at once costs no task switch.

        The first step of a handler runs in this task by hand. Only when it has to wait is
        another worker woken for the rest of the queue.
        """
        queue, sleepers = running.queue, running.sleepers
        done = 0
        with self._scope_of_worker():
            while True:
                if not queue:
                    sleepers.append(trio.lowlevel.current_task())
                    await trio.lowlevel.wait_task_rescheduled(abort_from(sleepers))
                    continue
                job = queue.popleft()
                started = self._clock.monotonic()
                answer, keep = await self._handle(running, job)
                self._finish(running, job, answer, keep=keep, started=started)
                done += 1
                if done % 64 == 0:
                    await trio.lowlevel.checkpoint()

    async def _handle(self, running: _Running, job: _Job) -> tuple[Answer, bool]:
        try:
            if job.content_type == BLOB:
                await self._aside(running, self._large.fetch(job))
            arguments = self._arguments(running, job)
            coroutine = running.operation.function(*arguments)
            try:
                first = coroutine.send(None)
            except StopIteration as stop:
                answer = result_answer(stop.value)
            else:
                answer = result_answer(await self._aside(running, go_on(coroutine, first)))
            if isinstance(answer, Large):
                answer = await self._aside(running, self._large.stored(job.replies, answer))
        except OversizedError as error:  # of what it returned: done again it is no smaller
            return self._error(running, job, error), True
        except Exception as error:  # noqa: BLE001  # a handler's error is its answer
            return self._error(running, job, error), False
        else:
            return answer, True

    async def _aside(self, running: _Running, work: Awaitable[T]) -> T:
        """Wait for something; another worker looks at the queue meanwhile."""
        if running.queue:
            if running.sleepers:
                trio.lowlevel.reschedule(running.sleepers.pop())
            elif running.workers < running.operation.concurrency:
                self._start_worker(running)
        running.waiting += 1
        try:
            return await work
        finally:
            running.waiting -= 1

    async def _blocking_worker(self, running: _Running) -> None:
        """Run blocking handlers in a thread that this worker owns."""
        host = self.system.start_blocking(HandlerThread, running.operation.function)
        queue, sleepers = running.queue, running.sleepers
        with self._scope_of_worker():
            while True:
                if not queue:
                    sleepers.append(trio.lowlevel.current_task())
                    await trio.lowlevel.wait_task_rescheduled(abort_from(sleepers))
                    continue
                job = queue.popleft()
                if queue and not sleepers and running.workers < running.operation.concurrency:
                    self._start_worker(running)
                elif queue and sleepers:
                    trio.lowlevel.reschedule(sleepers.pop())
                started = self._clock.monotonic()
                keep = True
                running.waiting += 1
                try:
                    if job.content_type == BLOB:
                        await self._large.fetch(job)
                    arguments = self._arguments(running, job)
                    answer = result_answer(await ask(host, arguments, timeout_s=HANDLER_S))
                    if isinstance(answer, Large):
                        answer = await self._large.stored(job.replies, answer)
                except OversizedError as error:
                    answer = self._error(running, job, error)
                except Exception as error:  # noqa: BLE001  # a handler's error is its answer
                    answer, keep = self._error(running, job, error), False
                finally:
                    running.waiting -= 1
                self._finish(running, job, answer, keep=keep, started=started)

    def _scope_of_worker(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._scopes.append(scope)
        return scope

    def _arguments(self, running: _Running, job: _Job) -> tuple[Any, ...]:
        operation = running.operation
        if self._fenced and job.call.key in self._fenced:
            raise _undone(job.call.key)  # its undo came while it waited for a worker
        arguments: tuple[Any, ...] = ()
        if operation.takes_request:
            try:
                value = codec.decode(job.body, job.content_type)
                if operation.request_type is not Any:
                    value = codec.convert(value, operation.request_type)
            except (BadValueError, OversizedError) as error:
                raise _BadRequest(error.message) from error
            arguments = (value,)
        return (*arguments, job.call) if operation.takes_call else arguments

    def _error(self, running: _Running, job: _Job, error: Exception) -> Answer:
        statistics = running.statistics
        statistics.num_errors += 1
        statistics.last_error = f"{type(error).__name__}: {error}"[:300]
        if isinstance(error, Refused | Failed | Unknown):
            return declared_answer(error)
        if isinstance(error, _BadRequest):
            return failure_answer(VALIDATION, str(error), outcome=REFUSED, code=400)
        if isinstance(error, OversizedError):
            return failure_answer(
                OVER_LIMIT, error.message, outcome="unknown", code=413, retryable=False
            )
        if isinstance(error, BlobForgedError):  # it is done, and nobody can be told what
            return failure_answer("blob", error.message, outcome="unknown", code=502)
        if isinstance(error, BlobMissingError):
            return failure_answer("blob", error.message, outcome="failed", code=502)
        if isinstance(error, UnavailableError):
            return failure_answer("unavailable", error.message, outcome="failed", code=503)
        log.error(
            "service.handler_failed",
            service=self.service.name,
            operation=running.operation.name,
            key=job.call.key,
            exc_info=error,
        )
        return failure_answer(
            "error", f"{type(error).__name__}: {error}", outcome="unknown", code=500
        )

    def _finish(
        self, running: _Running, job: _Job, answer: Answer, *, keep: bool, started: float
    ) -> None:
        running.statistics.processing_time += int((self._clock.monotonic() - started) * 1e9)
        key = job.call.key
        if key:
            self._under_way.pop(key, None)
            if keep:
                self._keep(key, answer)
        undone = self._answers.pop(job.call.undoes, None) if keep else None
        if undone is not None:  # until now it was true: all copies of a request get one answer
            self._answer_bytes -= len(undone[0])
        for reply in job.replies:
            self._send(reply, answer)
        if keep:
            for undo in job.behind:
                self._enqueue(undo)
        self.outstanding -= 1
        if not self.outstanding:
            self._empty.set()

    def _keep(self, key: str, answer: Answer) -> None:
        """Remember an answer by its key; the oldest are forgotten above either limit."""
        answers = self._answers
        answers[key] = answer
        self._answer_bytes += len(answer[0])
        while len(answers) > ANSWERS_MAX or self._answer_bytes > ANSWERS_BYTES_MAX:
            self._answer_bytes -= len(answers.popitem(last=False)[1][0])

    def _send(self, reply: str, answer: Answer) -> None:
        payload, lines = answer
        message = Outgoing(reply, payload, lines)
        try:
            if reply.startswith(TO):
                self._writer.write(message, _stored)
            else:
                self._transport.publish(message)
        except (OverloadedError, MovantError) as error:
            log.error("service.answer_lost", reply=reply, reason=str(error))


def _undone(key: str) -> Refused:
    return Refused(UNDONE, f"{key} was undone")


def _stored(_: int, error: MovantError | None) -> None:
    if error is not None:
        log.error("service.answer_refused", reason=str(error))
