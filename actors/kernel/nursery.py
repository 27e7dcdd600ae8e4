"""Nursery: tasks that begin and end together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from actors.kernel.tasks import CancelScope, ContinueAs, Frame, Scheduler, Task, Wait, steppable
from protocols.errors import CancelledError, WorkflowError
from protocols.subjects import check_step_name

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Join(Wait):
    """The owner of a nursery waits for its tasks. A cancel reaches the tasks, not the join."""

    __slots__ = ()


class Nursery:
    """Tasks that begin and end together.

    ``until`` says when the others are cancelled: at the first error, at the first end of
    any kind (race), or never (a gather that collects).
    """

    __slots__ = (
        "cut",
        "defect",
        "error",
        "first",
        "frame",
        "join",
        "owner",
        "path",
        "scheduler",
        "scope",
        "tasks",
        "until",
    )

    def __init__(
        self, scheduler: Scheduler, name: str, until: Literal["error", "first", "never"]
    ) -> None:
        owner = scheduler.current()
        if owner.scope.cancelled:
            raise CancelledError
        self.scheduler = scheduler
        self.until = until
        self.owner = owner
        self.path = owner.frame.path(check_step_name(name))
        self.frame = Frame(self.path)
        self.scope = CancelScope(scheduler)
        self.scope.enter(owner)
        owner.nurseries.append(self)
        self.tasks: dict[Task, None] = {}
        self.join: Join | None = None
        self.first: Task | None = None
        self.error: BaseException | None = None
        self.defect: BaseException | None = None
        self.cut = False

    def start(self, work: Awaitable[Any], name: str) -> Task:
        """Start a task whose operations have paths of their own."""
        prefix = self.frame.path(check_step_name(name))
        task = Task(steppable(work), Frame(prefix), self.scope, nursery=self, key=name)
        self.tasks[task] = None
        self.scheduler.ready.append(task)
        return task

    def task_ended(self, task: Task) -> None:
        """Note the end of a task, cancel its siblings when that is due, wake the owner."""
        del self.tasks[task]
        task.nursery = None  # it may stay here as the first one
        error = task.error
        if isinstance(error, CancelledError):
            self.cut = True
            error.__traceback__ = None  # it holds the task, which holds it; nobody reads it
        else:
            if self.first is None:
                self.first = task
            if error is not None:
                self.failed(error, task.frame.prefix)
            if self.until == "first":
                self.scope.cancel()
        if not self.tasks and self.join is not None:
            self.scheduler.resume(self.join, None)

    def failed(self, error: BaseException, where: str) -> None:
        """Keep the error that counts: the first, unless a later one is a defect of the code."""
        if isinstance(error, ContinueAs):
            self.defect = self.defect or error
        elif not isinstance(error, WorkflowError) and (
            self.defect is None or isinstance(self.defect, ContinueAs)
        ):
            self.defect = error
        if self.until == "never":
            return
        if self.error is None and not (self.until == "first" and self.scope.requested):
            self.error = error
        else:
            self.scheduler.dropped.append((where, error))
        self.scope.cancel()

    def joined(self) -> Join | None:
        """Return what the owner has to wait for, or None when all tasks have ended."""
        if not self.tasks:
            return None
        self.join = Join()
        self.join.task = self.owner
        return self.join

    def close(self) -> None:
        """Leave the nursery; raise the error that counts, or go on cancelling."""
        self.owner.nurseries.remove(self)
        self.scope.leave()
        if self.defect is not None:
            raise self.defect
        if self.error is not None:
            raise self.error
        if self.cut and not self.scope.requested:
            raise CancelledError
