"""What the two threads share: two lists and a few counters, each written by one side only.

``list.append``, ``pop``, slicing and deleting a slice are atomic, so no lock is needed: one
side appends at the end while the other takes from the front. A side that appends wakes the other
once per batch: the flag says that a wake is under way, and the taker clears it *before* it
looks, so nothing is left lying.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from protocols.errors import MovantError
from runtime.bridge.wire import Chunk

TAKE_ITEMS_MAX: Final = 1_024
"""Items joined for one write."""
TAKE_BYTES_MAX: Final = 262_144
"""Bytes after which a write is long enough: what is written cannot be called back."""


class Up(msgspec.Struct, frozen=True):
    """A connection stands and the server has all subscriptions."""

    epoch: int
    server: str
    payload_bytes_max: int


class Down(msgspec.Struct, frozen=True):
    """The connection of an epoch is gone. Items numbered below ``taken`` were written."""

    reason: str
    taken: int


class Subscribed(msgspec.Struct, frozen=True):
    """The server has these subscriptions."""

    sids: tuple[bytes, ...]


class Refused(msgspec.Struct, frozen=True):
    """The server refused something: its words, and the subscription or subject if it is one."""

    told: str
    sid: bytes | None
    subject: str = ""
    """The subject that our user may not publish to."""


class Failed(msgspec.Struct, frozen=True):
    """An attempt to connect failed. More follow, except after the last word."""

    error: MovantError
    last: bool = False


Event = Up | Down | Subscribed | Refused | Failed


def _always() -> bool:
    return True


class Perishable(bytes):
    """An item that may be written only while ``Outbox.fresh`` says so."""

    __slots__ = ()


class Outbox:
    """From trio to asyncio: encoded messages. An item is one message or one that stays whole."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.fresh: Callable[[], bool] = _always
        """Whether perishable items may still be written; asked on the asyncio thread."""
        self.put_items = 0
        self.put_bytes = 0
        self.granted = 0
        """The epoch that trio knows of; nothing is taken for another one (trio writes)."""
        self.taken_items = 0
        self.taken_bytes = 0
        self.wake_pending = False

    @property
    def bytes_count(self) -> int:
        """Bytes that wait."""
        return self.put_bytes - self.taken_bytes

    def put(self, item: bytes) -> None:
        """Add an item (trio)."""
        self.items.append(item)
        self.put_items += 1
        self.put_bytes += len(item)

    def take(self) -> bytes:
        """Take and join the oldest items (asyncio); empty when there are none."""
        while batch := self._batch():
            if not self.fresh():
                # What a process that was frozen had in its queues is nobody's wish any more.
                batch = [each for each in batch if type(each) is not Perishable]
            if batch:
                return b"".join(batch)
        return b""

    def _batch(self) -> list[bytes]:
        batch = self.items[:TAKE_ITEMS_MAX]
        if self.bytes_count > TAKE_BYTES_MAX:
            size = 0
            for count, item in enumerate(batch, start=1):
                size += len(item)
                if size >= TAKE_BYTES_MAX:
                    del batch[count:]
                    break
        del self.items[: len(batch)]
        self.taken_items += len(batch)
        self.taken_bytes += sum(map(len, batch))
        return batch

    def clear(self) -> None:
        """Forget all that waits (trio, while the epoch it was for is over)."""
        self.items.clear()
        self.put_items = self.taken_items
        self.put_bytes = self.taken_bytes


class Inbox:
    """From asyncio to trio: chunks of frames, and events, in the order they came."""

    def __init__(self) -> None:
        self.items: list[Chunk | Event] = []
        self.put_frames = 0
        self.put_bytes = 0
        self.taken_frames = 0
        self.taken_bytes = 0
        self.wake_pending = False
        self.stopped = False
        """Reading is paused until trio has caught up (asyncio writes)."""

    @property
    def frames(self) -> int:
        """Frames that trio has not taken."""
        return self.put_frames - self.taken_frames

    @property
    def bytes_count(self) -> int:
        """Bytes of the socket that trio has not taken."""
        return self.put_bytes - self.taken_bytes

    def put_chunk(self, chunk: Chunk) -> None:
        """Add what was received (asyncio)."""
        self.put_frames += chunk.frames
        self.put_bytes += chunk.bytes_count
        self.items.append(chunk)

    def take(self, frames_max: int) -> list[Chunk | Event]:
        """Take the oldest items with so many frames at most (trio); a large chunk is cut."""
        items = self.items
        batch: list[Chunk | Event] = []
        while items and frames_max > 0:
            first = items[0]
            if isinstance(first, Chunk):
                if first.frames > frames_max:
                    batch.append(first.cut(frames_max))
                    break
                frames_max -= first.frames
            batch.append(items.pop(0))
        return batch

    def note_taken(self, chunk: Chunk) -> None:
        """Say that a chunk was delivered (trio)."""
        self.taken_frames += chunk.frames
        self.taken_bytes += chunk.bytes_count
