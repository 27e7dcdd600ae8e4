"""Durable operations: what workflow code awaits, and the ledger that knows what is open.

    await ctx.call(...)     Step      Ask      -> Reply, AttemptTimedOut, AttemptRefused
    await ctx.sleep(...)    Sleep     Arm      -> Fired
    with ctx.timeout(...)   Deadline  Arm      -> Fired
    await ctx.signal(...)   Listen    (none)   -> Signal
    await ctx.child(...)    Child     Spawn    -> ChildEnded

An operation is a plan until it is awaited: only then it gets its path, from the task that
awaits it, and asks for its effect. Hence ``ctx.gather(ctx.call(...), ctx.call(...))`` gives
each call the path of its branch.
"""

from __future__ import annotations

import hashlib
from collections import deque
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Self

from actors.kernel.tasks import DAEMON_FAILURES, CancelScope, Scheduler, Task, Wait
from protocols import codec
from protocols.effects import (
    AnyEffect,
    Arm,
    Ask,
    CancelChild,
    LocalCall,
    LogLine,
    Spawn,
    Waiting,
)
from protocols.errors import (
    BadValueError,
    ChildFailedError,
    OversizedError,
    ResultTypeError,
    StepFailedError,
    TimedOutError,
)
from protocols.failure import CANCELLED, FAILED, PROTOCOL, TIMEOUT, VALIDATION, Failure
from protocols.mail import ChildEnded, Parent, Signal
from protocols.policy import StepOptions
from protocols.subjects import step_token

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

NS: Final = 1_000_000_000
DELAY_S_MAX: Final = 100 * 366 * 86_400.0
"""Longest delay of a timer; beyond it the due time would leave 64-bit nanoseconds."""
RETRY_AFTER_S_MAX: Final = 86_400.0
"""Longest delay that a service may ask for: a day, so that a wrong unit cannot park a step."""
LOG_LINES_MAX: Final = 1_000
"""Log lines kept until the host drains them; the newest are kept out beyond it."""
UNREADABLE: Final = Failure(kind=PROTOCOL, message="the payload is not a valid value")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Counters:
    """Statistics of messages that did not count. Not part of the folded state."""

    __slots__ = ("duplicates", "early", "late", "stray")

    def __init__(self) -> None:
        self.duplicates = 0
        """Repeats: message ids seen before, second starts, the same success again."""
        self.early = 0
        """Timers and timeouts that came before their due time."""
        self.late = 0
        """Messages for a step that was decided or cancelled, or after the end."""
        self.stray = 0
        """Messages that nobody could have asked for, before the code ran."""


class Ledger:
    """What one instance has asked for, what of it is open, and what was decided."""

    __slots__ = (
        "cause",
        "children",
        "counters",
        "decided",
        "effects",
        "generation",
        "instance_id",
        "late_successes",
        "listeners",
        "logs",
        "now",
        "refolding",
        "scheduler",
        "signals",
        "state",
        "steps",
        "timers",
        "unawaited",
    )

    def __init__(self, instance_id: str, generation: int) -> None:
        self.instance_id = instance_id
        self.generation = generation
        self.scheduler = Scheduler()
        self.now = 0
        self.cause = 0
        self.effects: list[AnyEffect] = []
        self.steps: dict[str, Step[Any]] = {}
        self.timers: dict[str, Sleep | Deadline] = {}
        self.children: dict[str, Child[Any]] = {}
        self.listeners: dict[str, deque[Listen[Any]]] = {}
        self.signals: dict[str, deque[Signal]] = {}
        self.decided: dict[str, int] = {}
        """Step token -> attempt that gave the value; 0 when it failed or was cancelled."""
        self.late_successes: list[tuple[str, int]] = []
        self.state: dict[str, bytes] = {}
        self.counters = Counters()
        self.logs: list[LogLine] = []
        self.refolding = False
        self.unawaited: dict[Operation[Any], None] = {}

    def identity(self, path: str) -> str:
        """Return the world-wide identity of what happens at ``path``."""
        return f"{self.instance_id}/{self.generation}{path}"

    def log(self, level: str, event: str, facts: dict[str, Any]) -> None:
        """Keep a log line, unless it was written at the first fold already."""
        if not self.refolding and len(self.logs) < LOG_LINES_MAX:
            self.logs.append(LogLine(level, event, facts))


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


class Step(Operation[T]):
    """One unit of work at a service, tried in attempts."""

    __slots__ = (
        "attempt",
        "body",
        "due",
        "input",
        "local",
        "name",
        "operation",
        "options",
        "service",
        "token",
    )

    def __init__(  # noqa: PLR0917 - the hot path: built once per step, by position
        self,
        ledger: Ledger,
        service: str,
        operation: str,
        value: Any,
        name: str,
        returns: Any,
        options: StepOptions,
        local: LocalCall | None,
    ) -> None:
        self.ledger = ledger
        self.returns = returns
        self.path = ""
        self.task = None
        self.service = service
        self.operation = operation
        self.input = value
        self.name = name
        self.options = options
        self.local = local
        ledger.unawaited[self] = None

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.body = b"" if self.local is not None else codec.encode(self.input)
        self.input = None
        self.path = path = task.frame.path(self.name)
        self.token = token = step_token(path)
        self.attempt = 1
        self.due = ledger.now
        ledger.steps[token] = self
        self.ask()
        return False

    def ask(self) -> None:
        """Ask for the current attempt."""
        ledger = self.ledger
        path = self.path
        ledger.effects.append(
            Ask(
                cause=ledger.cause,
                path=path,
                step=self.token,
                attempt=self.attempt,
                service=self.service,
                operation=self.operation,
                body=self.body,
                key=f"{ledger.instance_id}/{ledger.generation}{path}",
                due=self.due,
                options=self.options,
                local=self.local,
            )
        )

    def replied(self, attempt: int, body: bytes, content_type: str) -> None:
        """Take the first success of any attempt."""
        try:
            value = codec.decode(body, content_type)
        except (BadValueError, OversizedError):
            self.attempt_failed(attempt, UNREADABLE)
            return
        self.decide(attempt)
        self.succeed(value)

    def attempt_failed(self, attempt: int, failure: Failure) -> None:
        """Try again or give up, when it is the current attempt that failed."""
        if attempt != self.attempt:
            self.ledger.counters.late += 1
            return
        options = self.options
        retryable = failure.retryable and (
            options.idempotent or failure.kind not in {TIMEOUT, PROTOCOL}
        )
        if not options.retry.allows(attempt, failure.kind, retryable=retryable):
            self.decide(0)
            self.ledger.scheduler.resume(self, None, StepFailedError(self.path, failure))
            return
        ledger = self.ledger
        self.attempt = attempt + 1
        delay_s = options.retry.delay_before(self.attempt, ledger.identity(self.path))
        asked_s = failure.retry_after_s
        if asked_s is not None and asked_s > delay_s:
            delay_s = min(asked_s, RETRY_AFTER_S_MAX)
        self.due = ledger.now + nanoseconds(min(delay_s, DELAY_S_MAX))
        self.ask()

    def timed_out(self, attempt: int, at: int) -> None:
        """Take the owner's word that the current attempt is lost, if its time is over."""
        if attempt == self.attempt and at < self.due + nanoseconds(self.options.timeout_s):
            self.ledger.counters.early += 1
            return
        message = f"no reply within {self.options.timeout_s:g} s"
        self.attempt_failed(attempt, Failure(kind=TIMEOUT, message=message))

    def decide(self, attempt: int) -> None:
        """Close the step: whatever comes now is late."""
        del self.ledger.steps[self.token]
        self.ledger.decided[self.token] = attempt

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        self.decide(0)
        return True

    def waiting(self) -> Waiting:
        """Describe the open step."""
        return Waiting(
            path=self.path,
            kind="step",
            since=self.since,
            detail=f"{self.service}.{self.operation}",
            attempt=self.attempt,
            due=self.due,
        )


class Sleep(Operation[None]):
    """Wait until a point in time."""

    __slots__ = ("due", "name", "seconds", "token")

    def __init__(self, ledger: Ledger, name: str, *, seconds: float = 0.0, due: int = 0) -> None:
        super().__init__(ledger)
        self.name = name
        self.seconds = seconds
        self.due = due

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        self.path = task.frame.path(self.name)
        if not self.due:
            self.due = ledger.now + nanoseconds(self.seconds)
        elif self.due <= ledger.now:
            return True
        self.token = step_token(self.path)
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
            ledger.effects.append(Arm(cause=ledger.cause, name=self.token, due=self.due))
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
        self.path = task.frame.path(f"signal.{self.name}")
        waiting = ledger.signals.get(self.name)
        if waiting is None:
            ledger.listeners.setdefault(self.name, deque()).append(self)
            return False
        self.signal = waiting.popleft()
        if not waiting:
            del ledger.signals[self.name]
        return True

    def at_once(self) -> T:  # noqa: D102 - as in Operation
        assert self.signal is not None
        return self.read(self.signal)

    def take(self, signal: Signal) -> None:
        """Let the code go on with the signal's data, or with ResultTypeError."""
        try:
            value = self.read(signal)
        except DAEMON_FAILURES:
            raise
        except Exception as error:  # noqa: BLE001 - the code's: its types may run code
            self.ledger.scheduler.resume(self, None, error)
        else:
            self.ledger.scheduler.resume(self, value)

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


class Child(Operation[T]):
    """Another instance, started here; its end is awaited."""

    __slots__ = ("child", "input", "name", "on_cancel", "token", "workflow")

    def __init__(
        self,
        ledger: Ledger,
        workflow: str,
        value: Any,
        *,
        child: str,
        name: str,
        returns: Any,
        on_cancel: Literal["cancel", "abandon"],
    ) -> None:
        super().__init__(ledger, returns)
        self.workflow = workflow
        self.input = value
        self.child = child
        self.name = name
        self.on_cancel = on_cancel

    def begin(self, task: Task) -> bool:  # noqa: D102 - as in Operation
        ledger = self.ledger
        body = codec.encode(self.input)
        self.input = None
        self.path = task.frame.path(self.name)
        self.token = step_token(self.path)
        identity = ledger.identity(self.path)
        self.child = self.child or child_id(ledger.instance_id, identity)
        ledger.children[self.token] = self
        ledger.effects.append(
            Spawn(
                cause=ledger.cause,
                child=self.child,
                workflow=self.workflow,
                body=body,
                parent=Parent(instance=ledger.instance_id, path=self.path),
                id=identity,
            )
        )
        return False

    def ended(self, mail: ChildEnded) -> None:
        """Take the child's result, or raise its failure in the code."""
        self.decide(1)
        failure = mail.failure
        if mail.status == "completed":
            try:
                self.succeed(codec.decode(mail.body))
            except (BadValueError, OversizedError):
                failure = UNREADABLE
            else:
                return
        if failure is None:
            kind = CANCELLED if mail.status == "cancelled" else FAILED
            failure = Failure(kind=kind, message=f"child {self.child} ended as {mail.status}")
        self.ledger.scheduler.resume(self, None, ChildFailedError(self.path, failure))

    def decide(self, attempt: int) -> None:
        """Close the wait: whatever comes now is late."""
        del self.ledger.children[self.token]
        self.ledger.decided[self.token] = attempt

    def abandon(self) -> bool:  # noqa: D102 - as in Wait
        self.decide(0)
        if self.on_cancel == "cancel":
            ledger = self.ledger
            ledger.effects.append(
                CancelChild(
                    cause=ledger.cause,
                    child=self.child,
                    reason="the parent gave it up",
                    id=ledger.identity(self.path) + "/cancel",
                )
            )
        return True

    def waiting(self) -> Waiting:
        """Describe the wait."""
        return Waiting(
            path=self.path,
            kind="child",
            since=self.since,
            detail=f"{self.workflow} {self.child}",
        )


def nanoseconds(seconds: float) -> int:
    """Return ``seconds`` as whole nanoseconds. Raises ValueError outside of 0 to 100 years."""
    if not isfinite(seconds) or not 0 <= seconds <= DELAY_S_MAX:
        raise ValueError(f"{seconds!r} is no delay: give seconds from 0 to {DELAY_S_MAX:.0f}")
    return round(seconds * NS)


def moment(now: int) -> datetime:
    """Return nanoseconds since 1970 as an aware datetime, cut to microseconds."""
    return EPOCH + timedelta(microseconds=now // 1000)


def since_epoch(when: datetime) -> int:
    """Return an aware datetime as nanoseconds since 1970. Raises ValueError for a naive one."""
    if when.tzinfo is None:
        raise ValueError("a datetime without a time zone is no point in time: give it tzinfo")
    return (when - EPOCH) // _MICROSECOND * 1000


def child_id(instance_id: str, identity: str) -> str:
    """Return the id of a child that the author gave none, the same at every fold."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return f"{instance_id[:100]}-{digest}"
