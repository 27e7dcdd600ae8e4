"""Desk: a hosted service whose bookings can be undone; it counts both, by key."""

from __future__ import annotations

from collections import Counter
from typing import Any

import trio

from protocols.compensation import UndoRequest
from protocols.service import Call, Failed, Refused, Service


class Desk:
    """What is booked, and how often each key was done and undone."""

    def __init__(self, name: str = "desk") -> None:
        self.asked: list[str] = []
        """Keys that ``slow`` was asked for."""
        self.booked: set[str] = set()
        self.refused: set[str] = set()
        self.done: Counter[str] = Counter()
        self.undone: Counter[str] = Counter()
        self.cancels: list[Call] = []
        """All requests for an undo, repeats as well."""
        self.order: list[str] = []
        """Keys in the order in which they were undone."""
        self.hold = trio.Event()
        """``slow`` books when this is set."""
        self.go = trio.Event()
        """An undo is done when this is set."""
        self.go.set()
        self.stuck = False
        """Whether nothing can be undone."""
        self.service = Service(name)
        self.service.operation("book")(self.book)
        self.service.operation("slow")(self.slow)
        self.service.operation("cancel")(self.cancel)

    async def book(self, request: Any, call: Call) -> Any:
        """Book it, once per key, unless it was undone."""
        if call.key in self.refused:
            raise Refused("undone", "it was undone")
        if call.key not in self.booked:
            self.booked.add(call.key)
            self.done[call.key] += 1
        return request.get("n")

    async def slow(self, call: Call) -> str:
        """Book it when ``hold`` is set, however long nobody waits any more."""
        self.asked.append(call.key)
        await self.hold.wait()
        if call.key in self.refused:
            raise Refused("undone", "it was undone")
        self.booked.add(call.key)
        self.done[call.key] += 1
        return "slowly"

    async def cancel(self, undo: UndoRequest, call: Call) -> None:
        """Undo by key, once, whether it was booked or not."""
        assert call.undoes == undo.key
        self.cancels.append(call)
        if self.stuck:
            raise Failed("stuck", "not today")
        await self.go.wait()
        self.refused.add(undo.key)
        if undo.key in self.booked:
            self.booked.discard(undo.key)
            self.undone[undo.key] += 1
            self.order.append(undo.key)
