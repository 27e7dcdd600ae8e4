"""One trio task that drives many actors.

A workflow instance has no task of its own: it costs its state and nothing else. Its inbox
puts it on this run queue when a message comes. Ready actors wait in one line; each takes at
most ``turn_messages_max`` messages and then goes to the end of the line, so that a flooded
actor delays the others by a bounded amount. After ``SLICE_MESSAGES_MAX`` messages other tasks
run, however they are spread over actors, and after ``SLICE_S`` in any case.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NoReturn, Protocol

import msgspec
import trio

TURN_MESSAGES_MAX: Final = 16
"""Long enough to spread the cost of a turn, short against what a person can notice."""

SLICE_MESSAGES_MAX: Final = 64
"""Messages between two checkpoints, and one turn more: 4 ms at 50 us a message."""

SLICE_S: Final = 0.005
"""A slice ends after so many seconds too: there are messages that take a millisecond."""


class Runnable(Protocol):
    """What a dispatcher drives."""

    handled: int
    """Messages that it has handled so far."""

    def take_turn(self, messages_max: int) -> bool:
        """Handle some messages; return True when more are waiting. Must not raise."""
        ...


class DispatcherStatistics(msgspec.Struct, frozen=True):
    """How busy a dispatcher is: ``ready`` stand in line now, ``turns`` were given in all."""

    ready: int
    turns: int


class Dispatcher:
    """A fair run queue. Start ``run`` in a nursery; it ends when it is cancelled.

    The line is bounded by the number of actors: each stands in it at most once.
    """

    def __init__(self, *, turn_messages_max: int = TURN_MESSAGES_MAX) -> None:
        assert turn_messages_max >= 1
        self._turn_messages_max = turn_messages_max
        self._line: deque[Runnable] = deque()
        self._sleeper: trio.lowlevel.Task | None = None
        self._turns = 0

    def ready(self, runnable: Runnable) -> None:
        """Put an actor at the end of the line. The caller sees to it that it is there once."""
        self._line.append(runnable)
        sleeper = self._sleeper
        if sleeper is not None:
            self._sleeper = None
            trio.lowlevel.reschedule(sleeper)

    def statistics(self) -> DispatcherStatistics:
        """Return a snapshot."""
        return DispatcherStatistics(ready=len(self._line), turns=self._turns)

    async def run(self) -> NoReturn:
        """Give turns for ever."""
        line = self._line
        while True:
            if line:
                self._slice()
                await trio.lowlevel.checkpoint()
            else:
                self._sleeper = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _slice(self) -> None:
        line = self._line
        left = SLICE_MESSAGES_MAX
        until = trio.current_time() + SLICE_S
        for _ in range(len(line)):
            if left <= 0 or trio.current_time() > until:
                break
            runnable = line.popleft()
            before = runnable.handled
            if runnable.take_turn(self._turn_messages_max):
                line.append(runnable)
            left -= runnable.handled - before or 1  # one that was killed takes a moment as well
            self._turns += 1

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._sleeper = None
        return trio.lowlevel.Abort.SUCCEEDED
