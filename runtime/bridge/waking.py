"""Wake trio: its thread from the other one, and a task that waits for an answer."""

from __future__ import annotations

from collections.abc import Callable

import outcome
import trio

from protocols.errors import MovantError
from protocols.ports import Frame


def wake(token: trio.lowlevel.TrioToken, deliver: Callable[[], None]) -> None:
    """Run ``deliver`` on the trio thread; called on the asyncio thread."""
    try:
        token.run_sync_soon(deliver)
    except trio.RunFinishedError:  # the program has ended without closing the bridge
        return


def resume(task: trio.lowlevel.Task, told: Frame | MovantError) -> None:
    """Let the task that waits for an answer go on with it."""
    if isinstance(told, Frame):
        trio.lowlevel.reschedule(task, outcome.Value(told))
    else:
        trio.lowlevel.reschedule(task, outcome.Error(told))
