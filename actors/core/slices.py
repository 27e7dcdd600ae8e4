"""Slices: work on very many, a little at a time, so that everybody else has a turn in between.

All actors share one thread. Whoever looks at a hundred thousand instances in one go keeps the
answer of a service, a person's question and the renewal of the lease waiting for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import trio

LOOKS: Final = 1_000
"""Looks between two checkpoints of the loop, some 2 us each."""
WIDE: Final = 10_000
"""Looks of those that only compare what is in memory: each checkpoint of a busy process is a turn
of everybody else, and an answer that needs a hundred of them comes late."""
ACT: Final = 25
"""So many looks are worth one at which something was done: some 50 us."""

T = TypeVar("T")


def parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in parts, for who passes over most of them; checkpoint behind each."""
    for begin in range(0, len(items), WIDE):
        yield items[begin : begin + WIDE]


async def in_slices(
    items: Iterable[T], look: Callable[[T], object], *, looks: int = 0, act: int = ACT
) -> None:
    """Look at each item; others run after ``looks`` of them, or of what they are worth.

    Without ``looks`` it is ``LOOKS``. ``look`` returns something true when it has done something,
    which counts for ``act`` looks.
    What it is shown may be out of date: others have run since ``items`` was made.
    """
    looks = looks or LOOKS  # as it is now: tests make it smaller
    spent = 0
    for item in items:
        spent += act if look(item) else 1
        if spent >= looks:
            spent = 0
            await trio.lowlevel.checkpoint()
