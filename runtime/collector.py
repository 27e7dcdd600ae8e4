"""The garbage collector, tuned for a daemon with many small long-lived objects.

With CPython's defaults a collection runs every 700 allocations and looks at all living
instances again and again: a third of a busy daemon's time (measured with 8,000 instances of 8
steps). What stands at the start is frozen, and collections are rare: they only have to find
cycles, everything else is freed by its reference count.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Final

import trio

LOOK_S: Final = 1.0
LEFT_MIN: Final = 1_000
"""Instances that left memory before it is worth a collection: some 5 MB."""
YOUNG: Final = 50_000
"""Allocations between two collections of the youngest: some 10 MB of garbage at most."""
MIDDLE: Final = 20
OLD: Final = 50


def tune() -> None:
    """Freeze what is there and make collections rare. Once, when a process is up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)


async def tidy(live: Callable[[], int]) -> None:
    """Give memory back after many instances left it, until cancelled.

    An instance is a cycle of objects, which a rare collection leaves lying for long. One that
    runs when half of them are gone costs little, because little is alive then.
    """
    most = 0
    while True:
        await trio.sleep(LOOK_S)
        now = live()
        most = max(most, now)
        if is_worth_it(most, now):
            most = now
            gc.collect()
            await trio.to_thread.run_sync(_trim)


def is_worth_it(most: int, now: int) -> bool:
    """Tell whether enough instances have left memory since there were most of them."""
    return now * 2 <= most and most - now >= LEFT_MIN


def _trim() -> None:
    """Return free memory of the C library to the system; only glibc needs to be told."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
