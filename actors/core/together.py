"""Several questions side by side: under load each answer waits for a turn of everybody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from protocols.errors import MovantError


async def together(*questions: Callable[[], Awaitable[object]]) -> None:
    """Await all of them at once. Raises the first MovantError, when all have ended."""
    failed: list[MovantError] = []

    async def ask(question: Callable[[], Awaitable[object]]) -> None:
        try:
            await question()
        except MovantError as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        for each in questions:
            nursery.start_soon(ask, each)
    if failed:
        raise failed[0]
