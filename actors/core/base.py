"""Actors on trio, by pykka's hooks for new actor types.

    TrioActor    a trio task of its own; its handlers may wait
    DrivenActor  no task; a dispatcher gives it turns; its handlers only compute

Both have a bounded mailbox and handle one message at a time. Start them with
``actors.core.system.ActorSystem``, which owns the nursery and the registry.

Why not pykka's own ``start`` and ``__init__``: its global registry is a list, so stopping n
actors takes n squared steps, and a uuid4 and a ``threading.Event`` per actor cost more than
the rest of an actor together.
"""

from __future__ import annotations

import inspect
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, cast

import msgspec
import pykka
import structlog
import trio

from actors.core.future import TrioFuture
from actors.core.inbox import (
    MAILBOX_MESSAGES_MAX,
    Asked,
    DrivenInbox,
    Flag,
    Inbox,
    Stop,
    TaskInbox,
    dead,
    died_handling,
    fail,
)
from actors.core.ref import ERROR, KILLED, NORMAL, Terminated, TrioRef

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from actors.core.system import ActorSystem

log = structlog.get_logger()

_numbers: Final = count(1)


class ActorStatistics(msgspec.Struct, frozen=True):
    """A snapshot of one actor."""

    name: str
    urn: str
    actor_class: str
    mailbox_depth: int
    mailbox_messages_max: int
    handled: int


class TrioActor(pykka.Actor):
    """An actor with a trio task of its own.

    ``on_start``, ``on_receive`` and ``on_stop`` may each be plain or ``async``; this is found
    out once per class. An exception of ``on_start``, of ``on_stop`` or of a told message ends
    this actor only, and its watchers are told. ``on_stop`` runs when it is stopped,
    ``on_failure`` when it crashed; a killed actor runs neither (``finally`` blocks of an async
    handler do run).
    """

    mailbox_messages_max: ClassVar[int] = MAILBOX_MESSAGES_MAX
    """How many messages may wait; the next one is refused with MailboxFullError."""

    turn_messages_max: ClassVar[int] = 64
    """Messages between two checkpoints: a busy actor holds the loop for one such turn."""

    _waits: ClassVar[bool] = False
    _receives_async: ClassVar[bool] = False
    _ready: TrioFuture[None] | None = None
    _is_ready: bool = False
    _scope: trio.CancelScope | None = None
    _killed: bool = False

    name: str = ""
    """The name that it was started under, or empty."""
    system: ActorSystem
    """The system that started it; not yet there in ``__init__``."""
    actor_inbox: Inbox
    _actor_ref: TrioRef[Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._receives_async = inspect.iscoroutinefunction(cls.on_receive)
        cls._waits = cls._receives_async or any(
            inspect.iscoroutinefunction(hook) for hook in (cls.on_start, cls.on_stop)
        )

    def __init__(self) -> None:
        # Deliberately not pykka's __init__, see the module's docstring.
        self.actor_urn = f"urn:actor:{next(_numbers)}"
        inbox = self._create_actor_inbox()
        inbox.limit = self.mailbox_messages_max
        self.actor_inbox = inbox
        self.actor_stopped = Flag()  # type: ignore[assignment]  # duck-typed, without a lock
        self._actor_ref = TrioRef(self)
        self.handled = 0

    @classmethod
    def start(cls, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: actors on trio need a nursery, and there is no global one."""
        raise TypeError(f"start {cls.__name__} with ActorSystem.start({cls.__name__}, ...)")

    @property
    def actor_ref(self) -> TrioRef[Self]:
        """The reference to hand to others."""
        return self._actor_ref

    def stop(self) -> None:
        """Stop behind the messages that wait already."""
        self._actor_ref.request_stop()

    def on_start(self) -> Awaitable[None] | None:  # type: ignore[override]  # may be async here
        """Prepare; runs in the actor's own task before the first message."""
        return None

    def on_stop(self) -> Awaitable[None] | None:  # type: ignore[override]  # may be async here
        """Clean up after the last message; not after a crash."""
        return None

    def on_receive(self, message: Any) -> Any:
        """Handle one message; what it returns answers an ask."""
        log.warning("actor.unexpected_message", actor=self.label, kind=type(message).__name__)

    @property
    def label(self) -> str:
        """How logs and errors call it."""
        return self.name or str(self)

    def when_ready(self) -> TrioFuture[None]:
        """Return a future that is set when ``on_start`` is done, or fails with its error."""
        ready = TrioFuture[None]()
        if self._is_ready:
            ready.set(None)
        else:
            self._ready = ready
        return ready

    def statistics(self) -> ActorStatistics:
        """Return a snapshot."""
        return ActorStatistics(
            name=self.name,
            urn=self.actor_urn,
            actor_class=type(self).__name__,
            mailbox_depth=len(self.actor_inbox),
            mailbox_messages_max=self.mailbox_messages_max,
            handled=self.handled,
        )

    # pykka's hooks for new actor types.

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return TaskInbox()

    @staticmethod
    def _create_future() -> TrioFuture[Any]:
        return TrioFuture()

    def _start_actor_loop(self) -> None:
        self.system.nursery.start_soon(self._main, name=self.name or type(self).__name__)

    # The life of an actor: setup, turns, teardown.

    async def _main(self) -> None:
        reason, error = KILLED, None
        try:
            if self._waits:
                with trio.CancelScope() as self._scope:
                    if self._killed:
                        self._scope.cancel()
                    reason = await self._live_waiting()
            else:
                reason = await self._live()
        except Exception as caught:  # noqa: BLE001  # the boundary where crashes stay inside
            reason, error = ERROR, caught
        finally:
            self._terminate(reason, error)

    async def _live(self) -> str:
        """Run an actor whose handlers are all plain."""
        inbox = cast("TaskInbox", self.actor_inbox)
        self._setup()
        queue, turn_messages_max = inbox.queue, self.turn_messages_max
        inbox.task = trio.lowlevel.current_task()
        while True:
            if queue:
                stop = self._turn(turn_messages_max)
                if stop is not None:
                    return self._end(stop)
                await trio.lowlevel.checkpoint()
            else:
                inbox.idle = True
                await trio.lowlevel.wait_task_rescheduled(inbox.abort)

    async def _live_waiting(self) -> str:
        """Run an actor with an async handler."""
        await _maybe(self.on_start())
        self._set_ready()
        inbox = cast("TaskInbox", self.actor_inbox)
        queue = inbox.queue
        inbox.task = trio.lowlevel.current_task()
        since_checkpoint = 0
        while True:
            if not queue:
                since_checkpoint = 0
                inbox.idle = True
                await trio.lowlevel.wait_task_rescheduled(inbox.abort)
            elif since_checkpoint >= self.turn_messages_max:
                since_checkpoint = 0
                await trio.lowlevel.checkpoint()
            message = queue.popleft()
            kind = type(message)
            if kind is Stop:
                if message.reason != KILLED:
                    await _maybe(self.on_stop())
                return cast("str", message.reason)
            self.handled += 1
            since_checkpoint += 1
            if kind is Asked:
                await self._answer_waiting(message)
            elif self._receives_async:
                await self.on_receive(message)
            else:
                self.on_receive(message)

    def _setup(self) -> None:
        self.on_start()
        self._set_ready()

    def _set_ready(self) -> None:
        self._is_ready = True
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.set(None)

    def _end(self, stop: Stop) -> str:
        if stop.reason != KILLED:
            self.on_stop()
        return stop.reason

    def _turn(self, messages_max: int) -> Stop | None:
        """Handle up to ``messages_max`` messages; return the Stop when it was met."""
        queue = self.actor_inbox.queue
        popleft, on_receive = queue.popleft, self.on_receive
        turn = min(messages_max, len(queue))
        self.handled += turn
        for _ in range(turn):
            message = popleft()
            kind = type(message)
            if kind is Asked:
                self._answer(message)
            elif kind is Stop:
                return cast("Stop", message)
            else:
                on_receive(message)
        return None

    def _answer(self, asked: Asked) -> None:
        try:
            answer = self.on_receive(asked.message)
        except Exception as error:  # noqa: BLE001  # pykka's rule: it is the answer
            asked.reply_to.set_exception((type(error), error, error.__traceback__))
        else:
            asked.reply_to.set(answer)

    async def _answer_waiting(self, asked: Asked) -> None:
        answered = False
        try:
            answer = await _maybe(self.on_receive(asked.message))
        except Exception as error:  # noqa: BLE001  # pykka's rule: it is the answer
            answered = True
            asked.reply_to.set_exception((type(error), error, error.__traceback__))
        else:
            answered = True
            asked.reply_to.set(answer)
        finally:
            if not answered:
                fail(asked, died_handling(self.label, None))

    def _terminate(self, reason: str, error: Exception | None) -> None:
        """Close the mailbox, answer whoever waits for an answer, and tell the watchers."""
        if error is not None:
            self._failed(error)
        left = self.actor_inbox.close(error)
        undelivered = 0
        for message in left:
            if type(message) is Asked:
                fail(message, dead(self.label, error))
            if type(message) is not Stop:
                undelivered += 1
        self.actor_stopped.set()
        terminated = Terminated(self.name, self.actor_urn, reason, error, undelivered)
        self._actor_ref.terminated = terminated
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.fail(error or dead(self.label, None))
        self.system.ended(self, terminated)

    def _failed(self, error: Exception) -> None:
        try:
            self.on_failure(type(error), error, error.__traceback__)
        except Exception:  # the first error is the one that counts
            log.exception("actor.on_failure_failed", actor=self.label)

    def _kill(self) -> None:
        """End without handling what waits. An async handler is cancelled where it waits."""
        if self.actor_inbox.closed:
            return
        self._killed = True
        if self._scope is not None:
            self._scope.cancel()
        # Also for an async handler: one that is about to run reaches no checkpoint before it
        # has taken the next message.
        self.actor_inbox.force_first(Stop(KILLED))


class DrivenActor(TrioActor):
    """An actor without a task: a dispatcher gives it turns. All its handlers are plain.

    For many actors that mostly wait, such as workflow instances. ``on_start`` runs inside
    ``ActorSystem.start``.
    """

    _in_turn: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls._waits:
            raise TypeError(f"{cls.__name__} has no task: its handlers must not be async")

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return DrivenInbox()

    def _start_actor_loop(self) -> None:
        inbox = cast("DrivenInbox", self.actor_inbox)
        inbox.dispatcher = self.system.dispatcher
        inbox.runnable = self
        try:
            self._setup()
        except Exception as error:  # noqa: BLE001  # the boundary where crashes stay inside
            self._terminate(ERROR, error)
            return
        if inbox.queue:
            inbox.wake()
        else:
            inbox.idle = True

    def take_turn(self, messages_max: int) -> bool:
        """Handle some messages. Called by the dispatcher only."""
        inbox = self.actor_inbox
        if inbox.closed:
            return False  # killed while it stood in line
        self._in_turn = True
        try:
            stop = self._turn(messages_max)
            if stop is None:
                if inbox.queue:
                    return True
                inbox.idle = True
                return False
            reason = self._end(stop)
        except Exception as error:  # noqa: BLE001  # the boundary where crashes stay inside
            self._terminate(ERROR, error)
        else:
            self._terminate(reason, None)
        finally:
            self._in_turn = False
        return False

    def _kill(self) -> None:
        # At once, not at the next turn: there is none when the dispatcher itself is cancelled.
        if self._in_turn:
            super()._kill()
        elif not self.actor_inbox.closed:
            self._terminate(KILLED, None)

    def _terminate(self, reason: str, error: Exception | None) -> None:
        super()._terminate(reason, error)
        inbox = cast("DrivenInbox", self.actor_inbox)
        inbox.runnable = None  # breaks the cycle actor -> inbox -> actor


async def _maybe(result: Any) -> Any:
    """Wait for what an async hook returned; pass on what a plain one did."""
    return await result if inspect.isawaitable(result) else result


__all__ = [
    "ERROR",
    "KILLED",
    "NORMAL",
    "ActorStatistics",
    "DrivenActor",
    "Terminated",
    "TrioActor",
    "TrioRef",
]
