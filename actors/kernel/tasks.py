"""Tasks, cancel scopes and nurseries: a small deterministic scheduler for coroutines.

    Scheduler ── ready: Task, Task, …          who runs next, in the order of waking
        Task ── coroutine, Frame (path), CancelScope, Wait (what it is suspended on)
            Nursery ── child tasks             opened by gather, race and scope

Nothing here knows of mail or effects. A coroutine yields a ``Wait``; somebody resumes it with
a value or an error. Cancellation is by level, as in trio: inside a cancelled scope every wait
raises CancelledError, until the scope is left; a shielded scope hides what is outside of it.
A task never outlives its nursery, and the nursery's owner cannot leave before its tasks end.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, cast

from protocols.errors import CancelledError, NotDurableError, UnresolvedError
from protocols.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable
    from types import TracebackType

    from actors.kernel.nursery import Nursery

ENTRIES_MAX: Final = 100_000
"""Waits begun in one fold. A mailbox holds fewer messages, so more is a loop that never ends,
such as one that swallows cancellation."""

DAEMON_FAILURES: Final = (
    MemoryError,
    RecursionError,
    ImportError,
    KeyboardInterrupt,
    SystemExit,
    UnresolvedError,
)
"""Errors of the process, never of a workflow: they leave the fold."""


class ContinueAs(BaseException):
    """Leaves workflow code like an error, so that its ``finally`` blocks run.

    A BaseException, so that ``except Exception`` does not swallow it.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__("ctx.continue_as")
        self.body = body


class Steppable(Protocol):
    """A coroutine or the generator of an awaitable: what a task drives."""

    def send(self, value: Any, /) -> Any: ...  # noqa: D102
    def throw(self, error: BaseException, /) -> Any: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Frame:
    """A place in the tree of paths: names are counted here, and random numbers drawn."""

    __slots__ = ("draws", "names", "prefix", "rng")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.names: dict[str, int] = {}
        self.draws = 0
        self.rng: Rng | None = None

    def path(self, name: str) -> str:
        """Return a path of its own for the next operation called ``name``."""
        names = self.names
        count = names[name] = names.get(name, 0) + 1
        if count == 1:
            return f"{self.prefix}/{name}"
        return f"{self.prefix}/{name}#{count}"


class Wait:
    """What a task is suspended on. Coroutines of workflow code yield nothing else."""

    __slots__ = ("task",)

    task: Task | None

    def abandon(self) -> bool:
        """Give the wait up because of a cancel; False when it has to be waited out."""
        return False


class CancelScope:
    """A block of code that can be cancelled from outside, or is shielded from it."""

    __slots__ = ("caught", "parent", "requested", "scheduler", "shield", "task")

    due = 0
    """When time is up for the block, nanoseconds since 1970; 0: never."""

    def __init__(self, scheduler: Scheduler, *, shield: bool = False) -> None:
        self.scheduler = scheduler
        self.shield = shield
        self.requested = False
        self.caught = False
        self.task: Task | None = None
        self.parent: CancelScope | None = None

    @property
    def cancelled(self) -> bool:
        """Whether a wait inside of this scope raises CancelledError."""
        scope: CancelScope | None = self
        while scope is not None:
            if scope.requested:
                return True
            if scope.shield:
                return False
            scope = scope.parent
        return False

    @property
    def until(self) -> int:
        """When the first of the blocks around cuts this one short; 0: none does."""
        found = 0
        scope: CancelScope | None = self
        while scope is not None and not scope.shield:
            if scope.due and not 0 < found < scope.due:
                found = scope.due
            scope = scope.parent
        return found

    def cancel(self) -> None:
        """Cancel what runs inside. Idempotent."""
        if not self.requested:
            self.requested = True
            if self.task is not None:
                self.scheduler.deliver_cancel(self.task)

    def enter(self, task: Task) -> None:
        """Make this the innermost scope of ``task``."""
        self.task = task
        self.parent = task.scope
        task.scope = self

    def leave(self) -> None:
        """Restore the scope around; blocks end in the reverse order of their beginning."""
        task, scheduler = self.task, self.scheduler
        assert task is not None
        if scheduler.running is not None and (
            scheduler.running is not task or task.scope is not self
        ):
            raise scheduler.misuse(
                "a block was left by another task, or out of order: use it in one 'with'"
            )
        assert self.parent is not None
        task.scope = self.parent

    def __enter__(self) -> Self:
        if self.task is not None:
            raise self.scheduler.misuse("a block was entered twice: make a new one each time")
        self.enter(self.scheduler.current())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.leave()
        self.caught = self.requested and isinstance(error, CancelledError)
        return self.caught


class Task:
    """One strand of workflow code."""

    __slots__ = (
        "coroutine",
        "error",
        "frame",
        "key",
        "nurseries",
        "nursery",
        "outcome",
        "scope",
        "value",
        "wait",
    )

    def __init__(
        self,
        coroutine: Steppable,
        frame: Frame,
        scope: CancelScope,
        *,
        nursery: Nursery | None = None,
        key: str = "",
    ) -> None:
        self.coroutine = coroutine
        self.frame = frame
        self.scope = scope
        self.nursery = nursery
        self.key = key
        self.nurseries: list[Nursery] = []
        self.wait: Wait | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.outcome: Literal["", "value", "error"] = ""

    def forget(self) -> None:
        """Let go of everything: the task was dropped."""
        self.nurseries = []
        self.nursery = self.wait = self.value = self.error = None
        self.scope = _NOWHERE

    @property
    def done(self) -> bool:
        """Whether the task has ended."""
        return self.outcome != ""

    def result(self) -> Any:
        """Return the task's value or raise its error; after the end of its scope."""
        if self.outcome == "value":
            return self.value
        if self.outcome == "error":
            assert self.error is not None
            raise self.error
        raise NotDurableError(
            f"the result of task {self.frame.prefix} was read before its end: "
            "read it after the 'async with ctx.scope()' block"
        )


class Scheduler:
    """Runs the tasks of one instance until all of them wait."""

    __slots__ = (
        "continuing",
        "defect",
        "dropped",
        "entries",
        "main",
        "ready",
        "running",
        "whole",
    )

    def __init__(self) -> None:
        self.ready: deque[Task] = deque()
        self.running: Task | None = None
        self.main: Task | None = None
        self.whole = CancelScope(self)
        self.defect: NotDurableError | None = None
        self.dropped: list[tuple[str, BaseException]] = []
        self.entries = 0
        self.continuing = False
        """Whether the code has asked to continue as new."""

    def start(self, coroutine: Steppable, frame: Frame) -> None:
        """Start the main task."""
        self.whole.task = self.main = Task(coroutine, frame, self.whole)
        self.ready.append(self.main)

    def spawn(self, coroutine: Steppable, frame: Frame) -> Task:
        """Start a task of the kernel's own: nobody joins it, and no cancel reaches it."""
        task = Task(coroutine, frame, CancelScope(self, shield=True))
        self.ready.append(task)
        return task

    def cancel(self) -> None:
        """Cancel the main task and everything below it."""
        self.whole.cancel()

    def current(self) -> Task:
        """Return the task that runs. Raises NotDurableError outside of the instance's fold."""
        task = self.running
        if task is None:
            if isinstance(sys.exc_info()[1], GeneratorExit):
                raise GeneratorExit  # a dropped instance unwinds: nothing may happen any more
            raise NotDurableError(
                "ctx was used outside of its own workflow: use it only in the workflow's code "
                "while movant runs it, and pass values, not ctx, to other code"
            )
        return task

    def enter(self) -> Task | None:
        """Return the running task at the begin of a wait; None when it has to be stopped.

        Raises CancelledError inside of a cancelled scope.
        """
        self.entries += 1
        if self.entries > ENTRIES_MAX:
            self.misuse(
                f"more than {ENTRIES_MAX} operations without waiting: "
                "a loop does not end, or swallows the cancellation"
            )
            return None
        task = self.running or self.current()
        if task.scope.cancelled:
            raise CancelledError
        return task

    def misuse(self, message: str) -> NotDurableError:
        """Return the error to raise; the instance blocks even when the code swallows it."""
        error = NotDurableError(message)
        if self.running is not None and self.defect is None:
            self.defect = error
        return error

    def resume(self, wait: Wait, value: Any, error: BaseException | None = None) -> None:
        """Let the task that is suspended on ``wait`` go on with a value or an error."""
        task = wait.task
        if task is None or task.wait is not wait:
            return  # the code drove the operation by hand and went on without it
        task.wait = None
        task.value = value
        task.error = error
        self.ready.append(task)

    def deliver_cancel(self, root: Task) -> None:
        """Throw CancelledError into all waiting tasks at and below ``root`` that it reaches."""
        pending = [root]
        while pending:
            task = pending.pop()
            wait = task.wait
            if wait is not None and task.scope.cancelled and wait.abandon():
                self.resume(wait, None, CancelledError())
            for nursery in reversed(task.nurseries):
                if nursery.scope.cancelled:
                    pending.extend(reversed(nursery.tasks))

    def run(self) -> None:
        """Run all ready tasks, in order, until each of them waits or has ended."""
        ready = self.ready
        try:
            while ready and self.defect is None:
                self._step(ready.popleft())
        finally:
            self.running = None

    def close(self) -> None:
        """Drop all tasks. Their ``finally`` blocks run without any effect.

        What refers to each other is taken apart, so that no collection has to find it.
        """
        self.ready.clear()
        self.dropped.clear()
        pending = [each for each in (self.main, self.whole.task) if each is not None]
        while pending:
            task = pending.pop()
            for nursery in task.nurseries:
                pending.extend(nursery.tasks)
            with suppress(Exception):  # nobody is left who could be told
                task.coroutine.close()
            task.forget()
        self.main = self.running = self.defect = None
        self.whole = _NOWHERE

    def _step(self, task: Task) -> None:
        """Run one task until it waits or ends."""
        self.running = task
        value, error = task.value, task.error
        task.value = task.error = None
        try:
            wait = task.coroutine.send(value) if error is None else task.coroutine.throw(error)
        except StopIteration as stop:
            task.outcome, task.value = "value", stop.value
            self._ended(task)
        except DAEMON_FAILURES:
            raise
        except BaseException as problem:  # noqa: BLE001 - the code's own: its end tells
            task.outcome, task.error = "error", problem
            self._ended(task)
        else:
            if isinstance(wait, Wait) and wait.task is task:
                task.wait = wait
            elif self.defect is None:
                self._refuse(task, wait)

    def _ended(self, task: Task) -> None:
        if isinstance(task.error, NotDurableError):
            self.defect = self.defect or task.error
        elif task.nursery is not None:
            task.nursery.task_ended(task)

    def _refuse(self, task: Task, foreign: object) -> None:
        """Throw into the code at the place where it awaited something that is not ours."""
        kind = type(foreign)
        error = self.misuse(
            f"{kind.__module__}.{kind.__qualname__} was awaited, which is no durable operation: "
            "await ctx.call(...) or ctx.run(fn, ...) for work, ctx.sleep(...) for time, "
            "ctx.signal(...) for messages"
        )
        try:
            task.coroutine.throw(error)
        except DAEMON_FAILURES:
            raise
        except BaseException:  # noqa: BLE001, S110 - the instance blocks whatever it does
            pass


_NOWHERE: Final = CancelScope(Scheduler())
"""The scope of tasks that were dropped."""


def check_awaitable(work: object) -> None:
    """Raise NotDurableError for what cannot be a branch or a task."""
    if not hasattr(work, "__await__"):
        raise NotDurableError(
            f"{type(work).__qualname__} cannot be awaited: pass a coroutine such as branch(ctx) "
            "or an operation such as ctx.call(...)"
        )


def steppable(work: Awaitable[Any]) -> Steppable:
    """Return what a task can drive."""
    if type(work) is CoroutineType:
        return cast("Steppable", work)
    check_awaitable(work)
    return cast("Steppable", work if hasattr(work, "send") else work.__await__())


def dispose(works: Iterable[object]) -> None:
    """Drop awaitables that will never be started, without Python's warning."""
    for work in works:
        close = getattr(work, "close", None)
        if close is not None:
            close()
