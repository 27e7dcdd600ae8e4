"""The lease: who owns the partitions, and under which epoch.

The epoch is the revision of the lease's key, so it only rises. A lease of a daemon that is
surely dead (same host, its process is gone) is taken at once; otherwise whoever comes waits
until it has not been renewed for ``LEASE_S``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
import structlog
import trio

from actors.kv import Kv
from protocols.errors import AlreadyExistsError, ConfigurationError, MovantError
from protocols.ports import Clock

LEASE_S: Final = 5.0
RENEW_S: Final = 1.5
KEY: Final = "all"

log = structlog.get_logger()


class Lease(msgspec.Struct, frozen=True):
    """Who holds it. ``epoch`` is the revision under which it was taken."""

    daemon: str
    host: str
    pid: int
    boot: str = ""
    epoch: int = 0
    released: bool = False


class Leases:
    """Takes and renews the one lease of a single daemon."""

    def __init__(self, kv: Kv, clock: Clock, me: Lease, is_dead: Callable[[Lease], bool]) -> None:
        self._kv = kv
        self._clock = clock
        self._me = me
        self._is_dead = is_dead
        self._revision = 0
        self._released = False
        self.epoch = 0

    async def take(self, wait_s: float) -> int:
        """Take the lease and return the epoch.

        Raises ConfigurationError when another daemon still renews it after ``wait_s``.
        """
        began = self._clock.monotonic()
        seen_revision, seen_at = -1, began
        while True:
            entry = await self._kv.get(KEY)
            holder = msgspec.json.decode(entry.value, type=Lease) if entry else None
            revision = entry.revision if entry else 0
            now = self._clock.monotonic()
            if revision != seen_revision:
                seen_revision, seen_at = revision, now
            free = (
                holder is None
                or holder.released
                or self._is_dead(holder)
                or now - seen_at > LEASE_S
            )
            if free:
                try:
                    self._revision = await self._kv.put(
                        KEY, msgspec.json.encode(self._me), revision=revision
                    )
                except AlreadyExistsError:
                    continue
                self.epoch = self._revision
                return self.epoch
            assert holder is not None
            if now - began > wait_s:
                raise ConfigurationError(
                    f"daemon {holder.daemon} (pid {holder.pid} on {holder.host}) owns all"
                    " partitions of this NATS account",
                    hint="stop it, or give this daemon an account or server of its own",
                )
            log.info("lease.waiting", holder=holder.daemon, pid=holder.pid)
            await trio.sleep(0.5)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Renew until cancelled. Raises AlreadyExistsError when somebody else took it."""
        task_status.started()
        while not self._released:
            await trio.sleep(RENEW_S)
            await self._renew(self._me)

    async def release(self) -> None:
        """Let the next daemon take over at once."""
        self._released = True
        await self._renew(msgspec.structs.replace(self._me, released=True))

    async def _renew(self, lease: Lease) -> None:
        value = msgspec.json.encode(msgspec.structs.replace(lease, epoch=self.epoch))
        try:
            self._revision = await self._kv.put(KEY, value, revision=self._revision)
        except AlreadyExistsError:
            entry = await self._kv.get(KEY)
            holder = msgspec.json.decode(entry.value, type=Lease) if entry else None
            if entry is None or holder is None or holder.epoch != self.epoch:
                raise
            self._revision = entry.revision  # our own renewal, whose answer was lost
        except MovantError as error:
            log.warning("lease.not_renewed", reason=str(error))
