"""Stored holds: what people paused or forced, kept in a bucket and followed by every daemon.

    movant pause -> one daemon -> KV_movant_holds -> its own requests, then the other daemons
                                        '------- each looks every few seconds anyway

A key is never removed: a resume is written over the pause, so that an old copy of the bucket
cannot bring a pause back or take one away. The highest revision counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog
import trio

from actors.routing.holds import HELD_MAX, Holds
from actors.store.kv import Entry, Kv
from protocols.errors import AlreadyExistsError, MovantError, OverloadedError, UnavailableError
from protocols.flow import Hold

if TYPE_CHECKING:
    from runtime.parts import Parts

BUCKET: Final = "movant_holds"
LOOK_S: Final = 2.0
"""How often a daemon looks by itself: what it was told is known to it at once."""
TRIES: Final = 5

log = structlog.get_logger()

_decoder: Final = msgspec.json.Decoder(Hold)


class StoredHolds:
    """The bucket of holds, as one daemon follows it. Call ``load`` before anything is sent."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kv = Kv(parts.transport, BUCKET)
        self.holds = Holds()

    async def load(self) -> None:
        """Read everything that is stored. Raises UnavailableError, UnknownOutcomeError."""
        for each in await self._kv.all():
            self._take(each)

    async def look(self, key: str) -> None:
        """Read one key as the leader has it: another daemon says that it has changed."""
        found = await self._kv.leader(key)
        if found is not None:
            self._take(found)

    async def write(self, hold: Hold) -> None:
        """Store what a person said; when this returns it counts here.

        Raises OverloadedError when too many different things were held, UnavailableError when
        the bucket does not answer or others write the same key all the time.
        """
        for _ in range(TRIES):
            revision, _known = self.holds.get(hold.key)
            if not revision and len(self.holds) >= HELD_MAX:
                raise OverloadedError(
                    f"{HELD_MAX} things were paused in this account, the limit",
                    hint="pause their workflow or service instead",
                )
            try:
                stored = await self._kv.put(hold.key, msgspec.json.encode(hold), revision=revision)
            except AlreadyExistsError:
                await self.look(hold.key)
                continue
            self._said(hold, stored)
            return
        raise UnavailableError(f"others change {hold.key} at this moment", hint="try again")

    async def run(self) -> None:
        """Follow the bucket until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                await self.load()
            except MovantError as error:
                log.warning("holds.waiting", reason=str(error))

    def _take(self, entry: Entry) -> None:
        try:
            hold = _decoder.decode(entry.value)
        except msgspec.MsgspecError as error:
            log.error("holds.unreadable", key=entry.key, reason=str(error))
            return
        if hold.key == entry.key:
            self._said(hold, entry.revision)

    def _said(self, hold: Hold, revision: int) -> None:
        if not self.holds.take(hold, revision):
            return
        log.warning(
            "hold.changed",
            what=hold.key,
            paused=hold.paused,
            forced=hold.forced,
            reason=hold.reason,
            by=hold.by,
            origin=hold.origin,
        )
        requests = getattr(self._parts, "requests", None)
        if requests is not None:
            requests.admission.said(hold)
