"""The address of an actor, and what is known of its end."""

from __future__ import annotations

from typing import Any, Literal, NoReturn, TypeVar

import msgspec
import pykka
import trio

from actors.core.future import TrioFuture
from actors.core.inbox import Asked, Inbox, Stop
from protocols.errors import UnknownOutcomeError

A = TypeVar("A", bound=pykka.Actor)

NORMAL = "normal"
KILLED = "killed"
ERROR = "error"


class AskTimeoutError(UnknownOutcomeError):
    """The actor is alive and has not answered in time; it may still handle the message."""

    code = "unknown.ask_timeout"


class Terminated(msgspec.Struct, frozen=True):
    """An actor has ended. Told to each of its watchers exactly once.

    ``reason`` is ``normal``, the reason given to ``stop``, ``killed`` or ``error``; ``error``
    is what it died of. ``undelivered`` counts messages that were in its mailbox.
    """

    name: str
    urn: str
    reason: str
    error: BaseException | None = None
    undelivered: int = 0

    @property
    def exit(self) -> Literal["normal", "error", "killed"]:
        """The kind of exit, as supervisors see it."""
        if self.error is not None:
            return "error"
        return "killed" if self.reason == KILLED else "normal"


class TrioRef(pykka.ActorRef[A]):
    """pykka's reference to an actor on trio; nothing on it blocks.

    Trio thread only; other threads use ``ActorSystem.tell_from_thread``.
    """

    actor_inbox: Inbox
    name: str = ""
    """The stable name under which the registry knows this incarnation, or empty."""
    terminated: Terminated | None = None
    """How the actor ended; None while it lives."""

    def is_alive(self) -> bool:
        """Tell whether the actor still takes messages."""
        return not self.actor_inbox.closed

    def tell(self, message: Any) -> None:
        """Queue a message. Raises MailboxFullError, DeadActorError."""
        # Inbox.tell, inlined: a third of the cost of a tell would be the second call.
        inbox = self.actor_inbox
        queue = inbox.queue
        if len(queue) >= inbox.limit:
            raise inbox.refusal()
        queue.append(message)
        if inbox.idle:
            inbox.wake()

    def ask(
        self, message: Any, *, block: bool = False, timeout: float | None = None
    ) -> TrioFuture[Any]:
        """Queue a message and return the future of its answer; errors are in the future.

        An exception of the handler is the answer, and the actor lives on (pykka's rule); the
        exception of a told message ends it. ``ask()`` below adds a timeout.
        """
        if block or timeout is not None:
            _would_block("ask")
        future: TrioFuture[Any] = TrioFuture()
        inbox = self.actor_inbox
        queue = inbox.queue
        if len(queue) >= inbox.limit:
            future.fail(inbox.refusal())
            return future
        queue.append(Asked(message, future))
        if inbox.idle:
            inbox.wake()
        return future

    def stop(  # type: ignore[override]  # a future also where pykka would block
        self, *, block: bool = False, timeout: float | None = None
    ) -> TrioFuture[bool]:
        """Queue a stop behind what waits; the future tells False when it was dead already.

        The future is done as soon as the stop is queued; ``ActorSystem.stop`` waits for the end.
        """
        if block or timeout is not None:
            _would_block("stop")
        future: TrioFuture[bool] = TrioFuture()
        future.set(self.request_stop())
        return future

    def request_stop(self, reason: str = NORMAL) -> bool:
        """Queue a stop behind what waits; return False when the actor is dead already."""
        inbox = self.actor_inbox
        if inbox.closed:
            return False
        inbox.force(Stop(reason))
        return True

    def proxy(self) -> NoReturn:
        """Refuse: a proxy blocks at every access."""
        raise TypeError("actors on trio have no proxy: send a message with tell or ask")


async def ask(ref: TrioRef[Any], message: Any, *, timeout_s: float) -> Any:
    """Ask and wait for the answer.

    Raises the handler's own error; DeadActorError (not handled) or DiedHandlingError at once
    when the actor dies, not after the timeout; MailboxFullError; AskTimeoutError.
    """
    with trio.move_on_after(timeout_s):
        return await ref.ask(message)
    raise AskTimeoutError(
        f"{ref.name or ref} has not answered within {timeout_s:g} s",
        hint="ask again with the same id",
    )


def _would_block(verb: str) -> NoReturn:
    raise TypeError(f"{verb}() never blocks on trio: await what it returns")


__all__ = [
    "ERROR",
    "KILLED",
    "NORMAL",
    "AskTimeoutError",
    "Terminated",
    "TrioRef",
    "ask",
]
