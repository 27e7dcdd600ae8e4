"""Branches as authors see them: the winner of a race, the block of tasks, a task's handle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self

import msgspec

from actors.kernel.nursery import Nursery
from actors.kernel.operations import T
from actors.kernel.tasks import Frame, Task, Wait, check_awaitable, dispose
from protocols.errors import CancelledError
from protocols.subjects import check_step_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from types import TracebackType

    from actors.kernel.ledger import Ledger


class Winner(msgspec.Struct, frozen=True):
    """The branch of a race that ended first."""

    key: str
    value: Any


class Joined:
    """Awaits the end of a nursery's tasks."""

    __slots__ = ("nursery",)

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery

    def __await__(self) -> Generator[Wait, None, None]:
        join = self.nursery.joined()
        if join is not None:
            yield join


class Scope:
    """A nursery as a block: its tasks end before it does, the first error cancels the rest."""

    __slots__ = ("_around", "_ledger", "_name", "_nursery")

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger = ledger
        self._name = name
        self._nursery: Nursery | None = None
        self._around: Frame | None = None

    def start(self, work: Awaitable[T], *, name: str = "task") -> TaskHandle[T]:
        """Start a task. Its operations have paths below ``name``, counted per scope."""
        return TaskHandle(self.begin(work, name))

    def begin(self, work: Awaitable[Any], name: str) -> Task:
        """Do as ``start`` does, for interpreters: nobody asks the task for its result."""
        nursery = self._nursery
        if nursery is None or self._ledger.scheduler.running is None:
            dispose([work])
            raise self._ledger.scheduler.misuse(
                "scope.start was used outside of its 'async with' block"
            )
        return nursery.start(work, name)

    @property
    def over(self) -> bool:
        """Whether nothing can begin in the block any more."""
        return self._nursery is None or self._nursery.scope.cancelled

    def cancel(self) -> None:
        """Cancel the block and all of its tasks; the block then ends without an error."""
        if self._nursery is not None:
            self._nursery.scope.cancel()

    async def __aenter__(self) -> Self:
        scheduler = self._ledger.scheduler
        if self._name == "":
            raise scheduler.misuse("a scope was entered twice: make a new one each time")
        self._nursery = nursery = Nursery(scheduler, self._name, "error")
        self._name = ""
        self._around = nursery.owner.frame
        nursery.owner.frame = nursery.frame
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        nursery, around = self._nursery, self._around
        assert nursery is not None
        assert around is not None
        if isinstance(error, GeneratorExit):
            return False
        if error is not None and not isinstance(error, CancelledError):
            nursery.failed(error, nursery.path)
        await Joined(nursery)
        self._nursery = None
        nursery.owner.frame = around
        nursery.close()
        return isinstance(error, CancelledError) and nursery.scope.requested


class TaskHandle(Generic[T]):
    """A task that a scope started."""

    __slots__ = ("_task",)

    def __init__(self, task: Task) -> None:
        self._task = task

    @property
    def done(self) -> bool:
        """Whether the task has ended."""
        return self._task.done

    def result(self) -> T:
        """Return the task's value or raise its error; after the end of its scope."""
        value: T = self._task.result()
        return value


def branches_of(
    works: tuple[Awaitable[Any], ...], named: dict[str, Awaitable[Any]]
) -> dict[str, Awaitable[Any]]:
    """Return the branches by key. Raises for what cannot be one, and drops the others."""
    if works and named:
        dispose([*works, *named.values()])
        raise TypeError("branches are all named or all unnamed")
    branches = named or {str(index): work for index, work in enumerate(works)}
    try:
        for key, work in branches.items():
            check_awaitable(work)
            check_step_name(key)
    except BaseException:
        dispose(branches.values())
        raise
    return branches
