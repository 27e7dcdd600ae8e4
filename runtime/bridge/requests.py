"""Requests without an answer: the token table and its deadlines. Pure: time is an argument.

Deadlines lie in buckets of one tick, so that adding one is an append and passing time looks
at due buckets only: no timer and no task per request. An answered request leaves its token
behind in the bucket; when the leftovers outnumber the open requests the buckets are rebuilt,
so the memory is bounded by what is open and not by rate times timeout.
"""

from __future__ import annotations

from typing import Final

import msgspec

from protocols.ports import Done

LEFTOVERS_MAX: Final = 8_192
"""Answered tokens that may lie in buckets besides as many as are open; about 100 B each."""


class OpenRequest(msgspec.Struct, gc=False):
    """Whom to tell, until when, the number of the queued item that carries it, its subject."""

    done: Done
    tick: int
    item: int
    subject: str


class RequestTable:
    """Open requests by token. A token is never used twice."""

    def __init__(self, tick_s: float, now: float) -> None:
        self._tick_s = tick_s
        self._open: dict[str, OpenRequest] = {}
        self._buckets: dict[int, list[str]] = {}
        self._bucketed = 0
        self._next = 0
        self._passed = int(now / tick_s)
        self.take = self._open.pop
        """``take(token, None)`` removes a request and returns it, or None when unknown."""

    def __len__(self) -> int:
        return len(self._open)

    def add(self, done: Done, deadline: float, item: int, subject: str = "") -> str:
        """Open a request and return its token."""
        self._next += 1
        token = str(self._next)
        tick = max(int(deadline / self._tick_s), self._passed) + 1
        self._open[token] = OpenRequest(done, tick, item, subject)
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [token]
        else:
            bucket.append(token)
        self._bucketed += 1
        if self._bucketed > 2 * len(self._open) + LEFTOVERS_MAX:
            self._rebuild()
        return token

    def expire(self, now: float) -> list[Done]:
        """Remove the requests whose deadline has passed and return whom to tell, oldest first."""
        tick = int(now / self._tick_s)
        first = self._passed + 1
        self._passed = tick
        if tick - first > len(self._buckets):
            due = sorted(key for key in self._buckets if key <= tick)
        else:
            due = [key for key in range(first, tick + 1) if key in self._buckets]
        told = []
        for key in due:
            tokens = self._buckets.pop(key)
            self._bucketed -= len(tokens)
            for token in tokens:
                request = self._open.pop(token, None)
                if request is not None:
                    told.append(request.done)
        return told

    def refused(self, subject: str) -> list[Done]:
        """Remove the requests on a subject and return whom to tell, oldest first."""
        found = [token for token, each in self._open.items() if each.subject == subject]
        return [self._open.pop(token).done for token in found]

    def clear(self) -> list[OpenRequest]:
        """Remove all requests and return them, oldest first."""
        requests = list(self._open.values())
        self._open.clear()
        self._buckets.clear()
        self._bucketed = 0
        return requests

    def _rebuild(self) -> None:
        self._buckets.clear()
        for token, request in self._open.items():
            self._buckets.setdefault(request.tick, []).append(token)
        self._bucketed = len(self._open)
