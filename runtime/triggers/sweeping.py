"""Sweeping: what triggers leave behind that are gone, or listen elsewhere by now.

A state goes with its trigger, and a durable consumer with the trigger or the subject it was made
for: nobody would take its messages any more, and a stream that waits for consumers would grow.
Both go a while later, for a daemon may have read an old replica and still listen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog
import trio

from protocols import subjects
from protocols.errors import MovantError
from protocols.triggers import Consumer
from runtime.triggers.book import TriggerBook

if TYPE_CHECKING:
    from runtime.daemon import Daemon

GONE_S: Final = 60.0
"""What is left behind for so long is removed: nobody may have read an old replica."""
LOOK_S: Final = 2.0

log = structlog.get_logger()


def acts_for(daemon: Daemon, key: str) -> bool:
    """Tell whether a daemon is the one that acts for a trigger."""
    partition = subjects.partition_of(key, daemon.config.partitions)
    return daemon.state == "ready" and daemon.parts.owner.acts_in(partition)


class Sweeping:
    """Removes what is left behind by the triggers of this daemon's partitions."""

    def __init__(self, daemon: Daemon, book: TriggerBook) -> None:
        self._daemon = daemon
        self._book = book
        self._since: dict[tuple[str, Consumer | None], float] = {}

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                await self._sweep()
            except MovantError as error:  # the next look tries again
                log.warning("triggers.waiting", reason=str(error))

    async def _sweep(self) -> None:
        now = self._daemon.clock.monotonic()
        left = [*self._left()]
        for each in self._since.keys() - set(left):
            del self._since[each]
        for key, consumer in left:
            since = self._since.setdefault((key, consumer), now)
            if now - since <= GONE_S or not acts_for(self._daemon, key):
                continue
            if consumer is not None:
                await self._book.drop(key, consumer)
            else:
                await self._book.forget(key)

    def _left(self) -> Iterator[tuple[str, Consumer | None]]:
        """Yield consumers that no trigger wants, and states of triggers that are gone."""
        for key, stored in [*self._book.states.items()]:
            gone = self._book.is_gone(key)
            if not gone and key not in self._book.armed:
                continue  # another version of movant may know it
            wanted = "" if gone else self._book.armed[key].consumer_name
            left = [each for each in stored.state.consumers if each.name != wanted]
            yield from ((key, each) for each in left)
            if gone and not left:
                yield key, None
