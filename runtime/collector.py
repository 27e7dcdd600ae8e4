"""The garbage collector, tuned for a daemon with many small long-lived objects.

With CPython's defaults a collection runs every 700 allocations and looks at all living
instances again and again: a third of a busy daemon's time (measured with 8,000 instances of 8
steps), and a second in which nobody else runs when there are many. Nothing of ours needs one:
an instance that leaves memory is taken apart, so that it goes with its last reference. So only
the youngest objects are looked at by themselves, a few at a time, for the cycles that errors
leave; all others when hardly anything is alive, or seldom.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Final

import trio

LOOK_S: Final = 1.0
LEFT_MIN: Final = 1_000
"""Instances that left memory before some of it is given back: some 5 MB."""
FEW: Final = 100
"""Instances in memory beside which a whole collection takes some milliseconds."""
RARE: Final = (50_000, 20, 50)
"""Thresholds of a process that hosts services: strangers' code may leave cycles behind."""
YOUNG: Final = (10_000, 1_000_000_000, 1_000_000_000)
"""And of a daemon: the youngest are looked at in some 4 ms, the others by ``tidy``."""
SHARE: Final = 2_000
"""A whole collection beside many instances waits for so many times what the last one took."""
WHOLE_S: Final = 600.0
"""And at least for so long."""


def tune(thresholds: tuple[int, int, int] = RARE) -> None:
    """Freeze what is there and make collections rare. Once, when a process is up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds)


@cache
def settle() -> None:
    """Freeze what a daemon consists of, now that it is up; once in a process."""
    gc.freeze()


async def tidy(live: Callable[[], int]) -> None:
    """Collect everything when it is cheap or overdue, and give memory back, until cancelled.

    ``live`` tells how many instances are in memory.
    """
    most = 0
    due_at = trio.current_time() + WHOLE_S
    while True:
        await trio.sleep(LOOK_S)
        now = live()
        most = max(most, now)
        left = is_worth_it(most, now)
        if (left and now <= FEW) or trio.current_time() >= due_at:
            due_at = trio.current_time() + max(WHOLE_S, SHARE * _collect())
        if left:
            most = now
            await trio.to_thread.run_sync(_trim)


def is_worth_it(most: int, now: int) -> bool:
    """Tell whether enough instances have left memory since there were most of them."""
    return now * 2 <= most and most - now >= LEFT_MIN


def _collect() -> float:
    """Collect everything; return the seconds that it took."""
    began = perf_counter()
    gc.collect()
    return perf_counter() - began


def _trim() -> None:
    """Return free memory of the C library to the system; only glibc needs to be told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
