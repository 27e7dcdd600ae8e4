"""A pykka future that a trio task can wait for.

pykka's own futures block a thread; this one suspends the task that awaits it. It belongs to
the trio thread: whoever has a result on another thread hands it over through
``actors.core.threads.ThreadGate`` first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pykka
import trio

from protocols.errors import InternalError

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")

_PENDING: Final = object()
_FAILED: Final = object()


class TrioFuture(pykka.Future[T]):
    """A value that is known now or later: ``await`` it.

    It is set once. Any number of tasks may wait for it, and a waiter that is cancelled leaves
    the others alone. ``get()`` never blocks: it raises ``trio.WouldBlock`` while there is no
    value.
    """

    __slots__ = ("_error", "_get_hook", "_get_hook_result", "_sources", "_value", "_wakers")

    def __init__(self) -> None:
        # pykka's __init__ only sets the two hook fields; doing it here saves a call per ask.
        self._get_hook = None
        self._value: Any = _PENDING
        self._error: BaseException | None = None
        self._wakers: list[Callable[[], None]] | None = None
        self._sources: tuple[pykka.Future[Any], ...] = ()

    def __repr__(self) -> str:
        return f"<TrioFuture {'done' if self.done else 'pending'}>"

    @property
    def done(self) -> bool:
        """True once there is a value or an error."""
        if self._get_hook is None:
            return self._value is not _PENDING
        return all(getattr(source, "done", True) for source in self._sources)

    def set(self, value: T | None = None) -> None:
        """Set the value and wake whoever waits. Raises InternalError the second time."""
        if self._value is not _PENDING or self._get_hook is not None:
            raise InternalError("a future was set twice")
        self._value = value
        if self._wakers is not None:
            self._wake()

    def set_exception(
        self,
        exc_info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
        | None = None,
    ) -> None:
        """Set the error that is being handled, or the one of ``exc_info``, as pykka does."""
        kind, error, _ = sys.exc_info() if exc_info is None else exc_info
        if error is None and kind is not None:
            error = kind()
        assert error is not None, "set_exception() needs an error"
        self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Set an error, which is raised in whoever waits."""
        if self._value is not _PENDING or self._get_hook is not None:
            raise InternalError("a future was set twice") from error
        self._value = _FAILED
        self._error = error
        if self._wakers is not None:
            self._wake()

    def get(self, *, timeout: float | None = None) -> T:
        """Return the value or raise the error. Raises trio.WouldBlock when there is neither."""
        if self._get_hook is not None:
            return self._get_hook(timeout)
        if self._value is _PENDING:
            raise trio.WouldBlock("no value yet: await the future")
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    async def wait(self) -> T:
        """Wait for the value; the same as awaiting the future. Always a checkpoint."""
        await self.settled()
        if self._get_hook is not None:
            return self.get()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    async def settled(self) -> None:
        """Wait until there is a value or an error, and raise neither."""
        if self._value is not _PENDING:
            await trio.lowlevel.checkpoint()
            return
        if self._get_hook is not None:
            for source in self._sources:
                if isinstance(source, TrioFuture):
                    await source.settled()
            return
        wake = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        self.on_done(wake)

        def abort(_: object) -> trio.lowlevel.Abort:
            assert self._wakers is not None
            self._wakers.remove(wake)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def __await__(self) -> Generator[Any, Any, T]:
        return self.wait().__await__()

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, on the trio thread, when the future is set; it must not raise.

        For actors without a task, which cannot await.
        """
        assert self._get_hook is None, "a derived future is awaited, not watched"
        if self._value is not _PENDING:
            callback()
        elif self._wakers is None:
            self._wakers = [callback]
        else:
            self._wakers.append(callback)

    def filter(
        self: pykka.Future[Iterable[Any]], func: Callable[[Any], bool]
    ) -> TrioFuture[Iterable[Any]]:
        """See pykka; the result can be awaited."""
        return _derived(pykka.Future.filter(self, func), self)

    def join(self: pykka.Future[Any], *futures: pykka.Future[Any]) -> TrioFuture[Iterable[Any]]:
        """See pykka; the result can be awaited."""
        return _derived(pykka.Future.join(self, *futures), self, *futures)

    def map(self, func: Callable[[T], M]) -> TrioFuture[M]:
        """See pykka; the result can be awaited."""
        return _derived(pykka.Future.map(self, func), self)

    def reduce(
        self: pykka.Future[Iterable[Any]], func: Callable[[R, Any], R], *args: R
    ) -> TrioFuture[R]:
        """See pykka; the result can be awaited."""
        return _derived(pykka.Future.reduce(self, func, *args), self)

    def _wake(self) -> None:
        wakers, self._wakers = self._wakers, None
        for wake in wakers or ():
            wake()


def _derived(future: pykka.Future[M], *sources: pykka.Future[Any]) -> TrioFuture[M]:
    assert isinstance(future, TrioFuture)
    future._sources = sources  # noqa: SLF001  # same module
    return future
