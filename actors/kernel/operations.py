"""Durable operations: what workflow code awaits, or enters.

    await ctx.call(...)     Step      Ask      -> Reply, AttemptTimedOut, AttemptRefused
    await ctx.sleep(...)    Sleep     Arm      -> Fired
    with ctx.timeout(...)   Deadline  Arm      -> Fired
    await ctx.signal(...)   Listen    (none)   -> Signal
    await ctx.child(...)    Child     Spawn    -> ChildEnded (actors.kernel.children)

An operation is a plan until it is awaited: only then it gets its path, from the task that
awaits it, and asks for its effect. Hence ``ctx.gather(ctx.call(...), ctx.call(...))`` gives
each call the path of its branch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Self

from actors.kernel.answers import Update, opened, reject, tell
from actors.kernel.clock import later, nanoseconds
from actors.kernel.tasks import DAEMON_FAILURES, CancelScope, Task, Wait
from protocols import codec
from protocols.effects import Arm, Waiting
from protocols.errors import (
    BadValueError,
    OversizedError,
    ResultTypeError,
    TimedOutError,
)
from protocols.failure import PROTOCOL, VALIDATION, Failure
from protocols.mail import Signal
from protocols.subjects import step_token

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from typing_extensions import TypeVar

    from actors.kernel.ledger import Ledger
    from protocols.calendars import Calendar
    from protocols.updates import Answer

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

ANY_SIGNAL: Final = "*"
NO_SIGNAL: Final = "!"
"""Where listeners stand that wait for no name; no signal is called like that."""
_SHOWN: Final = {ANY_SIGNAL: "signals", NO_SIGNAL: "idle"}
UNREADABLE: Final = Failure(kind=PROTOCOL, message="the payload is not a valid value")


class Operation(Wait, Generic[T]):
    """Base of what ``await`` takes in workflow code. Used once."""

    __slots__ = ("ledger", "path", "returns", "since")

    def __init__(self, ledger: Ledger, returns: Any = Any) -> None:
        self.ledger = ledger
        self.returns = returns
        self.path = ""
        self.since = 0
        self.task = None
        ledger.unawaited[self] = None

    def __await__(self) -> Generator[Wait, Any, T]:
        ledger = self.ledger
        if self.path:
            raise ledger.scheduler.misuse(f"{self.path} was awaited twice: make a new operation")
        ledger.unawaited.pop(self, None)
        task = ledger.scheduler.enter()
        if task is not None:
            self.since = ledger.now
            if self.begin(task):
                return self.at_once()
        self.task = task
        value: T = yield self
        return value

    def close(self) -> None:
        """Drop an operation that will not be awaited."""
        self.ledger.unawaited.pop(self, None)

    def begin(self, task: Task) -> bool:
        """Ask for the effect; True when there is nothing to wait for."""
        raise NotImplementedError

    def at_once(self) -> T:
        """Return the outcome of an operation that did not have to wait."""
        raise NotImplementedError

    def succeed(self, value: Any) -> None:
        """Let the code go on with ``value`` as the declared type, or with ResultTypeError."""
        if self.returns is Any:
            self.ledger.scheduler.resume(self, value)
            return
        try:
            value = self.typed(value)
        except DAEMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - the code's: its types may run code
            self.ledger.scheduler.resume(self, None, error)
        else:
            self.ledger.scheduler.resume(self, value)

    def typed(self, value: Any) -> Any:
        """Return ``value`` as the declared type. Raises ResultTypeError."""
        if self.returns is Any:
            return value
        try:
            return codec.convert(value, self.returns)
        except BadValueError as problem:
            failure = Failure(kind=VALIDATION, message=problem.message, retryable=False)
            raise ResultTypeError(self.path, failure) from None


class Sleep(Operation[None]):
    """Wait until a point in time."""

    __slots__ = ("calendar", "due", "name", "seconds", "token")

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        *,
        seconds: float | str = 0.0,
        due: int = 0,
        calendar: Calendar | None = None,
    ) -> None:
        super().__init__(ledger)
        self.name = name
        self.seconds = seconds
        self.calendar = calendar
        self.due = due

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.path = task.frame.path(self.name)
        if not self.due:
            self.due = later(ledger.now, self.seconds, self.calendar)
        elif self.due <= ledger.now:
            return True
        self.token = step_token(self.path)
        if ledger.outcome(self.token) is not None:
            return True
        ledger.timers[self.token] = self
        ledger.effects.append(Arm(cause=ledger.cause, name=self.token, due=self.due))
        return False

    def at_once(self) -> None:  # noqa: D102 - as in Operation
        return None

    def fired(self) -> None:
        """Let the code go on."""
        del self.ledger.timers[self.token]
        self.ledger.scheduler.resume(self, None)

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        del self.ledger.timers[self.token]
        return True

    def waiting(self) -> Waiting:
        """Describe the armed timer."""
        return Waiting(
            path=self.path, kind="timer", since=self.since, detail="sleep", due=self.due
        )


class Deadline(CancelScope):
    """A block of code with a durable timer; its end cancels what runs inside."""

    __slots__ = ("due", "expired", "ledger", "name", "path", "raises", "seconds", "since", "token")

    def __init__(self, ledger: Ledger, seconds: float, name: str, *, raises: bool) -> None:
        super().__init__(ledger.scheduler)
        self.ledger = ledger
        self.seconds = seconds
        self.name = name
        self.raises = raises
        self.expired = False
        self.path = ""

    def __enter__(self) -> Self:
        super().__enter__()
        assert self.task is not None
        ledger = self.ledger
        self.path = self.task.frame.path(self.name)
        self.token = step_token(self.path)
        self.since = ledger.now
        self.due = ledger.now + nanoseconds(self.seconds)
        if self.due <= ledger.now:
            self.cancel()
        elif not self.cancelled:
            ledger.timers[self.token] = self
            ledger.effects.append(
                Arm(cause=ledger.cause, name=self.token, due=self.due, guard=True)
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.ledger.timers.pop(self.token, None)
        self.expired = super().__exit__(kind, error, trace)
        if self.expired and self.raises:
            raise TimedOutError(self.path, self.seconds) from None
        return self.expired

    def fired(self) -> None:
        """Cancel the block."""
        del self.ledger.timers[self.token]
        self.cancel()

    def waiting(self) -> Waiting:
        """Describe the armed timer."""
        return Waiting(
            path=self.path, kind="timer", since=self.since, detail="timeout", due=self.due
        )


class Listen(Operation[T]):
    """Wait for the next signal of a name; first come, first served on both sides."""

    __slots__ = ("name", "signal")

    def __init__(self, ledger: Ledger, name: str, returns: Any) -> None:
        super().__init__(ledger, returns)
        self.name = name
        self.signal: Signal | None = None

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.path = task.frame.path(_SHOWN.get(self.name) or f"signal.{self.name}")
        waiting = ledger.signals.get(self.name)
        if waiting is None:
            ledger.listeners.setdefault(self.name, []).append(self)
            return False
        self.signal = waiting.popleft()
        if not waiting:
            del ledger.signals[self.name]
        return True

    def at_once(self) -> T:  # noqa: D102 - as in Operation
        assert self.signal is not None
        return self.told(self.signal) if self.signal.asks else self.read(self.signal)

    def take(self, signal: Signal) -> None:
        """Let the code go on with the signal's data, or with ResultTypeError."""
        try:
            value = self.told(signal) if signal.asks else self.read(signal)
        except DAEMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - the code's: its types may run code
            self.ledger.scheduler.resume(self, None, error)
        else:
            self.ledger.scheduler.resume(self, value)

    def told(self, signal: Signal) -> T:
        """Do the same as ``read``, and tell the sender that the code has it."""
        update = opened(self.ledger, signal)
        try:
            value = self.read(signal)
        except ResultTypeError as error:
            reject(self.ledger, update, error.failure)
            raise
        self.answer(signal, update)
        return value

    def answer(self, signal: Signal, update: Answer) -> None:  # noqa: ARG002 - others need it
        """Tell the sender that the code has taken it: nothing more comes of it."""
        tell(self.ledger, update, "completed")

    def read(self, signal: Signal) -> T:
        """Return the signal's data as the declared type. Raises ResultTypeError."""
        try:
            value = codec.decode(signal.body, signal.content_type)
        except (BadValueError, OversizedError):
            raise ResultTypeError(self.path, UNREADABLE) from None
        typed: T = self.typed(value)
        return typed

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        listeners = self.ledger.listeners[self.name]
        listeners.remove(self)
        if not listeners:
            del self.ledger.listeners[self.name]
        return True

    def waiting(self) -> Waiting:
        """Describe the wait."""
        return Waiting(path=self.path, kind="signal", since=self.since, detail=self.name)


class AnySignal(Listen[tuple[str, Any]]):
    """Wait for the next signal of whatever name that nobody else waits for.

    ``holds``: a sender who waits for that is told by the code what becomes of it, by ``update``.
    """

    __slots__ = ("holds", "update")

    def __init__(self, ledger: Ledger, *, holds: bool = False) -> None:
        super().__init__(ledger, ANY_SIGNAL, Any)
        self.holds = holds
        self.update: Update[Any] | None = None

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        queues = self.ledger.signals
        if queues:
            self.name = min(queues, key=lambda name: queues[name][0].seq)
        return super().begin(task)

    def answer(self, signal: Signal, update: Answer) -> None:
        """Tell the sender, or let the code do that."""
        if self.holds:
            self.update = Update(self.ledger, signal, None)
        else:
            super().answer(signal, update)

    def read(self, signal: Signal) -> tuple[str, Any]:
        """Return the signal's name and data. Raises ResultTypeError."""
        self.name = signal.name
        return signal.name, super().read(signal)


class Idle(Listen[None]):
    """Wait for nothing: only a cancel ends it. Says to people what it is for."""

    __slots__ = ("detail",)

    def __init__(self, ledger: Ledger, detail: str) -> None:
        super().__init__(ledger, NO_SIGNAL, Any)
        self.detail = detail

    def waiting(self) -> Waiting:
        """Describe what would end the wait."""
        return Waiting(path=self.path, kind="signal", since=self.since, detail=self.detail)
