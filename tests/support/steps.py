"""How much is done in one step of a task, until the others have their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Steps(trio.abc.Instrument):
    """Counts what each step of a task does, until it gives the others their turn."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._before = 0
        self.widest = 0
        """The most that was done in one step."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note how much was done before."""
        del task
        self._before = self._count()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look how much it was."""
        del task
        self.widest = max(self.widest, self._count() - self._before)


@contextmanager
def counting(count: Callable[[], int]) -> Iterator[Steps]:
    """Watch the steps of all tasks."""
    steps = Steps(count)
    trio.lowlevel.add_instrument(steps)
    yield steps
    trio.lowlevel.remove_instrument(steps)
