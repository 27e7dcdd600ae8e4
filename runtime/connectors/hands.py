"""Hands: threads of a connector that block, each with a tool that no other thread touches.

    trio ──work──> a free hand, or a new one up to the limit ──work(tool)──> the result

A tool is what a library wants to be used by one thread: a connection, a browser. It is made by
the hand that owns it, when it is needed first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio

from actors.core.ref import TrioRef
from actors.core.system import ActorSystem, open_system
from actors.core.threads import BlockingActor, BlockingHost
from protocols.error_kinds import OVER_LIMIT
from protocols.errors import ConfigurationError
from protocols.service import Call, Failed, Refused
from runtime.connectors.frame import Check

T = TypeVar("T")
R = TypeVar("R")

CLOSE_S: Final = 5.0
"""How long the end waits for a hand that blocks: its tool is then left to the process's end."""


class Hands(Generic[T]):
    """At most ``most`` threads, made when they are needed."""

    def __init__(
        self, system: ActorSystem, most: int, make: Callable[[], T], close: Callable[[T], None]
    ) -> None:
        self._system = system
        self._places = trio.CapacityLimiter(most)
        self._make = make
        self._close = close
        self._idle: list[TrioRef[BlockingHost]] = []

    async def answer(self, call: Call, work: Callable[[T, Call], R]) -> R:
        """Let a hand answer a call, which has the time that is left when its turn comes.

        Raises Failed when none comes in time, and what the work raises.
        """
        until = trio.current_time() + (call.timeout_s or inf)
        with trio.move_on_at(until) as patience:
            await self._places.acquire()
        if patience.cancelled_caught:
            raise Failed(OVER_LIMIT, "no connection is free in time", retry_after_s=1.0)
        if call.timeout_s:
            left_s = max(until - trio.current_time(), 0.001)
            call = msgspec.structs.replace(call, timeout_s=left_s)
        try:
            return await self._by_hand(lambda tool: work(tool, call))
        finally:
            self._places.release()

    async def do(self, work: Callable[[T], R]) -> R:
        """Let a hand do some work, and return the result; raises what the work raises.

        Whoever is cancelled meanwhile leaves the hand to itself: it ends when the work does.
        """
        async with self._places:
            return await self._by_hand(work)

    async def _by_hand(self, work: Callable[[T], R]) -> R:
        hand = self._idle.pop() if self._idle else self._new()
        done = False
        try:
            result: R = await hand.ask(work)
            done = True
        except Exception:
            done = True
            raise
        finally:
            if done and hand.is_alive():
                self._idle.append(hand)
            else:
                self._system.kill(hand)
        return result

    async def check(self, what: str, look: Callable[[T], object]) -> list[Check]:
        """Let a hand look whether a system is there; a text that it returns is shown."""
        began = trio.current_time()
        try:
            seen = await self.do(look)
        except (Refused, Failed, ConfigurationError) as error:
            return [Check(what=what, ok=False, detail=error.message)]
        took_s = trio.current_time() - began
        detail = seen if isinstance(seen, str) else ""
        return [Check(what=what, ok=True, detail=detail, took_s=took_s)]

    def _new(self) -> TrioRef[BlockingHost]:
        return self._system.start_blocking(_Hand, self._make, self._close)

    async def rest(self) -> None:
        """Close all tools; one that is in use is waited for, but not for long."""
        with trio.move_on_after(CLOSE_S) as scope, suppress(Exception):
            scope.shield = True
            for each in self._idle:
                await self._system.stop(each)


@asynccontextmanager
async def hands(
    most: int, make: Callable[[], T], close: Callable[[T], None]
) -> AsyncIterator[Hands[T]]:
    """Have hands for as long as the block runs."""
    async with open_system() as system:
        found = Hands(system, most, make, close)
        try:
            yield found
        finally:
            await found.rest()


class _Hand(BlockingActor):
    """One thread and its tool; each message is a function of the tool."""

    def __init__(self, make: Callable[[], Any], close: Callable[[Any], None]) -> None:
        super().__init__()
        self._make = make
        self._close = close
        self._tool: Any = None

    def on_receive(self, message: Callable[[Any], Any]) -> Any:
        """Do the work."""
        if self._tool is None:
            self._tool = self._make()
        return message(self._tool)

    def on_stop(self) -> None:
        """Close the tool."""
        tool, self._tool = self._tool, None
        if tool is not None:
            self._close(tool)
