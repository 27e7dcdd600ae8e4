"""What servers report about a probe of presence: who would get the message, and which streams."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Traced(NamedTuple):
    """Who would have got a message: connections of subscribers, and streams."""

    responders: set[str]
    captors: list[str]


class Trace:
    """What servers report about one probe: each tells of its own subscribers.

    A server names clients, and for each other server of the cluster that it would hand the
    message to a *hop*; that one reports by itself. So the answer is complete with one event
    more than there are hops, and only then a route to a server is known to lead to somebody.
    """

    __slots__ = ("_captors", "_clients", "_events", "_hops", "_told")

    def __init__(self) -> None:
        self._captors: list[str] = []
        self._clients: set[str] = set()
        self._hops: dict[str, str] = {}
        self._told: set[str] = set()
        self._events = 0

    @property
    def complete(self) -> bool:
        """Whether every server that was named has reported."""
        return self._events > 0 and self._told >= self._hops.keys()

    def add(self, event: bytes) -> None:
        """Take the report of one server; one that cannot be read names nobody."""
        self._events += 1
        try:
            found = msgspec.json.decode(event)
            server = str((found.get("server") or {}).get("id", ""))
            headers = (found.get("request") or {}).get("header") or {}
            self._told.update(map(str, headers.get("Nats-Trace-Hop") or ()))
            for each in found.get("events") or []:
                if each.get("type") == "js":
                    self._captors.append(str(each.get("stream", "")))
                if each.get("type") != "eg" or each.get("error"):
                    continue
                name = f"{server}/{each.get('cid', each.get('name', ''))}"
                if each.get("hop"):
                    self._hops[str(each["hop"])] = name
                else:
                    self._clients.add(name)
        except (msgspec.DecodeError, AttributeError, TypeError):
            return

    def traced(self) -> Traced | None:
        """Return who would get a message, None when nobody has reported.

        A server that has not reported in time is taken at the word of the one that named it.
        """
        if not self._events:
            return None
        silent = {name for hop, name in self._hops.items() if hop not in self._told}
        return Traced(self._clients | silent, self._captors)
