"""Which server is tried next. Pure: the caller connects, waits, and tells what came of it.

    given:    as configured, in that order: put the nearest one first
    learned:  what a server told about its cluster (``connect_urls``), behind the given ones

After a loss the next server in the ring is tried, at once: the one that was lost is the least
likely to answer. Only a whole round without success makes the caller wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

LEARNED_MAX: Final = 32
"""A cluster has a handful of servers; whoever tells of more is not believed."""
TRY_S_MIN: Final = 1.0
"""No server gets less time to answer, unless all of them together have less."""


class Servers:
    """The ring of servers and the place in it."""

    def __init__(self, given: Sequence[str]) -> None:
        assert given, "a client has at least one server"
        self._given = tuple(given)
        self._learned: list[str] = []
        self._next = 0
        self._tries = 0

    @property
    def urls(self) -> list[str]:
        """All servers, in the order in which they are tried."""
        return [*self._given, *self._learned]

    def take(self) -> str:
        """Return the server to try now."""
        urls = self.urls
        url = urls[self._next % len(urls)]
        self._next = (self._next + 1) % len(urls)
        self._tries += 1
        return url

    @property
    def rounds(self) -> int:
        """How many whole rounds are to be waited for; 0: try the next server at once."""
        count = len(self._given) + len(self._learned)
        return self._tries // count if self._tries % count == 0 else 0

    def stood(self) -> None:
        """Forget what failed: a connection stood long enough."""
        self._tries = 0

    def learn(self, url: str, told: object) -> None:
        """Take what the server at ``url`` told: hosts with ports; the login is that of ``url``."""
        if not isinstance(told, list):
            return
        parts = urlsplit(_whole(url))
        login = parts.netloc.rpartition("@")[0]
        known = {place(each) for each in self._given}
        learned = []
        for each in told[:LEARNED_MAX]:
            found = f"{parts.scheme}://{login + '@' if login else ''}{each}"
            if isinstance(each, str) and _is_place(each) and place(found) not in known:
                known.add(place(found))
                learned.append(found)
        current = self.urls[self._next] if self._next < len(self.urls) else ""
        self._learned = learned
        urls = self.urls
        self._next = urls.index(current) if current in urls else 0

    def try_s(self, connect_s: float) -> float:
        """Return how long one server may take to answer, of the time for all that are given."""
        return min(connect_s, max(TRY_S_MIN, connect_s / len(self._given)))


def place(url: str) -> tuple[str, int]:
    """Return host and port: two URLs with the same are one server."""
    parts = urlsplit(_whole(url))
    return parts.hostname or "", parts.port or 4222


def split(urls: str | Iterable[str]) -> tuple[str, ...]:
    """Return the URLs of a setting: one, several joined by commas, or a sequence of them."""
    several = urls.split(",") if isinstance(urls, str) else urls
    return tuple(each.strip() for each in several if each.strip())


def _whole(url: str) -> str:
    return url if "://" in url else f"nats://{url}"


def _is_place(text: str) -> bool:
    try:
        parts = urlsplit(f"nats://{text}")
        return bool(parts.hostname and parts.port) and "@" not in text
    except ValueError:
        return False
