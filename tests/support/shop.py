"""Shop: a hosted service that counts its effects and misbehaves on demand."""

from __future__ import annotations

from typing import Any

import trio

from protocols.blobs import BLOB_BYTES_MAX
from protocols.service import Call, Failed, Refused, Service


class Shop:
    """Effects by idempotency key, in the order in which they happened."""

    def __init__(self, name: str = "shop") -> None:
        self.calls: list[Call] = []
        self.keys: list[str] = []
        """Keys of the effects: a key that stands here twice was done twice."""
        self.hold = trio.Event()
        """``slow`` answers when this is set."""
        self.failures = 0
        """How often ``flaky`` still fails."""
        self.service = Service(name)
        self.service.operation("buy")(self.buy)
        self.service.operation("slow")(self.slow)
        self.service.operation("flaky")(self.flaky)
        self.service.operation("refuse")(self.refuse)
        self.service.operation("odd")(self.odd)
        self.service.operation("huge")(self.huge)
        self._done: set[str] = set()

    @property
    def doubled(self) -> list[str]:
        """Keys that were done more than once."""
        return sorted(key for key in set(self.keys) if self.keys.count(key) > 1)

    async def buy(self, request: Any, call: Call) -> Any:
        """Do it, once per key, and return the number asked for."""
        self.calls.append(call)
        if call.key not in self._done:
            self._done.add(call.key)
            self.keys.append(call.key)
        return request.get("n")

    async def slow(self, request: Any, call: Call) -> Any:
        """Do it when ``hold`` is set."""
        self.calls.append(call)
        await self.hold.wait()
        self.keys.append(call.key)
        return request.get("n")

    async def flaky(self, call: Call) -> str:
        """Fail some times."""
        self.calls.append(call)
        if self.failures > 0:
            self.failures -= 1
            raise Failed("busy", "not now")
        self.keys.append(call.key)
        return "at last"

    async def refuse(self, call: Call) -> str:
        """Refuse for good."""
        self.calls.append(call)
        raise Refused("too_late", "closed", details={"hour": 20})

    async def odd(self, call: Call) -> Any:
        """Return what is no value."""
        self.calls.append(call)
        return {"when": object()}

    async def huge(self, call: Call) -> Any:
        """Return more than a blob may have."""
        self.calls.append(call)
        return "x" * (BLOB_BYTES_MAX + 1)
