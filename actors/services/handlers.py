"""Handlers: how a service actor runs the functions of a service."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import trio

from actors.core.threads import BlockingActor


class HandlerThread(BlockingActor):
    """One thread that runs a blocking handler."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def on_receive(self, message: tuple[Any, ...]) -> Any:
        """Run the handler with its arguments."""
        return self._function(*message)


@types.coroutine
def go_on(coroutine: Coroutine[Any, Any, Any], first: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine whose first wait was already taken out of it."""
    wait = first
    while True:
        try:
            value = yield wait
        except BaseException as error:  # noqa: BLE001  # cancellation goes in where it waits
            try:
                wait = coroutine.throw(error)
            except StopIteration as stop:
                return stop.value
        else:
            try:
                wait = coroutine.send(value)
            except StopIteration as stop:
                return stop.value


def abort_from(
    sleepers: list[trio.lowlevel.Task],
) -> Callable[[Any], trio.lowlevel.Abort]:
    """Return what takes this task out of those that sleep, when it is cancelled there."""
    task = trio.lowlevel.current_task()

    def abort(_: Any) -> trio.lowlevel.Abort:
        if task in sleepers:
            sleepers.remove(task)
        return trio.lowlevel.Abort.SUCCEEDED

    return abort
