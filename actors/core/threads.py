"""Threads and trio: how a foreign thread tells an actor, and actors that own a thread.

    trio                                        threads
    TrioRef     <── ThreadGate (batches) <──    any thread: gate.tell(ref, message)
    BlockingHost ──message──> pykka inbox ──>   BlockingActor.on_receive, may block
                <── ThreadGate <── result ──

A wake-up of trio from another thread costs about 6 us, a hand-over behind a pending wake-up
0.3 us: so the gate asks for one wake-up per batch.

A blocked thread delays the messages of its own actor and nothing else: the host waits as a
trio task, with the mailbox, name, death watch and supervision of every other actor.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pykka
import trio

from actors.core.base import TrioActor
from actors.core.future import TrioFuture
from actors.core.inbox import Asked, dead, died_handling
from protocols.errors import OverloadedError

if TYPE_CHECKING:
    from types import TracebackType

    from actors.core.ref import TrioRef

GATE_ITEMS_MAX: Final = 100_000
"""Told messages that may wait for trio; more means that the trio loop stands still."""

BLOCKING_MESSAGES_MAX: Final = 1_000
"""Default mailbox limit of a blocking actor: at 1 ms a call it is one second of work."""

THREADS_MAX: Final = 64
"""Threads of blocking actors at a time, with those that were killed and have not come back:
a dead database that is restarted again and again must not use up the machine's threads."""


class ThreadGate:
    """Hands work from foreign threads to the trio thread, in order and in batches."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.undelivered = 0
        self.threads = 0
        self._token = token
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._woken = False

    def __len__(self) -> int:
        return len(self._waiting)

    def tell(self, ref: TrioRef[Any], message: Any) -> None:
        """Tell an actor from any thread.

        Raises MailboxFullError, DeadActorError, OverloadedError, and trio.RunFinishedError when
        trio has ended. The limit is checked here, in the sender's thread, where a refusal can
        still be heard; what was accepted is not refused later. So a mailbox may exceed its
        limit by what is on its way.
        """
        inbox = ref.actor_inbox
        if len(inbox.queue) >= inbox.limit:
            raise inbox.refusal()
        if len(self._waiting) >= GATE_ITEMS_MAX:
            raise OverloadedError(f"{GATE_ITEMS_MAX} messages wait for the trio loop")
        self.post(self._deliver, (ref, message))

    def post(self, call: Callable[[Any], None], item: Any) -> None:
        """Run ``call(item)`` on the trio thread soon; it must not raise.

        Raises trio.RunFinishedError. Not bounded: one caller posts one item at a time.
        """
        self._waiting.append((call, item))
        # Append before reading the flag, clear it before popping: no item is left behind.
        if not self._woken:
            self._woken = True
            self._token.run_sync_soon(self._drain)

    def _drain(self) -> None:
        self._woken = False
        waiting = self._waiting
        # Only what is here now: threads that keep posting must not hold the loop.
        for _ in range(len(waiting)):
            call, item = waiting.popleft()
            call(item)
        if waiting and not self._woken:
            self._woken = True
            self._token.run_sync_soon(self._drain)

    def _deliver(self, item: tuple[TrioRef[Any], Any]) -> None:
        ref, message = item
        if ref.is_alive():
            ref.actor_inbox.force(message)
        else:
            self.undelivered += 1


class BlockingActor(pykka.ThreadingActor):
    """Base of actors that block: one thread owns one connection.

    ``on_start``, ``on_receive`` and ``on_stop`` run in the thread, ``__init__`` does not: open
    the connection in ``on_start``. Start it with ``ActorSystem.start_blocking``. Its end is the
    host's: an exception of a told message ends both, one of an asked message is the answer.
    """

    use_daemon_thread = True  # a thread stuck in a foreign library must not keep the process
    mailbox_messages_max: ClassVar[int] = BLOCKING_MESSAGES_MAX

    _host: BlockingHost
    _death: BaseException | None = None

    def _actor_loop_setup(self) -> None:
        super()._actor_loop_setup()
        if not self.actor_stopped.is_set():
            self._host.post_from_thread(self._host.thread_started, None)

    def _actor_loop(self) -> None:
        try:
            super()._actor_loop()
        finally:
            self._host.post_from_thread(self._host.thread_ended, self._death)

    def _handle_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not pykka's: it logs to a logger of its own, and the host reports the error.
        del exception_type, traceback
        self._death = exception_value
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()


class BlockingHost(TrioActor):
    """The trio side of a blocking actor: hands over one message at a time, waits for its end.

    When it is killed while the thread blocks, the thread is left to itself: it ends when the
    blocking call returns, and counts against THREADS_MAX until then.
    """

    def __init__(
        self, actor_class: type[BlockingActor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        super().__init__()
        self._create = (actor_class, args, kwargs)
        self._thread: pykka.ActorRef[BlockingActor] | None = None
        self._started = TrioFuture[None]()
        self._ended = TrioFuture[None]()
        self._answer_due: TrioFuture[Any] | None = None
        self.actor_inbox.limit = actor_class.mailbox_messages_max

    async def on_start(self) -> None:  # type: ignore[override]  # async here
        """Start the thread and wait until its ``on_start`` is done."""
        gate = self.system.gate
        if gate.threads >= THREADS_MAX:
            raise OverloadedError(
                f"{THREADS_MAX} blocking actors have a thread",
                hint="look for calls without a timeout in blocking actors",
            )
        actor_class, args, kwargs = self._create
        actor = actor_class(*args, **kwargs)
        actor._host = self  # noqa: SLF001  # two halves of one actor
        self._thread = actor.actor_ref
        gate.threads += 1
        actor._start_actor_loop()  # noqa: SLF001  # pykka's hook; its registry is not needed
        await self._started

    async def on_receive(self, message: Any) -> Any:
        """Let the thread handle a message."""
        if self._thread is None or self._ended.done:
            raise dead(self.label, None)
        self._answer_due = TrioFuture()
        self._thread.actor_inbox.put(Asked(message, _Crossing(self)))  # type: ignore[arg-type]  # pykka's Envelope is private; it has these two fields
        try:
            return await self._answer_due
        finally:
            self._answer_due = None

    async def on_stop(self) -> None:  # type: ignore[override]  # async here
        """Let the thread run its ``on_stop`` and wait for its end."""
        self._tell_stop()
        await self._ended

    def thread_started(self, _: None) -> None:
        """Note that the thread has run ``on_start``."""
        self._started.set(None)

    def thread_ended(self, death: BaseException | None) -> None:
        """Note that the thread is gone, and what it died of."""
        self.system.gate.threads -= 1
        if death is not None:
            self._ended.fail(death)
        else:
            self._ended.set(None)
        for waiting in (self._started, self._answer_due):
            if waiting is not None and not waiting.done:
                waiting.fail(death or died_handling(self.label, None))
        self._actor_ref.request_stop()  # when the thread ended of its own accord

    def answered(self, answer: tuple[Any, BaseException | None]) -> None:
        """Take the answer of the message in the thread's hands."""
        future, (value, error) = self._answer_due, answer
        if future is None or future.done:
            return  # whoever asked was killed meanwhile
        if error is None:
            future.set(value)
        else:
            future.fail(error)

    def post_from_thread(self, call: Callable[[Any], None], item: Any) -> None:
        """Run a method of the host on trio; called in the thread."""
        try:
            self.system.gate.post(call, item)
        except trio.RunFinishedError:
            return  # the daemon has ended, nobody waits

    def _terminate(self, reason: str, error: Exception | None) -> None:
        self._tell_stop()
        super()._terminate(reason, error)

    def _tell_stop(self) -> None:
        """Ask the thread to end after what it is doing; once."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(block=False)


class _Crossing(pykka.Future[Any]):
    """Where the thread puts its result; it goes to the host through the gate."""

    def __init__(self, host: BlockingHost) -> None:
        super().__init__()
        self._host = host

    def set(self, value: Any = None) -> None:
        self._host.post_from_thread(self._host.answered, (value, None))

    def set_exception(
        self,
        exc_info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
        | None = None,
    ) -> None:
        error = sys.exc_info()[1] if exc_info is None else exc_info[1]
        self._host.post_from_thread(self._host.answered, (None, error))
