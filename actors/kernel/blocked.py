"""Why an instance is blocked, in words for people and a code for programs."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from protocols.errors import NotDurableError

if TYPE_CHECKING:
    from types import TracebackType

_OURS: Final = ("actors.kernel", "protocols")
_FOREIGN_LOOPS: Final = ("asyncio", "trio", "anyio", "sniffio")


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the mailbox from being folded with this code.

    ``reason`` is ``mismatch``, ``exception``, ``not_durable``, ``definition``, ``result``,
    ``mailbox_full``, ``snapshot_too_large``, ``blob`` or ``unknown``.
    ``message`` and ``place`` are for people and may differ between machines.
    """

    reason: str
    message: str
    error: str = ""
    """Name of the exception's type."""
    place: str = ""
    """``file:line in function`` of the workflow's code."""
    seq: int = 0
    """For a value that is missing: the sequence of the message that refers to it."""
    diff: dict[str, Any] | None = None
    """For a mismatch: the step that was recorded, and the steps that the code has."""


def blocked_by(error: BaseException) -> Blocked:
    """Return why an exception in workflow code blocks, and where it came up."""
    message = str(error)
    durable = not isinstance(error, NotDurableError)
    if durable:
        message = f"{type(error).__name__}: {error}"
        if _of_another_loop(error):
            durable = False
            message += (
                "; workflow code cannot use trio or asyncio: "
                "await ctx.call(...), ctx.run(fn, ...) or ctx.sleep(...)"
            )
    return Blocked(
        reason="exception" if durable else "not_durable",
        message=message,
        error=type(error).__name__,
        place=_place_of(error),
    )


def _place_of(error: BaseException) -> str:
    """Return where in the workflow's code ``error`` came up, or nothing when it did not."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        if _module(trace).partition(".")[0] in _FOREIGN_LOOPS:
            break  # the place is where it was called
        if not _module(trace).startswith(_OURS):
            code = trace.tb_frame.f_code
            place = f"{PurePath(code.co_filename).name}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return place


def _of_another_loop(error: BaseException) -> bool:
    """Tell whether ``error`` was raised by another event loop's library."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _module(trace).partition(".")[0] in _FOREIGN_LOOPS


def _module(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", ""))
