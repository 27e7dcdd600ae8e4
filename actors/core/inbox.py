"""The mailbox of an actor in this process: a bounded deque.

    tell ──> [ limit? ] ──> queue ──> one turn of the actor
               │ full: MailboxFullError    │ nobody home: DeadActorError

A full mailbox answers; it never blocks the sender and never drops. The check for "full" and
the one for "dead" are a single comparison, because a closed inbox has the limit 0.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import pykka
import trio

from protocols.errors import OverloadedError, UnavailableError, UnknownOutcomeError

if TYPE_CHECKING:
    from actors.core.dispatcher import Dispatcher, Runnable

MAILBOX_MESSAGES_MAX: Final = 10_000
"""Default limit. At 50,000 messages/s of one busy actor that is 0.2 s of work: a sender that
meets it is faster than the actor, and waiting longer would only hide that."""


class MailboxFullError(OverloadedError):
    """The actor has as many messages waiting as its class allows; this one was not taken."""

    code = "unavailable.mailbox_full"


class DeadActorError(UnavailableError, pykka.ActorDeadError):
    """The actor is gone and has not handled the message. ``__cause__`` is what it died of."""

    code = "unavailable.dead_actor"


class DiedHandlingError(UnknownOutcomeError, pykka.ActorDeadError):
    """The actor was killed while it handled the message: half of it may have happened."""

    code = "unknown.died_handling"


class Asked:
    """A message whose sender waits for an answer."""

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any, reply_to: pykka.Future[Any]) -> None:
        self.message = message
        self.reply_to = reply_to


class Stop:
    """Ends the actor when its turn comes: what stood before it in the mailbox is handled."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Flag:
    """The part of ``threading.Event`` that pykka's ActorRef reads, without its lock."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        """Tell whether it was set."""
        return self._set

    def set(self) -> None:
        """Set it for good."""
        self._set = True


class Inbox:
    """A bounded queue of messages. ``tell`` wakes the actor when it is idle.

    Subclasses say who is woken. All methods belong to the trio thread.
    """

    __slots__ = ("closed", "death", "idle", "limit", "owner", "queue")

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.limit = MAILBOX_MESSAGES_MAX
        self.idle = False
        self.closed = False
        self.owner = ""
        self.death: BaseException | None = None

    def __len__(self) -> int:
        return len(self.queue)

    def tell(self, message: Any) -> None:
        """Queue a message. Raises MailboxFullError or DeadActorError."""
        queue = self.queue
        if len(queue) >= self.limit:
            raise self.refusal()
        queue.append(message)
        if self.idle:
            self.wake()

    def force(self, message: Any) -> None:
        """Queue a message whatever the limit: control messages and what was accepted before."""
        if self.closed:
            raise self.refusal()
        self.queue.append(message)
        if self.idle:
            self.wake()

    def force_first(self, message: Any) -> None:
        """Queue a message before all others: a kill overtakes what waits."""
        if self.closed:
            raise self.refusal()
        self.queue.appendleft(message)
        if self.idle:
            self.wake()

    def refusal(self) -> UnavailableError:
        """Return the error that tells a sender why its message was not taken."""
        if not self.closed:
            return MailboxFullError(
                f"the mailbox of {self.owner} is full ({self.limit} messages)",
                hint="send slower, or raise mailbox_messages_max of its class",
            )
        return dead(self.owner, self.death)

    def close(self, death: BaseException | None) -> list[Any]:
        """Refuse all further messages; return those that nobody will handle."""
        self.closed = True
        self.idle = False
        self.limit = 0
        self.death = death
        left = list(self.queue)
        self.queue.clear()
        return left

    def wake(self) -> None:
        """Let the owner know that there is something to do. Called only when it is idle."""
        raise NotImplementedError

    # What pykka's ActorRef and Actor expect of an inbox.

    def put(self, envelope: Any, /) -> None:
        """Queue the message of a pykka envelope."""
        if envelope.reply_to is None:
            self.tell(envelope.message)
        else:
            self.tell(Asked(envelope.message, envelope.reply_to))

    def get(self) -> Any:
        """Return the next message; raises IndexError when there is none."""
        return self.queue.popleft()

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self.queue


class TaskInbox(Inbox):
    """Wakes the trio task of its actor."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        super().__init__()
        self.task: trio.lowlevel.Task | None = None

    def wake(self) -> None:
        """Reschedule the task, which sleeps in ``wait``."""
        self.idle = False
        task = self.task
        assert task is not None
        trio.lowlevel.reschedule(task)

    def abort(self, _: object) -> trio.lowlevel.Abort:
        """Forget the sleeping task: it is being cancelled."""
        self.idle = False
        return trio.lowlevel.Abort.SUCCEEDED


class DrivenInbox(Inbox):
    """Puts its actor on the run queue of a dispatcher."""

    __slots__ = ("dispatcher", "runnable")

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher: Dispatcher | None = None
        self.runnable: Runnable | None = None

    def wake(self) -> None:
        """Queue the actor behind all that are ready before it."""
        self.idle = False
        assert self.dispatcher is not None
        assert self.runnable is not None
        self.dispatcher.ready(self.runnable)


def dead(owner: str, death: BaseException | None) -> DeadActorError:
    """Return the error for a message that a dead actor did not handle."""
    error = DeadActorError(f"{owner} is dead", hint="look its name up again")
    error.__cause__ = death
    return error


def died_handling(owner: str, death: BaseException | None) -> DiedHandlingError:
    """Return the error for a message in whose handling the actor died."""
    error = DiedHandlingError(f"{owner} died while it handled the message")
    error.__cause__ = death
    return error


def fail(asked: Asked, error: Exception) -> None:
    """Answer an asker with an error."""
    asked.reply_to.set_exception((type(error), error, error.__traceback__))
